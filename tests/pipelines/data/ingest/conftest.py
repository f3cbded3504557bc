"""Fixtures of the ingest tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.data.ingest import IngestConfig, IngestResult, ingest


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of 3 classes with 20, 10 and 5 images of 6×5 pixels."""
    rng = np.random.default_rng(0)
    for name, count in (("ape", 20), ("bee", 10), ("cat", 5)):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(count):
            image = Image.fromarray(rng.integers(0, 256, (6, 5), np.uint8))
            image.save(tmp_path / "pictures" / name / f"{number:02d}.png")
    return tmp_path / "pictures"


@pytest.fixture
def dataset_home(tmp_path: Path) -> str:
    """Where datasets go."""
    return str(tmp_path / "home")


@pytest.fixture
def make(dataset_home: str) -> Callable[..., IngestResult]:
    """Ingests a source in this process."""

    def run(source: Path | str, **options: object) -> IngestResult:
        config = IngestConfig.model_validate({"source": str(source), "name": "d", **options})
        return ingest(config, dataset_home, map)

    return run
