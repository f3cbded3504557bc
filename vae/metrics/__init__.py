"""Metrics of a trained model: one function per metric, each stating its protocol."""
