"""Image files to pixels: limits checked before decoding, every loss refused or asked for."""

from __future__ import annotations

import io
import struct
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from pipelines.data.sources.config import IngestConfig
from pipelines.data.sources.problems import Problem
from pipelines.data.sources.survey import Block
from vae.data.manifest import ImageSpec
from vae.errors import DataError

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP")
_TIFF_BITS_PER_SAMPLE = 258
_SHOWN_SIZES = 10
_PNG_BIT_DEPTH = 24  # the byte of the file that holds it
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# What a decoded image keeps its meaning in, by Pillow's mode.
_CHANNELS_KEPT = {"1": 1, "L": 1, "I;16": 1, "I;16B": 1, "I;16L": 1, "P": 3, "RGB": 3, "YCbCr": 3}
_DEEP = ("I;16", "I;16B", "I;16L", "I")


class BadImage(Exception):  # noqa: N818  named for what it is about
    """An image file that cannot be used; the message says why."""


@dataclass(frozen=True)
class ImageShape:
    """What an image becomes, before any resizing."""

    height: int
    width: int
    channels: int

    def __str__(self) -> str:
        return f"{self.height}×{self.width}×{self.channels}"


def probe(data: bytes, config: IngestConfig) -> ImageShape:
    """The shape of an image file, from its header alone.

    Raises:
        BadImage: If the header already tells that the file cannot be used.
    """
    shape = _probe_plain_png(data)
    if shape is not None:
        _check_size(shape.height, shape.width, config)
        return ImageShape(shape.height, shape.width, _channels_of(shape.channels, config))
    with _open(data, config) as image:
        return _shape(image, data, config)


def decode(data: bytes, config: IngestConfig) -> NDArray[np.uint8]:
    """An image file's pixels in full, as uint8 of shape (C, H, W), converted and resized as configured.

    Raises:
        BadImage: If any of it cannot be decoded.
    """
    with _open(data, config) as image:
        shape = _shape(image, data, config)
        try:
            image.load()
        except Image.DecompressionBombError as error:
            raise BadImage(str(error)) from error
        # Decoders of damaged data raise whatever they stumble over.
        except (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, MemoryError) as error:
            raise BadImage(f"cannot be decoded to its end: {error}") from error
        mode = {1: "L", 3: "RGB"}[shape.channels]
        picture: Image.Image = _to_8_bit(image) if image.mode in _DEEP else image
        if picture.mode != mode:
            picture = picture.convert(mode)
        if config.resize is not None and config.resize != (shape.height, shape.width):
            height, width = config.resize
            # Pillow's bilinear filter widens with the reduction, so it does not alias.
            picture = picture.resize((width, height), Image.Resampling.BILINEAR)
        pixels = np.asarray(picture)
    return pixels[None] if shape.channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def decode_rows(
    rows: NDArray[np.int64],
    encoded: Iterable[bytes],
    example: ImageSpec,
    config: IngestConfig,
    place: Callable[[int], Problem],
) -> Block:
    """Decode the images of some rows, and say what is wrong with those that cannot be.

    Args:
        rows: Their positions in the source.
        encoded: Their bytes, in that order.
        example: What each must become.
        place: Where a row is, as a problem that does not say yet what is wrong.
    """
    shape = (example.channels, example.height, example.width)
    pixels = np.empty((len(rows), *shape), np.uint8)
    kept: list[int] = []
    problems: list[Problem] = []
    for row, data in zip(rows.tolist(), encoded, strict=True):
        try:
            # The header gave this shape; a decoder that gives another is caught as a bad image too.
            image = decode(data, config)
            if image.shape != shape:
                raise BadImage(f"expected shape {shape}, found {image.shape}")
        except BadImage as error:
            problems.append(replace(place(row), what=str(error)))
            continue
        pixels[len(kept)] = image
        kept.append(row)
    flat = pixels[: len(kept)].reshape(len(kept), example.row_bytes)
    return Block(np.array(kept, np.int64), flat, tuple(problems))


def common_shape(
    shapes: Sequence[ImageShape | None], config: IngestConfig, root: str, problems: Sequence[Problem]
) -> ImageSpec:
    """What every good image becomes.

    Raises:
        DataError: If none is good, or they differ and the configuration does not say how to make them one.
    """
    good = [shape for shape in shapes if shape is not None]
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
    if len(channels) > 1:
        raise DataError(
            f"{root}: {channels[1]:,} grey and {channels[3]:,} color images, expected one kind. Use "
            "--color grey or --color rgb"
        )
    height, width = config.resize or next(iter(sizes))
    return ImageSpec(channels=good[0].channels, height=height, width=width)


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
            # Our own limit comes right after, and raises where Pillow would only warn.
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as error:
        allowed = f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
        raise BadImage(f"not a {allowed} image, or cut off in its header") from error
    except Image.DecompressionBombError as error:
        raise BadImage(f"{error} (--set max_pixels=N)") from error
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error) as error:
        raise BadImage(f"its header cannot be read: {error}") from error
    _check_size(image.height, image.width, config)
    return image


def _check_size(height: int, width: int, config: IngestConfig) -> None:
    if height * width > config.max_pixels:
        raise BadImage(f"{height}×{width} pixels, above the limit of {config.max_pixels:,} (--set max_pixels=N)")


def _shape(image: Image.Image, data: bytes, config: IngestConfig) -> ImageShape:
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and config.frames == "reject":
        raise BadImage(f"{frames} frames or pages, expected 1. --set frames=first takes the first of each")
    if image.mode == "F":
        raise BadImage("floating-point pixels, expected 8 bits. Convert it first")
    bits = _bits(image, data)
    if bits > 8 and config.bit_depth == "reject":
        raise BadImage(f"{bits} bits per channel, expected 8. --set bit_depth=scale scales them")
    if image.mode == "I" and bits > 16:
        raise BadImage(f"{bits} bits per channel, expected 8 or 16. Convert it first")
    if config.color == "keep":
        if image.mode == "CMYK":
            raise BadImage("CMYK, which has no exact RGB. --color rgb or --color grey converts it")
        if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
            raise BadImage("transparency, which would be lost. --color rgb or --color grey drops it")
        if image.mode not in _CHANNELS_KEPT and image.mode != "I":
            raise BadImage(f"mode {image.mode}. --color rgb or --color grey converts it")
    return ImageShape(image.height, image.width, _channels_of(_CHANNELS_KEPT.get(image.mode, 1), config))


def _channels_of(channels: int, config: IngestConfig) -> int:
    return {"keep": channels, "grey": 1, "rgb": 3}[config.color]


def _bits(image: Image.Image, data: bytes) -> int:
    if image.mode in ("I;16", "I;16B", "I;16L"):
        return 16
    if image.format == "PNG":
        # Pillow opens 48-bit RGB as 8-bit RGB without a word; the file's own header tells.
        return data[_PNG_BIT_DEPTH]
    if isinstance(image, TiffImageFile):
        return max(image.tag_v2.get(_TIFF_BITS_PER_SAMPLE, (8,)))
    return 32 if image.mode == "I" else 8


def _probe_plain_png(data: bytes) -> ImageShape | None:
    """The shape of an 8-bit grey or RGB PNG of one frame without transparency; None for anything else.

    Half of the time it takes to survey a folder of small images would go into Pillow's parsing of their
    headers.
    """
    if len(data) < 33 or data[:8] != _PNG_SIGNATURE or data[12:16] != b"IHDR":
        return None
    width, height, depth, color = struct.unpack(">IIBB", data[16:26])
    if depth != 8 or color not in (0, 2) or not width or not height:
        return None
    position = 33
    while position + 8 <= len(data):
        length, kind = struct.unpack(">I4s", data[position : position + 8])
        if kind == b"IDAT":
            return ImageShape(height, width, 1 if color == 0 else 3)
        if kind in (b"tRNS", b"acTL"):
            return None
        position += 12 + length
    return None


def _to_8_bit(image: Image.Image) -> Image.Image:
    deep = np.asarray(image).astype(np.uint32)
    return Image.fromarray(((deep * 255 + 32767) // 65535).astype(np.uint8))
