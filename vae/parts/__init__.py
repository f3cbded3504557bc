"""The parts of a model and of an objective."""
