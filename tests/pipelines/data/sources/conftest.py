"""Fixtures and images of the source tests."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.data.ingest import IngestResult, ingest
from pipelines.data.sources import Block, IngestConfig, Survey, forget_segments, survey_source


def random_images(*shape: int, seed: int = 0) -> np.ndarray:
    """Returns random pixels."""
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def png(image: np.ndarray) -> bytes:
    """Returns an image as a PNG file."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def look() -> Callable[..., tuple[Survey, Block]]:
    """Surveys a source and reads every row that is not excluded, as another process would."""

    def survey_and_read(source: Path | str, **options: object) -> tuple[Survey, Block]:
        forget_segments()
        survey = survey_source(IngestConfig.model_validate({"source": str(source), "name": "d", **options}))
        rows = np.arange(survey.num_rows)
        reader = pickle.loads(pickle.dumps(survey.reader))  # as another process gets it
        return survey, reader.read(rows if survey.excluded is None else rows[~survey.excluded])

    return survey_and_read


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., IngestResult]:
    """Ingests a source in this process."""

    def run(source: str, **options: object) -> IngestResult:
        config = IngestConfig.model_validate({"source": source, "name": "d", **options})
        return ingest(config, str(tmp_path / "home"), map)

    return run
