"""The 1,797 handwritten digits of 8×8 pixels that ship inside scikit-learn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.data.sources.config import DIGITS, IngestConfig
from pipelines.data.sources.parts import PartsReader
from pipelines.data.sources.pixels import check_array, to_pixels
from pipelines.data.sources.survey import Listing, Survey, source_file

_TOP = 16  # the scans hold 0 to 16


@dataclass(frozen=True)
class DigitsPart:
    """All of the digits."""

    config: IngestConfig
    num_rows: int
    first_row: int = 0

    def load(self) -> NDArray[np.uint8]:
        """The scans, of shape (1797, 8, 8), from 0 to 16."""
        return _digits()[0]

    def finish(self, raw: NDArray[np.uint8], rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """See `Part.finish`."""
        return to_pixels(raw[rows], DIGITS, _scaled(self.config))


class DigitsSource:
    """`sklearn:digits`."""

    @staticmethod
    def claims(listing: Listing) -> bool:
        """Whether the listing stands for the digits."""
        return listing.root == DIGITS

    @staticmethod
    def survey(config: IngestConfig, listing: Listing) -> Survey:
        """See `Source.survey`."""
        images, labels = _digits()
        return Survey(
            files=(source_file(DIGITS, images.tobytes() + labels.tobytes()),),
            example=check_array(images.shape, images.dtype, DIGITS, _scaled(config)),
            num_rows=len(images),
            reader=PartsReader((DigitsPart(config, len(images)),)),
            classes=tuple(str(digit) for digit in range(10)),
            labels=labels,
        )


def _scaled(config: IngestConfig) -> IngestConfig:
    return config.model_copy(update={"max_value": _TOP})


def _digits() -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    # Imported here: scikit-learn takes a second to load, and no other source needs it.
    from sklearn.datasets import load_digits

    bunch: Any = load_digits()
    return bunch.images.astype(np.uint8), bunch.target.astype(np.int32)
