"""Digits to train on, and one thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from tests.vae.training.runs import ROWS
from vae.data.parquet import Dataset


@pytest.fixture(scope="module")
def small(publish: Callable[..., Dataset], tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """231 scanned digits to train and 61 to validate, in row groups of 25."""
    images, labels = load_digits(return_X_y=True)
    pixels = np.rint(images * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
    rows = slice(ROWS + 61)
    folder = tmp_path_factory.mktemp("small")
    return publish(folder, pixels[rows], labels[rows].astype(np.int64), {"train": ROWS, "validation": 61}, 25)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
