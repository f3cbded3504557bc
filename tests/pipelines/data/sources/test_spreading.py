"""Surveys in parts, which processes of a cluster may have in any order."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.data.sources import spreading
from pipelines.data.sources.spreading import spread_by
from tests.pipelines.data.sources import test_idx, test_parquet_images, test_tar_shards
from tests.pipelines.data.sources.conftest import png, random_images
from vae import progress

IMAGES = random_images(8, 4, 5)


def write_folder(folder: Path) -> None:
    """Writes images in folders of their classes, and one bad file."""
    for number, image in enumerate(IMAGES):
        path = folder / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(png(image))
    (folder / "a" / "4.png").write_bytes(b"no image")


def write_idx(folder: Path) -> None:
    """Writes images and labels of two splits."""
    for stem in ("train", "t10k"):
        test_idx.write_idx(folder / f"{stem}-images-idx3-ubyte", IMAGES)
        test_idx.write_idx(folder / f"{stem}-labels-idx1-ubyte", np.arange(8, dtype=np.uint8) % 3)


def write_parquet(folder: Path) -> None:
    """Writes files of images, one of them bad."""
    for number, image in enumerate(IMAGES):
        data = b"" if number == 4 else png(image)
        test_parquet_images.write(folder / f"{number}.parquet", [data, png(image)], [0, number % 3])


def write_tar(folder: Path) -> None:
    """Writes files of images and their classes, one image of them bad, and a key without an image."""
    for number in range(8):
        files = test_tar_shards.samples(number, number + 1, cls=lambda n: str(n % 3))
        files |= {"bad.png": b"no image", "bad.cls": "1"} if number == 4 else {}
        test_tar_shards.write(folder / f"{number}.tar", files | {"alone.cls": "1"})


@pytest.mark.parametrize("write", [write_folder, write_idx, write_parquet, write_tar])
def test_survey_in_parts_is_that_of_the_whole(tmp_path, look, monkeypatch, write: Callable[[Path], None]) -> None:
    """Parts that are done in any order give the survey of one part; the progress counts every byte once."""
    write(tmp_path)
    whole, _ = look(tmp_path, on_bad="quarantine")
    monkeypatch.setattr(spreading, "PART_FILES", 3)
    counts: list[int] = []

    def backwards(work: Any, parts: Any) -> Any:
        counts.extend(len(part.paths) for part in parts)
        return map(pickle.loads(pickle.dumps(work)), pickle.loads(pickle.dumps(parts[::-1])))

    heard: list[progress.Progress] = []
    with spread_by(backwards), progress.listening(heard.append):
        parted, _ = look(tmp_path, on_bad="quarantine")
    assert len(counts) > 1
    assert max(counts) == 3
    assert heard[-1].done == heard[-1].total == sum(file.bytes for file in whole.files)
    assert bool(whole.problems) == (write is not write_idx)
    for field in ("files", "example", "classes", "problems", "notes", "reader"):
        assert getattr(parted, field) == getattr(whole, field)
    for field in ("labels", "own_splits", "excluded", "groups"):
        np.testing.assert_array_equal(getattr(parted, field), getattr(whole, field))
