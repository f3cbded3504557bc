"""Scores of single test rows, kept with a version's report: a later candidate is compared without measuring them again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipelines.models import registry, tracking
from pipelines.models.versions import Score, Version
from vae.errors import RegistryError

FILE = "test_scores.parquet"
"""Name of the artifact, beside the report."""
NATS = "negative_log_likelihood_nats"
DRAWS = "row and number of the sample"
"""Places that the noise of a score depends on; models are compared on the same noise."""


def write(folder: Path, nats_N: NDArray[np.float64], score: Score, weights: str, device: str) -> Path:
    """Writes the scores of the first test rows, with what they are of; returns the file."""
    about = _about(score.name, score.dataset_id, weights, device)
    table = pa.table({NATS: nats_N}).replace_schema_metadata(about)
    pq.write_table(table, folder / FILE)
    return folder / FILE


def read(version: Version, name: str, dataset_id: str, device: str, scratch: Path) -> NDArray[np.float64]:
    """Returns the scores of the first test rows that a version's evaluation left; none if they are of something else.

    Args:
        version: The version.
        name: Protocol of the scores.
        dataset_id: Content address of the dataset.
        device: Device that the scores are to be of, whose arithmetic differs from others.
        scratch: Folder for the download.
    """
    weights = registry.weights_of(version)
    try:
        data = tracking.read_file(version.run_id, f"{tracking.REPORT_FOLDER}/{FILE}", scratch)
    except RegistryError:
        return np.empty(0)
    table = pq.read_table(pa.BufferReader(data))
    about = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
    if weights is None or about != _about(name, dataset_id, weights, device):
        return np.empty(0)
    return table.column(NATS).to_numpy()


def _about(name: str, dataset_id: str, weights: str, device: str) -> dict[str, str]:
    return {"protocol": name, "dataset_id": dataset_id, "weights_sha256": weights, "device": device, "draws": DRAWS}
