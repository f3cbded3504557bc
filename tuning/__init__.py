"""Searches over β and architecture with Ray Tune."""
