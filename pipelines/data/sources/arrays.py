"""Arrays of images in any shape and type, as uint8 pixels in CHW order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipelines.data.sources.config import MEMORY_ADVICE, IngestConfig
from pipelines.data.sources.segments import Segment, SegmentReader
from pipelines.data.sources.survey import Survey
from vae.data.manifest import SourceFile
from vae.data.schema import ExampleSpec
from vae.errors import DataError

_CHANNELS = (1, 3, 4)


@dataclass(frozen=True, kw_only=True)
class ArraySegment(Segment):
    """One array of images."""

    where: str
    """Name of the array in messages."""
    config: IngestConfig

    def take(self, loaded: np.ndarray, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Returns the images at some positions as pixels of shape (rows, C·H·W)."""
        return to_pixels(loaded[rows], self.where, self.config)


def survey_arrays(
    where: str,
    files: Sequence[SourceFile],
    segments: Sequence[ArraySegment],
    examples: Sequence[ExampleSpec],
    labels: Sequence[NDArray[np.generic]],
    splits: Sequence[int | None],
    **attributes: Any,
) -> Survey:
    """Returns the survey of a source of arrays.

    Args:
        where: Name of the source in messages.
        files: Every file of the source.
        segments: Arrays of images, in order.
        examples: What the images of each array become.
        labels: Labels of each array; empty for a source without labels.
        splits: The source's own split of each array, as an index into SPLITS; ignored for a single array.
        attributes: The fields `attributes` and `attribute_values` of the survey.

    Raises:
        DataError: If the arrays hold images of different shapes.
    """
    if len(set(examples)) > 1:
        shapes = ", ".join(sorted({"×".join(map(str, s.shape)) for s in examples}))
        raise DataError(f"{where}: holds images of different shapes ({shapes}). Use --resize HEIGHTxWIDTH")
    sizes = [segment.num_rows for segment in segments]
    values, indices = np.unique(np.concatenate(labels), return_inverse=True) if labels else (None, None)
    return Survey(
        files=tuple(files),
        example=examples[0],
        num_rows=sum(sizes),
        reader=SegmentReader(tuple(segments)),
        classes=None if values is None else tuple(str(value) for value in values),
        labels=None if indices is None else indices.astype(np.int32),
        own_splits=np.repeat(np.array(splits, np.uint8), sizes) if len(segments) > 1 else None,
        **attributes,
    )


class _Layout(NamedTuple):
    height: int
    width: int
    channels: int
    channels_last: bool


def _layout_of(shape: tuple[int, ...], where: str) -> _Layout:
    match shape[1:]:
        case (height, width):
            layout = _Layout(height, width, 1, channels_last=True)
        case (height, width, channels) if channels in _CHANNELS:
            layout = _Layout(height, width, channels, channels_last=True)
        case (channels, height, width) if channels in _CHANNELS:
            layout = _Layout(height, width, channels, channels_last=False)
        case _:
            raise DataError(
                f"{where}: expected images of shape (rows, H, W), (rows, H, W, C) or (rows, C, H, W) with "
                f"1, 3 or 4 channels, found {tuple(shape)}"
            )
    if 0 in (layout.height, layout.width):
        raise DataError(f"{where}: expected images of at least one pixel, found shape {tuple(shape)}")
    return layout


def check_array(shape: tuple[int, ...], dtype: np.dtype, where: str, config: IngestConfig) -> ExampleSpec:
    """Returns what the images of an array become, from the array's shape and type alone.

    Raises:
        DataError: If the array cannot be ingested, or only with an option that is not set.
    """
    layout = _layout_of(shape, where)
    if dtype.itemsize > 1 and config.bit_depth == "reject" and config.max_value is None:
        raise DataError(
            f"{where}: expected 8-bit pixels, found {dtype}. Use --set bit_depth=scale, or --set max_value=N with "
            "the brightest value there is"
        )
    if layout.channels == 4 and config.color == "keep":
        raise DataError(f"{where}: has an alpha channel, which would be lost. Use --color rgb or --color grey")
    if layout.height * layout.width > config.max_pixels:
        raise DataError(
            f"{where}: images of {layout.height}×{layout.width} pixels, above the limit of "
            f"{config.max_pixels:,}. Raise it with --set max_pixels=N if you trust the source"
        )
    check_size(shape, dtype, where, config)
    height, width = config.resize or (layout.height, layout.width)
    channels = config.num_channels(1 if layout.channels == 1 else 3)
    return ExampleSpec((channels, height, width))


def check_size(shape: tuple[int, ...], dtype: np.dtype, where: str, config: IngestConfig) -> None:
    """Checks the bytes of an array in memory.

    Raises:
        DataError: If they are above the limit.
    """
    size = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if size > config.max_memory_bytes:
        limit = f"above the limit of {config.max_memory_bytes:,}. {MEMORY_ADVICE}"
        raise DataError(f"{where}: unfolds to {size:,} bytes, {limit}")


def to_pixels(raw: np.ndarray, where: str, config: IngestConfig) -> NDArray[np.uint8]:
    """Returns the images of a checked array as uint8 pixels of shape (rows, C·H·W).

    Raises:
        DataError: If a value is outside the range of its type or of `max_value`.
    """
    layout = _layout_of(raw.shape, where)
    images = _to_uint8(raw, where, config)
    if layout.channels_last:
        images = images.reshape(len(raw), layout.height, layout.width, layout.channels)
    else:
        images = images.transpose(0, 2, 3, 1)
    images = _recolor(images, config.color)
    if config.resize is not None and config.resize != (layout.height, layout.width):
        images = np.stack([_resize(image, config.resize) for image in images])
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)).reshape(len(raw), -1)


def _to_uint8(raw: np.ndarray, where: str, config: IngestConfig) -> NDArray[np.uint8]:
    if raw.dtype == np.bool_:
        return raw.astype(np.uint8) * np.uint8(255)
    top = config.max_value or (65535 if raw.dtype == np.uint16 and config.bit_depth == "scale" else 255)
    try:
        return scale_to_uint8(raw, top)
    except ValueError as error:
        raise DataError(f"{where}: {error}") from error


def scale_to_uint8(values: np.ndarray, top: int) -> NDArray[np.uint8]:
    """Returns numbers from 0 to `top` as 0 to 255, rounded.

    Raises:
        ValueError: If a number is outside of this range, or NaN.
    """
    if values.size and (values.dtype != np.uint8 or top < 255):
        low, high = values.min(), values.max()
        if not (low >= 0 and high <= top):
            raise ValueError(f"expected values from 0 to {top}, found {low:.9g} to {high:.9g}. Use --set max_value=N")
    if top == 255 and values.dtype.kind != "f":
        return values.astype(np.uint8, copy=False)
    return np.rint(values * (255 / top)).astype(np.uint8)


def _recolor(images: NDArray[np.uint8], color: str) -> NDArray[np.uint8]:
    channels = images.shape[-1]
    if color == "grey" and channels > 1:
        # ITU-R 601-2 luma in 16-bit fixed point, as Pillow converts RGB to L.
        red, green, blue = (images[..., c].astype(np.uint32) for c in range(3))
        luma = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16
        return luma.astype(np.uint8)[..., None]
    if color == "rgb" and channels == 1:
        return np.repeat(images, 3, axis=-1)
    return images[..., :3] if channels == 4 else images


def _resize(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    channels = image.shape[-1]
    resized = resize(Image.fromarray(image[..., 0] if channels == 1 else image), size)
    return np.asarray(resized).reshape(*size, channels)


def resize(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Returns a picture resized to (height, width), without aliasing."""
    height, width = size
    # Pillow's bilinear filter widens with the reduction.
    return picture.resize((width, height), Image.Resampling.BILINEAR)
