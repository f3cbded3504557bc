"""Datasets on disk: what a manifest says, and how its Parquet shards are read."""
