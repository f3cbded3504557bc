"""Tar files of images, as webdataset writes them."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from tests.pipelines.data.sources.conftest import png, random_images
from vae.errors import DataError

IMAGES = random_images(8, 4, 5)


def write(path: Path, files: dict[str, bytes | str], mode: str = "w:") -> None:
    """Writes a tar file."""
    with tarfile.open(path, mode) as archive:  # pyright: ignore
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def samples(start: int, stop: int, **beside: object) -> dict[str, bytes | str]:
    """Returns images, and files beside them whose content is made from the number of the image."""
    files: dict[str, bytes | str] = {}
    for number in range(start, stop):
        files[f"set/{number:03d}.png"] = png(IMAGES[number])
        for ending, make in beside.items():
            files[f"set/{number:03d}.{ending}"] = make(number)  # pyright: ignore
    return files


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
def test_tar_images_come_with_classes_and_splits(tmp_path, look, suffix) -> None:
    """Pixels come back as they were, classes from .cls in the order of numbers, splits from the names of the shards."""
    mode = "w:gz" if suffix == ".tar.gz" else "w:"
    write(tmp_path / f"train-000{suffix}", samples(0, 6, cls=lambda n: f"{n % 2 * 9 + 1}\n"), mode)
    write(tmp_path / f"test-000{suffix}", samples(6, 8, cls=lambda n: "10", txt=lambda n: f"a caption {n}"), mode)
    survey, block = look(tmp_path)
    assert survey.classes == ("1", "10")
    assert survey.labels.tolist() == [1, 1, 0, 1, 0, 1, 0, 1]
    assert survey.own_splits.tolist() == [2] * 2 + [0] * 6
    np.testing.assert_array_equal(block.examples, IMAGES[[6, 7, 0, 1, 2, 3, 4, 5]].reshape(8, 20))
    assert survey.notes == ("2 .txt in the tar files left out",)
    rows = np.array([5, 1, 0])
    np.testing.assert_array_equal(survey.reader.read(rows).examples, IMAGES[[3, 7, 6]].reshape(3, 20))


def test_tar_classes_come_from_json_or_text(tmp_path, look) -> None:
    """A key `label` of the JSON files, or few different texts, are the classes; other keys are attributes if asked for."""
    fields = lambda n: json.dumps({"label": "ab"[n % 2], "angle": n / 2, "kind": n % 3})  # noqa: E731
    write(tmp_path / "a.tar", samples(0, 8, json=fields))
    survey, _ = look(tmp_path / "a.tar", attributes=["angle"])
    assert (survey.classes, survey.labels.tolist()) == (("a", "b"), [0, 1] * 4)
    assert survey.attribute_values[:, 0].tolist() == [n / 2 for n in range(8)]
    assert survey.notes == ()
    assert look(tmp_path / "a.tar", label="kind")[0].classes == ("0", "1", "2")
    with pytest.raises(DataError, match=r"no file \.kinds and no key 'kinds' in JSON"):
        look(tmp_path / "a.tar", label="kinds")
    write(tmp_path / "a.tar", samples(0, 8, txt=lambda n: "ab"[n % 2]))
    assert look(tmp_path / "a.tar")[0].classes == ("a", "b")
    write(tmp_path / "a.tar", samples(0, 8, txt=lambda n: f"caption {n}"))
    survey, _ = look(tmp_path / "a.tar")
    assert (survey.classes, survey.notes) == (None, ("8 .txt in the tar files left out",))


def test_tar_samples_that_are_bad_are_named(tmp_path, look) -> None:
    """An image cut off, one without the class that others have, and keys without an image are named."""
    files = samples(0, 8, cls=lambda n: str(n % 2)) | {"set/001.png": png(IMAGES[1])[:20]} | {"lone.cls": "1"}
    del files["set/002.cls"]
    write(tmp_path / "a.tar", files)
    survey, block = look(tmp_path)
    assert [str(problem).split(" cannot")[0] for problem in survey.problems] == [
        "a.tar, row 1: set/001.png: its header",
        "a.tar, row 2: set/002.png: no class, which others have",
    ]
    assert survey.notes == ("1 × key without an image left out",)
    assert block.kept.tolist() == [0, 3, 4, 5, 6, 7]


def test_tar_of_several_images_needs_an_option(tmp_path, look) -> None:
    """With two images of a key, `image` is the ending of one; the other is left out with a note."""
    write(tmp_path / "a.tar", {**samples(0, 4), **{f"set/{n:03d}.seg.png": png(IMAGES[n + 4]) for n in range(4)}})
    with pytest.raises(DataError, match=r"several images of key 'set/000' \(png, seg\.png\)\. Use --set image=png"):
        look(tmp_path)
    survey, block = look(tmp_path, image="seg.png")
    np.testing.assert_array_equal(block.examples, IMAGES[4:].reshape(4, 20))
    assert survey.notes == ("4 .png in the tar files left out",)


def test_tar_that_is_damaged_is_refused(tmp_path, look) -> None:
    """A tar file cut off, one with a damaged header inside, one with a file twice, and one of text are refused."""
    path = tmp_path / "a.tar"
    write(path, samples(0, 8))
    whole = path.read_bytes()
    with tarfile.open(path) as archive:
        place = archive.getmembers()[3].offset
    for data, message in (
        (whole[: place - 600], "damaged after 2 samples"),
        (whole[: place - 500], "not a whole tar file"),
        (whole[:place] + b"x" * 512 + whole[place + 512 :], "damaged after 3 samples"),
        (b"text", "not a whole tar file"),
        (b"", "not a whole tar file"),
    ):
        path.write_bytes(data)
        with pytest.raises(DataError, match=rf"a\.tar: {message}"):
            look(tmp_path)
    with tarfile.open(path, "w:") as archive:
        for _ in range(2):
            member = tarfile.TarInfo("1.png")
            archive.addfile(member, io.BytesIO())
    with pytest.raises(DataError, match=r"a\.tar: holds 1\.png twice"):
        look(tmp_path)
