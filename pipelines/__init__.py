"""Data, flows, registered models and the command of betaline."""
