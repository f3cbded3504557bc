"""Variational autoencoders: the science, in plain torch."""
