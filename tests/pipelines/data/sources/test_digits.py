"""scikit-learn's digits."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.datasets import load_digits


def test_digits_are_scaled_to_bytes(look) -> None:
    """Pixels are the scans' 0 to 16 times 255/16, rounded, and every digit keeps its label."""
    survey, block = look("sklearn:digits")
    bunch: Any = load_digits()
    np.testing.assert_array_equal(block.examples, np.rint(bunch.data * 255 / 16).astype(np.uint8))
    np.testing.assert_array_equal(survey.labels, bunch.target)
    assert survey.classes == tuple("0123456789")
