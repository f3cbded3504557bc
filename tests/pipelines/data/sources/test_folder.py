"""Image folders: what is read, and what each bad image is told."""

from __future__ import annotations

import io
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vae.errors import DataError


def picture(seed: int = 0, shape: tuple[int, ...] = (6, 5)) -> np.ndarray:
    """A random image."""
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def save(path: Path, pixels: np.ndarray | Image.Image, **options: Any) -> Path:
    """Write an image, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(path, **options)
    return path


def what_is_wrong(survey, name: str) -> str:
    """The one problem of a file."""
    [problem] = [p for p in survey.problems if p.path == name]
    return problem.what


def test_folder_classes_come_from_subfolders(tmp_path, look) -> None:
    """Every lossless format comes back bit for bit, with the class of its folder; hidden files are not seen."""
    formats = ["png", "bmp", "gif", "tiff"]
    for number, suffix in enumerate(formats):
        save(tmp_path / ("cat" if number % 2 else "ape") / f"{number}.{suffix}", picture(number))
    save(tmp_path / "ape" / "4.webp", np.stack([picture(4)] * 3, -1), lossless=True)
    (tmp_path / "ape" / ".DS_Store").write_bytes(b"x")
    (tmp_path / "notes.txt").write_text("x")
    survey, block = look(tmp_path, color="grey")
    assert survey.classes == ("ape", "cat")
    assert [f.path for f in survey.files] == [
        "ape/0.png",
        "ape/2.gif",
        "ape/4.webp",
        "cat/1.bmp",
        "cat/3.tiff",
    ]
    assert survey.labels.tolist() == [0, 0, 0, 1, 1]
    for row, number in enumerate([0, 2, 4, 1, 3]):
        np.testing.assert_array_equal(block.examples[row].reshape(6, 5), picture(number))
    assert survey.notes == ("1 files that are not images were left aside",)


def test_folder_color_is_channel_first(tmp_path, look) -> None:
    """RGB becomes CHW."""
    pixels = picture(1, (6, 5, 3))
    save(tmp_path / "a.png", pixels)
    survey, block = look(tmp_path)
    assert (survey.example.shape[0], survey.classes) == (3, None)
    np.testing.assert_array_equal(block.examples.reshape(3, 6, 5), pixels.transpose(2, 0, 1))


def test_folder_split_names_win(tmp_path, look) -> None:
    """`train`, `val` and `test` folders are the source's own splits, with classes inside."""
    for split in ("train", "val", "test"):
        for name in ("a", "b"):
            save(tmp_path / split / name / "0.png", picture())
    survey, _ = look(tmp_path)
    assert survey.own_splits.tolist() == [2, 2, 0, 0, 1, 1]
    assert survey.classes == ("a", "b")


def test_folder_unknown_class_lists_the_known(tmp_path, look) -> None:
    """A class in test that training has not is named, with those it has."""
    for name in ("train/ape", "train/cat", "test/dog"):
        save(tmp_path / name / "0.png", picture())
    with pytest.raises(DataError, match=r"unknown class 'dog' in test. Classes in train: ape, cat"):
        look(tmp_path)


def test_folder_mixed_sizes_show_a_histogram(tmp_path, look) -> None:
    """Mixed sizes are refused with how many there are of each, and --resize makes them one."""
    for number, size in enumerate([(6, 5), (6, 5), (7, 5), (3, 3)]):
        save(tmp_path / f"{number}.png", picture(0, size))
    expected = (
        "4 images of 3 sizes, expected one (height×width: images): 6×5: 2, 3×3: 1, 7×5: 1. Use --resize HEIGHTxWIDTH"
    )
    with pytest.raises(DataError, match=re.escape(expected)):
        look(tmp_path)
    survey, block = look(tmp_path, resize=(4, 4))
    assert survey.example.shape[1:] == (4, 4)
    assert block.examples.shape == (4, 16)


def test_folder_grey_and_color_must_be_told(tmp_path, look) -> None:
    """Grey among color images is refused with counts unless --color says which."""
    save(tmp_path / "a.png", picture())
    save(tmp_path / "b.png", picture(0, (6, 5, 3)))
    with pytest.raises(DataError, match=r"1 grey and 1 color images, expected one kind. Use --color grey"):
        look(tmp_path)
    assert look(tmp_path, color="rgb")[1].examples.shape == (2, 90)


@pytest.mark.parametrize("cut", [0, 20, 60])
def test_folder_truncated_image_is_found(tmp_path, look, cut) -> None:
    """An image cut off anywhere is refused: by its header, or by decoding it in full."""
    save(tmp_path / "good.png", picture())
    path = save(tmp_path / "bad.png", picture(1))
    path.write_bytes(path.read_bytes()[:cut])
    survey, block = look(tmp_path)
    [problem] = [*survey.problems, *block.problems]
    assert problem.path == "bad.png"
    assert problem.what.startswith(
        {0: "0 bytes", 20: "its header cannot be read", 60: "cannot be decoded to its end"}[cut]
    )
    assert len(block.kept) == 1


def test_folder_half_a_jpeg_is_found(tmp_path, look) -> None:
    """Half a JPEG opens without an error; full decoding refuses it."""
    save(tmp_path / "good.jpg", picture(0, (64, 64)))
    path = save(tmp_path / "half.jpg", picture(1, (64, 64)))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    survey, block = look(tmp_path)
    assert survey.problems == ()
    assert [p.path for p in block.problems] == ["half.jpg"]
    assert "cannot be decoded to its end: image file is truncated" in block.problems[0].what


def test_folder_16_bit_is_refused_or_scaled(tmp_path, look) -> None:
    """A 16-bit image is not clipped: refused, or scaled from 0 to 65535 onto 0 to 255."""
    deep = np.array([[0, 257, 32768], [65535, 128, 129]], np.uint16)
    save(tmp_path / "deep.png", deep)
    save(tmp_path / "other.png", np.zeros((2, 3), np.uint8))
    survey, _ = look(tmp_path)
    assert what_is_wrong(survey, "deep.png") == "16 bits per channel, expected 8. --set bit_depth=scale scales them"
    survey, block = look(tmp_path, bit_depth="scale")
    assert survey.problems == ()
    np.testing.assert_array_equal(block.examples[0].reshape(2, 3), np.rint(deep / 257))


def test_folder_48_bit_png_is_refused(tmp_path, look) -> None:
    """A PNG of 16 bits in three channels, which Pillow would open as 8-bit RGB, is refused."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    data = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(13))) + chunk(b"IEND", b"")
    (tmp_path / "deep.png").write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    save(tmp_path / "good.png", picture(0, (1, 2, 3)))
    assert what_is_wrong(look(tmp_path)[0], "deep.png").startswith("16 bits per channel, expected 8")


def test_folder_cmyk_must_be_told(tmp_path, look) -> None:
    """CMYK is refused unless --color converts it."""
    save(tmp_path / "a.jpg", Image.new("CMYK", (5, 6)))
    save(tmp_path / "b.png", picture(0, (6, 5, 3)))
    survey, _ = look(tmp_path)
    assert what_is_wrong(survey, "a.jpg") == "CMYK, which has no exact RGB. --color rgb or --color grey converts it"
    assert look(tmp_path, color="rgb")[1].examples.shape == (2, 90)


def test_folder_transparency_must_be_told(tmp_path, look) -> None:
    """An alpha channel is refused unless --color drops it."""
    save(tmp_path / "a.png", picture(0, (6, 5, 4)))
    save(tmp_path / "b.png", picture(0, (6, 5, 3)))
    assert what_is_wrong(look(tmp_path)[0], "a.png") == (
        "transparency, which would be lost. --color rgb or --color grey drops it"
    )
    np.testing.assert_array_equal(
        look(tmp_path, color="rgb")[1].examples[0].reshape(3, 6, 5),
        picture(0, (6, 5, 4))[..., :3].transpose(2, 0, 1),
    )


def test_folder_animation_must_be_told(tmp_path, look) -> None:
    """An animation is refused unless `frames` takes its first frame."""
    frames = [Image.fromarray(picture(i)) for i in range(3)]
    save(tmp_path / "a.gif", frames[0], save_all=True, append_images=frames[1:])
    save(tmp_path / "b.png", picture())
    survey, _ = look(tmp_path, color="grey")
    assert what_is_wrong(survey, "a.gif") == "3 frames or pages, expected 1. --set frames=first takes the first of each"
    _, block = look(tmp_path, color="grey", frames="first")
    np.testing.assert_array_equal(block.examples[0], block.examples[1])


def test_folder_format_is_told_by_content(tmp_path, look) -> None:
    """A format outside the allow-list is refused whatever the file is called."""
    data = io.BytesIO()
    Image.fromarray(picture()).save(data, "PPM")
    (tmp_path / "a.png").write_bytes(data.getvalue())
    save(tmp_path / "b.png", picture())
    assert what_is_wrong(look(tmp_path)[0], "a.png") == (
        "not a PNG, JPEG, BMP, GIF, TIFF or WEBP image, or cut off in its header"
    )


def test_folder_limits_come_before_decoding(tmp_path, look) -> None:
    """An image above the pixel or the byte limit is refused by its header or size."""
    save(tmp_path / "a.png", picture())
    save(tmp_path / "big.png", picture(0, (60, 50)))
    assert what_is_wrong(look(tmp_path, max_pixels=100)[0], "big.png") == (
        "60×50 pixels, above the limit of 100 (--set max_pixels=N)"
    )
    size = (tmp_path / "big.png").stat().st_size
    survey, _ = look(tmp_path, max_file_bytes=200, resize=(6, 5))
    assert what_is_wrong(survey, "big.png") == f"{size:,} bytes, above the limit of 200 (--set max_file_bytes=N)"


def test_folder_loose_images_beside_classes_are_refused(tmp_path, look) -> None:
    """Images outside the class folders are not given a class."""
    save(tmp_path / "a" / "0.png", picture())
    save(tmp_path / "1.png", picture())
    with pytest.raises(DataError, match=r"1 images lie outside the class folders, for example 1\.png"):
        look(tmp_path)


def test_folder_without_images_has_0_examples(tmp_path, look) -> None:
    """An empty folder, and one of other files, say 0 examples and what is expected."""
    with pytest.raises(DataError, match=r"0 examples. The folder is empty"):
        look(tmp_path)
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(DataError, match=r"0 examples among 1 files \(a\.txt\)\. Expected IDX"):
        look(tmp_path)
    with pytest.raises(DataError, match="no such source"):
        look(tmp_path / "absent")


def test_folder_changed_file_is_noticed(tmp_path, look) -> None:
    """A file that changes between survey and reading is an error, for the identity no longer fits."""
    save(tmp_path / "a.png", picture(0))
    survey, _ = look(tmp_path)
    save(tmp_path / "a.png", picture(1))
    with pytest.raises(DataError, match=r"a\.png changed while it was ingested: expected SHA-256"):
        survey.reader.read(np.array([0]))
