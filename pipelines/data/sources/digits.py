"""scikit-learn's 1,797 handwritten digits of 8×8 pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.data.sources.arrays import ArraySegment, check_array, survey_arrays
from pipelines.data.sources.config import DIGITS, IngestConfig
from pipelines.data.sources.survey import Listing, Source, Survey, source_file

_TOP = 16  # the scans hold 0 to 16


@dataclass(frozen=True, kw_only=True)
class DigitsSegment(ArraySegment):
    """All digits."""

    def load(self) -> NDArray[np.uint8]:
        """Returns the scans, of shape (1797, 8, 8), with values from 0 to 16."""
        return _digits()[0]


def survey(config: IngestConfig, listing: Listing) -> Survey:
    """Surveys the digits; see `Source.survey`."""
    images, labels = _digits()
    scaled = config.model_copy(update={"max_value": _TOP})
    file = source_file(DIGITS, images.tobytes() + labels.tobytes())
    segment = DigitsSegment(num_rows=len(images), where=DIGITS, config=scaled)
    example = check_array(images.shape, images.dtype, DIGITS, scaled)
    return survey_arrays(DIGITS, (file,), (segment,), (example,), (labels,), (None,))


SOURCE = Source("digits", lambda config, listing: [DIGITS] if listing.root == DIGITS else [], survey)
"""The source `sklearn:digits`."""


def _digits() -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    # Imported here: scikit-learn takes a second to load, and no other source needs it.
    from sklearn.datasets import load_digits

    bunch: Any = load_digits()
    return bunch.images.astype(np.uint8), bunch.target.astype(np.int32)
