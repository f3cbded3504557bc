"""Fixtures of the source tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipelines.data.sources import Block, IngestConfig, Survey, forget_segments, survey_source


@pytest.fixture
def look() -> Callable[..., tuple[Survey, Block]]:
    """Surveys a source and reads every row that is not excluded."""

    def survey_and_read(source: Path | str, **options: object) -> tuple[Survey, Block]:
        forget_segments()
        survey = survey_source(IngestConfig.model_validate({"source": str(source), "name": "d", **options}))
        rows = np.arange(survey.num_rows)
        return survey, survey.reader.read(rows if survey.excluded is None else rows[~survey.excluded])

    return survey_and_read
