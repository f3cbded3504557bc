"""Datasets: their sources, their ingest, and models applied to them."""
