"""Decoding of image files to pixels: limits are checked before decoding, and every loss needs an option."""

from __future__ import annotations

import io
import struct
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from pipelines.data.sources.arrays import resize, scale_to_uint8
from pipelines.data.sources.config import IngestConfig
from pipelines.data.sources.problems import Problem
from pipelines.data.sources.survey import Block
from vae.data.schema import ExampleSpec
from vae.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif", ".tif", ".tiff", ".webp")
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP")
_TIFF_BITS_PER_SAMPLE = 258
_SHOWN_SIZES = 10
_PNG_BIT_DEPTH = 24  # offset of this byte in the file
# Channels that keep an image's meaning, by Pillow's mode.
_CHANNELS_KEPT = {"1": 1, "L": 1, "I;16": 1, "I;16B": 1, "I;16L": 1, "P": 3, "RGB": 3, "YCbCr": 3}
_DEEP = ("I;16", "I;16B", "I;16L", "I", "F")
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""Operation that sets an image upright, by its EXIF orientation."""
_SWAPS_SIDES = 5
"""Lowest orientation that swaps height and width."""


class BadImage(Exception):  # noqa: N818  named for what it is about
    """An image file that cannot be used; the message says why."""


@dataclass(frozen=True)
class ImageShape:
    """Shape of an image after the conversion of its channels, before any resizing."""

    height: int
    width: int
    channels: int
    is_turned: bool = False
    """Whether its EXIF orientation turns or mirrors it."""
    has_grey_palette: bool = False

    def __str__(self) -> str:
        return f"{self.height}×{self.width}×{self.channels}"


def probe(data: bytes, config: IngestConfig) -> ImageShape:
    """Returns the shape of an image file, from its size and its header alone.

    Raises:
        BadImage: If size or header show that the file cannot be used.
    """
    if len(data) > config.max_file_bytes:
        raise too_large(len(data), config)
    with _open(data, config) as image:
        return _shape(image, data, config)


def too_large(size: int, config: IngestConfig) -> BadImage:
    """Returns the error for a file above the limit of bytes."""
    return BadImage(f"{size:,} bytes, above the limit of {config.max_file_bytes:,} (--set max_file_bytes=N)")


def decode(data: bytes, config: IngestConfig, channels: int) -> NDArray[np.uint8]:
    """Returns all pixels of an image file, uint8 of shape (C, H, W), upright, converted and resized as configured.

    Args:
        data: Bytes of the file.
        config: Configuration of the ingest.
        channels: Number of channels, for an image with a grey palette; others have those that the configuration gives.

    Raises:
        BadImage: If a part of it cannot be decoded.
    """
    with _open(data, config) as image:
        shape = _shape(image, data, config)
        try:
            image.load()
        except Image.DecompressionBombError as error:
            raise BadImage(str(error)) from error
        # Decoders raise many kinds of errors for damaged data.
        except (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, MemoryError) as error:
            raise BadImage(f"cannot be decoded to its end: {error}") from error
        mode = {1: "L", 3: "RGB"}[channels if shape.has_grey_palette else shape.channels]
        picture: Image.Image = _to_8_bit(image, config) if image.mode in _DEEP else image
        if shape.is_turned:
            picture = picture.transpose(_TURNS[_orientation(image)])
        if picture.mode != mode:
            picture = picture.convert(mode)
        if config.resize is not None and config.resize != (shape.height, shape.width):
            picture = resize(picture, config.resize)
        pixels = np.asarray(picture)
    return pixels[None] if mode == "L" else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def decode_rows(
    rows: NDArray[np.int64],
    encoded: Iterable[bytes],
    example: ExampleSpec,
    config: IngestConfig,
    problem: Callable[[int, str], Problem],
) -> Block:
    """Decodes the images of some rows, and describes those that cannot be decoded.

    Args:
        rows: Positions in the source.
        encoded: Bytes of the images, in the order of the rows.
        example: What each image must become.
        config: Configuration of the ingest.
        problem: Makes a problem of a row and a description.
    """
    shape = example.shape
    pixels = np.empty((len(rows), *shape), np.uint8)
    kept: list[int] = []
    problems: list[Problem] = []
    for row, data in zip(rows.tolist(), encoded, strict=True):
        try:
            # The header gave this shape; a decoder that returns another shape is an error too.
            image = decode(data, config, shape[0])
            if image.shape != shape:
                raise BadImage(f"expected shape {shape}, found {image.shape}")
        except BadImage as error:
            problems.append(problem(row, str(error)))
            continue
        pixels[len(kept)] = image
        kept.append(row)
    flat = pixels[: len(kept)].reshape(len(kept), example.row_bytes)
    return Block(np.array(kept, np.int64), flat, tuple(problems))


def common_shape(
    shapes: Sequence[ImageShape | None], config: IngestConfig, root: str, problems: Sequence[Problem]
) -> ExampleSpec:
    """Returns what every good image becomes.

    Raises:
        DataError: If no image is good, or they differ and the configuration does not make them one shape.
    """
    good = [shape for shape in shapes if shape is not None]
    if not shapes:
        raise DataError(f"{root}: 0 examples. The files hold no image")
    if not good:
        shown = "; ".join(str(problem) for problem in problems[:5])
        raise DataError(f"{root}: 0 examples: all {len(shapes):,} images are bad ({shown})")
    sizes = Counter((s.height, s.width) for s in good)
    if config.resize is None and len(sizes) > 1:
        raise DataError(
            f"{root}: {len(good):,} images of {len(sizes):,} sizes, expected one (height×width: images): "
            f"{_histogram({f'{h}×{w}': n for (h, w), n in sizes.items()})}. Use --resize HEIGHTxWIDTH"
        )
    channels = Counter(s.channels for s in good)
    if len(channels) > 1 and not all(s.has_grey_palette for s in good if s.channels == 1):
        raise DataError(
            f"{root}: {channels[1]:,} grey and {channels[3]:,} color images, expected one kind. Use "
            "--color grey or --color rgb"
        )
    height, width = config.resize or next(iter(sizes))
    return ExampleSpec((max(channels), height, width))


def readings_of(shapes: Sequence[ImageShape | None]) -> dict[str, str]:
    """Returns the ways in which images are not read as they are written, and what to say of each."""
    good = [shape for shape in shapes if shape is not None]
    turned = sum(shape.is_turned for shape in good)
    grey = sum(shape.has_grey_palette for shape in good)
    readings = {"upright": f"{turned:,} × image turned upright by its EXIF orientation"} if turned else {}
    if grey and all(shape.channels == 1 for shape in good):
        readings["grey palette"] = f"{grey:,} × image with a palette of greys read as grey"
    return readings


def _histogram(counts: dict[str, int]) -> str:
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    shown = ", ".join(f"{size}: {number:,}" for size, number in ranked[:_SHOWN_SIZES])
    rest = ranked[_SHOWN_SIZES:]
    return shown + (f", {len(rest):,} other sizes: {sum(n for _, n in rest):,}" if rest else "")


def _open(data: bytes, config: IngestConfig) -> Image.Image:
    if not data:
        raise BadImage("0 bytes")
    try:
        with warnings.catch_warnings():
            # Pillow only warns above its limit; our own limit, checked right after, raises.
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as error:
        allowed = f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
        raise BadImage(f"not a {allowed} image, or cut off in its header") from error
    except Image.DecompressionBombError as error:
        raise BadImage(f"{error} (--set max_pixels=N)") from error
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error) as error:
        raise BadImage(f"its header cannot be read: {error}") from error
    if image.height * image.width > config.max_pixels:
        size = f"{image.height}×{image.width} pixels"
        raise BadImage(f"{size}, above the limit of {config.max_pixels:,} (--set max_pixels=N)")
    return image


def _shape(image: Image.Image, data: bytes, config: IngestConfig) -> ImageShape:
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and config.frames == "reject":
        raise BadImage(f"{frames} frames or pages, expected 1. --set frames=first takes the first of each")
    bits = _bits(image, data)
    if image.mode not in _DEEP or config.max_value is None:
        if image.mode in _DEEP and bits > 16:
            kind = "floating-point pixels" if image.mode == "F" else f"{bits} bits per channel"
            raise BadImage(
                f"{kind}, expected 8 bits. --set max_value=N scales them, N being the brightest value there is"
            )
        if bits > 8 and config.bit_depth == "reject":
            raise BadImage(f"{bits} bits per channel, expected 8. --set bit_depth=scale scales them")
    if config.color == "keep":
        if image.mode == "CMYK":
            raise BadImage("CMYK, which has no exact RGB. --color rgb or --color grey converts it")
        if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
            raise BadImage("transparency, which would be lost. --color rgb or --color grey drops it")
        if image.mode not in _CHANNELS_KEPT and image.mode not in _DEEP:
            raise BadImage(f"mode {image.mode}. --color rgb or --color grey converts it")
    is_grey = config.color == "keep" and image.mode == "P" and _is_grey(image)
    turn = _orientation(image)
    height, width = (image.width, image.height) if turn >= _SWAPS_SIDES else (image.height, image.width)
    channels = config.num_channels(1 if is_grey else _CHANNELS_KEPT.get(image.mode, 1))
    return ImageShape(height, width, channels, is_turned=turn != 1, has_grey_palette=is_grey)


def _orientation(image: Image.Image) -> int:
    """Returns the EXIF orientation, 1 where the image is upright. Pillow itself turns TIFF."""
    if image.format not in ("JPEG", "WEBP", "PNG") or not {"exif", "xmp"} & image.info.keys():
        return 1
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except (OSError, SyntaxError, ValueError, struct.error, KeyError, TypeError):
        return 1  # a damaged EXIF block says nothing of the orientation
    return orientation if orientation in _TURNS else 1


def _is_grey(image: Image.Image) -> bool:
    palette = np.array(image.getpalette("RGB") or [0, 0, 1]).reshape(-1, 3)
    return bool((palette == palette[:, :1]).all())


def _bits(image: Image.Image, data: bytes) -> int:
    if image.mode in ("I;16", "I;16B", "I;16L"):
        return 16
    if image.format == "PNG":
        # Pillow opens 48-bit RGB as 8-bit RGB without a warning; only the header's own byte shows it.
        return data[_PNG_BIT_DEPTH]
    if isinstance(image, TiffImageFile):
        return max(image.tag_v2.get(_TIFF_BITS_PER_SAMPLE, (8,)))
    return 32 if image.mode in ("I", "F") else 8


def _to_8_bit(image: Image.Image, config: IngestConfig) -> Image.Image:
    try:
        return Image.fromarray(scale_to_uint8(np.asarray(image), config.max_value or 65535))
    except ValueError as error:
        raise BadImage(str(error)) from error
