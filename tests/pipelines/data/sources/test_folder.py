"""Image folders: what is read, and what is said of each bad image."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from tests.pipelines.data.sources.conftest import random_images
from vae.errors import DataError

DEEP = np.array([[0, 257, 32768], [65535, 128, 129]], np.uint16)


def picture(seed: int = 0, shape: tuple[int, ...] = (6, 5)) -> np.ndarray:
    """Returns a random image."""
    return random_images(*shape, seed=seed)


def save(path: Path, pixels: np.ndarray | Image.Image, **options: Any) -> Path:
    """Writes an image, and makes its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(path, **options)
    return path


def test_folder_classes_come_from_subfolders(tmp_path, look) -> None:
    """Every lossless format comes back bit for bit, with the class of its folder; hidden files are not seen."""
    for number, suffix in enumerate(["png", "bmp", "gif", "tiff"]):
        save(tmp_path / ("cat" if number % 2 else "ape") / f"{number}.{suffix}", picture(number))
    save(tmp_path / "ape" / "4.webp", np.stack([picture(4)] * 3, -1), lossless=True)
    (tmp_path / "ape" / ".DS_Store").write_bytes(b"x")
    (tmp_path / "notes.txt").write_text("x")
    survey, block = look(tmp_path, color="grey")
    assert survey.classes == ("ape", "cat")
    assert [f.path for f in survey.files] == ["ape/0.png", "ape/2.gif", "ape/4.webp", "cat/1.bmp", "cat/3.tiff"]
    assert survey.labels.tolist() == [0, 0, 0, 1, 1]
    np.testing.assert_array_equal(block.examples.reshape(5, 6, 5), [picture(seed) for seed in (0, 2, 4, 1, 3)])
    assert survey.notes == ("notes.txt left aside",)


def test_folder_color_is_channel_first(tmp_path, look) -> None:
    """RGB becomes CHW."""
    save(tmp_path / "a.png", picture(1, (6, 5, 3)))
    survey, block = look(tmp_path)
    assert (survey.example.shape[0], survey.classes) == (3, None)
    np.testing.assert_array_equal(block.examples.reshape(3, 6, 5), picture(1, (6, 5, 3)).transpose(2, 0, 1))


def test_folder_split_names_win(tmp_path, look) -> None:
    """`train`, `val` and `test` folders are the source's own splits, with classes inside."""
    for split in ("train", "val", "test"):
        for name in ("a", "b"):
            save(tmp_path / split / name / "0.png", picture())
    survey, _ = look(tmp_path)
    assert survey.own_splits.tolist() == [2, 2, 0, 0, 1, 1]
    assert survey.classes == ("a", "b")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["train/ape/0", "train/cat/0", "test/dog/0"], r"unknown class 'dog' in test. Classes in train: ape, cat"),
        (["a/0", "1"], r"1 images lie outside the class folders, for example 1\.png"),
    ],
)
def test_folder_with_unclear_classes_is_refused(tmp_path, look, files, message) -> None:
    """A class in test that training lacks is named with those of training; a loose image gets no class."""
    for file in files:
        save(tmp_path / f"{file}.png", picture())
    with pytest.raises(DataError, match=message):
        look(tmp_path)


def test_folder_mixed_sizes_show_a_histogram(tmp_path, look) -> None:
    """Mixed sizes are refused with the number of each, and --resize makes them one."""
    for number, size in enumerate([(6, 5), (6, 5), (7, 5), (3, 3)]):
        save(tmp_path / f"{number}.png", picture(0, size))
    with pytest.raises(DataError, match=r"4 images of 3 sizes.*: 6×5: 2, 3×3: 1, 7×5: 1\. Use --resize HEIGHTxWIDTH"):
        look(tmp_path)
    survey, block = look(tmp_path, resize=(4, 4))
    assert survey.example.shape[1:] == (4, 4)
    assert block.examples.shape == (4, 16)


def test_folder_of_grey_and_color_needs_an_option(tmp_path, look) -> None:
    """Grey among color images is refused with counts unless --color decides."""
    save(tmp_path / "a.png", picture())
    save(tmp_path / "b.png", picture(0, (6, 5, 3)))
    with pytest.raises(DataError, match=r"1 grey and 1 color images.*--color grey"):
        look(tmp_path)
    assert look(tmp_path, color="rgb")[1].examples.shape == (2, 90)


@pytest.mark.parametrize(
    ("cut", "what"), [(0, "0 bytes"), (20, "its header cannot be read"), (60, "cannot be decoded to its end")]
)
def test_folder_truncated_image_is_named(tmp_path, look, cut, what) -> None:
    """An image cut off anywhere is refused: by its header, or by decoding it in full."""
    save(tmp_path / "good.png", picture())
    path = save(tmp_path / "bad.png", picture(1))
    path.write_bytes(path.read_bytes()[:cut])
    survey, block = look(tmp_path)
    [problem] = [*survey.problems, *block.problems]
    assert problem.path == "bad.png"
    assert problem.what.startswith(what)
    assert len(block.kept) == 1


def test_folder_half_a_jpeg_is_named(tmp_path, look) -> None:
    """Half a JPEG opens without an error; full decoding refuses it."""
    save(tmp_path / "good.jpg", picture(0, (64, 64)))
    path = save(tmp_path / "half.jpg", picture(1, (64, 64)))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    survey, block = look(tmp_path)
    assert survey.problems == ()
    assert [p.path for p in block.problems] == ["half.jpg"]
    assert "cannot be decoded to its end: image file is truncated" in block.problems[0].what


def write_48_bit_png(path: Path) -> None:
    """Writes a PNG of 16 bits in three channels, which Pillow opens as 8-bit RGB."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    data = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(13))) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data)


def write_animation(path: Path) -> None:
    """Writes a GIF of three frames; the first is `picture()`."""
    frames = [Image.fromarray(picture(i)) for i in range(3)]
    save(path, frames[0], save_all=True, append_images=frames[1:])


def write_ppm(path: Path) -> None:
    """Writes a PPM under any name."""
    stream = io.BytesIO()
    Image.fromarray(picture()).save(stream, "PPM")
    path.write_bytes(stream.getvalue())


@pytest.mark.parametrize(
    ("name", "write", "options", "what"),
    [
        ("deep.png", lambda path: save(path, DEEP), {}, "16 bits per channel, expected 8. --set bit_depth=scale"),
        ("deep.png", write_48_bit_png, {}, "16 bits per channel, expected 8"),
        ("c.jpg", lambda path: save(path, Image.new("CMYK", (5, 6))), {}, "CMYK, which has no exact RGB. --color rgb"),
        ("t.png", lambda path: save(path, picture(0, (6, 5, 4))), {}, "transparency, which would be lost. --color rgb"),
        ("a.gif", write_animation, {}, "3 frames or pages, expected 1. --set frames=first"),
        ("p.png", write_ppm, {}, "not a PNG, JPEG, BMP, GIF, TIFF or WEBP image, or cut off in its header"),
        (
            "big.png",
            lambda path: save(path, picture(0, (60, 50))),
            {"max_pixels": 100},
            "60×50 pixels, above the limit of 100 (--set max_pixels=N)",
        ),
        (
            "big.png",
            lambda path: save(path, Image.fromarray(picture(0, (60, 50)))),
            {"max_file_bytes": 200},
            "bytes, above the limit of 200 (--set max_file_bytes=N)",
        ),
    ],
    ids=["16 bit", "48 bit", "CMYK", "transparency", "animation", "format by content", "pixels", "bytes"],
)
def test_folder_image_that_would_lose_or_cost_too_much_is_named(
    tmp_path, look, name: str, write: Callable[[Path], None], options: dict[str, int], what: str
) -> None:
    """What decoding would lose or may not spend is refused before it, by the header or the size, with the option."""
    save(tmp_path / "good.png", picture(0, (6, 5)))
    write(tmp_path / name)
    [problem] = look(tmp_path, resize=(6, 5), **options)[0].problems
    assert problem.path == name
    assert what in problem.what


@pytest.mark.parametrize(
    ("write", "options", "expected"),
    [
        (lambda path: save(path.with_suffix(".png"), DEEP), {"bit_depth": "scale"}, np.rint(DEEP / 257)),
        (
            lambda path: save(path.with_suffix(".jpg"), Image.new("CMYK", (5, 6))),
            {"color": "rgb"},
            np.full((6, 5, 3), 255),
        ),
        (
            lambda path: save(path.with_suffix(".png"), picture(0, (6, 5, 4))),
            {"color": "rgb"},
            picture(0, (6, 5, 4))[..., :3],
        ),
        (lambda path: write_animation(path.with_suffix(".gif")), {"color": "grey", "frames": "first"}, picture(0)),
    ],
    ids=["16 bit", "CMYK", "transparency", "animation"],
)
def test_folder_option_decides_what_is_lost(tmp_path, look, write, options, expected) -> None:
    """The option that the message names takes the image: scaled, converted, without alpha, by its first frame."""
    write(tmp_path / "a")
    survey, block = look(tmp_path, **options)
    assert survey.problems == ()
    channels = expected[None] if expected.ndim == 2 else expected.transpose(2, 0, 1)
    np.testing.assert_array_equal(block.examples.reshape(channels.shape), channels)


def test_folder_without_images_has_0_examples(tmp_path, look) -> None:
    """An empty folder, and one of other files, say 0 examples and what is expected."""
    with pytest.raises(DataError, match=r"0 examples. The folder is empty"):
        look(tmp_path)
    (tmp_path / "a.xyz").write_text("x")
    with pytest.raises(DataError, match=r"0 examples among 1 file \(a\.xyz\)\. Expected IDX"):
        look(tmp_path)
    with pytest.raises(DataError, match="no such source"):
        look(tmp_path / "absent")


def test_folder_changed_file_is_noticed(tmp_path, look) -> None:
    """A file that changes between survey and reading is an error, because the identity no longer fits."""
    save(tmp_path / "a.png", picture(0))
    survey, _ = look(tmp_path)
    save(tmp_path / "a.png", picture(1))
    with pytest.raises(DataError, match=r"a\.png changed while it was ingested: expected SHA-256"):
        survey.reader.read(np.array([0]))


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("suffix", ["jpg", "webp", "png", "tiff"])
def test_folder_images_are_turned_upright(tmp_path, look, orientation, suffix) -> None:
    """An EXIF orientation is applied as Pillow's own function does, and the shape in the survey is the turned one."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"tiffinfo": exif} if suffix == "tiff" else {"exif": exif}
    path = save(tmp_path / f"a.{suffix}", picture(0, (16, 24, 3)), **options)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB")).transpose(2, 0, 1)
    survey, block = look(tmp_path)
    assert survey.problems == block.problems == ()
    assert survey.example.shape == expected.shape == ((3, 24, 16) if orientation > 4 else (3, 16, 24))
    np.testing.assert_array_equal(block.examples.reshape(expected.shape), expected)
    if suffix != "tiff":  # Pillow's reader of TIFF turns them itself
        assert survey.notes == ("1 × image turned upright by its EXIF orientation",)
        with pytest.raises(DataError, match="1 × image turned upright"):
            look(tmp_path, strict=True)


def test_folder_damaged_exif_turns_nothing(tmp_path, look) -> None:
    """A block of EXIF that cannot be read, and an orientation that does not exist, leave the image as it is."""
    exif = Image.Exif()
    exif[0x0112] = 9
    save(tmp_path / "a.jpg", picture(0, (16, 24)), exif=exif)
    save(tmp_path / "b.jpg", picture(0, (16, 24)), exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff")
    survey, block = look(tmp_path)
    assert (survey.example.shape, survey.notes, len(block.kept)) == ((1, 16, 24), (), 2)


@pytest.mark.parametrize("suffix", ["gif", "png"])
def test_folder_palettes_of_greys_are_grey(tmp_path, look, suffix) -> None:
    """One channel, with a note; beside color images they are color, without loss."""
    grey = Image.fromarray(picture() // 64)
    grey.putpalette([value for level in (250, 3, 99, 0) for value in (level,) * 3])
    save(tmp_path / f"a.{suffix}", grey)
    expected = np.array([250, 3, 99, 0], np.uint8)[picture() // 64]
    survey, block = look(tmp_path)
    assert survey.notes == ("1 × image with a palette of greys read as grey",)
    np.testing.assert_array_equal(block.examples.reshape(6, 5), expected)
    save(tmp_path / "b.png", picture(1, (6, 5, 3)))
    survey, block = look(tmp_path)
    assert (survey.notes, survey.example.shape) == ((), (3, 6, 5))
    np.testing.assert_array_equal(block.examples[0].reshape(3, 6, 5), [expected] * 3)


@pytest.mark.parametrize(
    ("pixels", "top"),
    [(DEEP.astype(np.int32), 65535), (DEEP.astype(np.float32), 65535), (DEEP, 65535), (DEEP % 2 / np.float32(1), 1)],
)
def test_folder_deep_images_are_scaled_by_their_brightest_value(tmp_path, look, pixels, top) -> None:
    """Images of 16 and 32 bits, and of floats, name the option that takes them, and are scaled by it."""
    save(tmp_path / "a.tiff", pixels)
    with pytest.raises(DataError, match=r"all 1 images are bad .*--set (max_value=N|bit_depth=scale) scales them"):
        look(tmp_path)
    np.testing.assert_array_equal(
        look(tmp_path, max_value=top)[1].examples, np.rint(pixels.reshape(1, 6) * (255 / top))
    )
    if pixels.dtype != np.uint16:  # bit_depth is an option of 16 bits
        with pytest.raises(DataError, match="--set max_value=N scales them"):
            look(tmp_path, bit_depth="scale")
    if top > 1:
        [problem] = look(tmp_path, max_value=4)[1].problems
        assert problem.what == "expected values from 0 to 4, found 0 to 65535. Use --set max_value=N"


def test_folder_of_turned_images_has_an_identity_of_its_own(tmp_path, look) -> None:
    """Ways of reading that neither bytes nor configuration tell are in the survey, for the dataset's identity."""
    exif = Image.Exif()
    exif[0x0112] = 3
    save(tmp_path / "a.jpg", picture(0, (16, 24)), exif=exif)
    assert look(tmp_path)[0].reading == ("upright",)
    save(tmp_path / "a.jpg", picture(0, (16, 24)))
    assert look(tmp_path)[0].reading == ()
