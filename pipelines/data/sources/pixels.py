"""Arrays of pixels in whatever shape and type, to uint8 in CHW order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipelines.data.sources.config import IngestConfig
from vae.data.manifest import ImageSpec
from vae.errors import DataError

_CHANNELS = (1, 3, 4)


@dataclass(frozen=True)
class PixelLayout:
    """How one image of an array is stored."""

    height: int
    width: int
    channels: int
    channels_last: bool


def layout_of(shape: tuple[int, ...], where: str) -> PixelLayout:
    """The layout of an array of images of shape (rows, …).

    Raises:
        DataError: If it is none of (rows, H, W), (rows, H, W, C) and (rows, C, H, W).
    """
    match shape[1:]:
        case (height, width):
            layout = PixelLayout(height, width, 1, channels_last=True)
        case (height, width, channels) if channels in _CHANNELS:
            layout = PixelLayout(height, width, channels, channels_last=True)
        case (channels, height, width) if channels in _CHANNELS:
            layout = PixelLayout(height, width, channels, channels_last=False)
        case _:
            raise DataError(
                f"{where}: expected images of shape (rows, H, W), (rows, H, W, C) or (rows, C, H, W) with "
                f"1, 3 or 4 channels, found {tuple(shape)}"
            )
    if 0 in (layout.height, layout.width):
        raise DataError(f"{where}: expected images of at least one pixel, found shape {tuple(shape)}")
    return layout


def check_array(shape: tuple[int, ...], dtype: np.dtype, where: str, config: IngestConfig) -> ImageSpec:
    """What the examples of an array become, from its shape and type alone.

    Raises:
        DataError: If the array cannot be ingested, or not without saying how.
    """
    layout = layout_of(shape, where)
    if dtype.kind not in "uib":
        raise DataError(
            f"{where}: expected integer pixels, found {dtype}. Convert them to uint8 (0 to 255) first: "
            "betaline does not guess what 1.0 means"
        )
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
    size = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if size > config.max_memory_bytes:
        raise DataError(
            f"{where}: unfolds to {size:,} bytes, above the limit of {config.max_memory_bytes:,}. Raise "
            "it with --set max_memory_bytes=N if you trust the source and have the memory"
        )
    channels = {"keep": 1 if layout.channels == 1 else 3, "grey": 1, "rgb": 3}[config.color]
    height, width = config.resize or (layout.height, layout.width)
    return ImageSpec(channels=channels, height=height, width=width)


def to_pixels(raw: np.ndarray, where: str, config: IngestConfig) -> NDArray[np.uint8]:
    """Images of any checked array, as uint8 of shape (rows, C·H·W).

    Raises:
        DataError: If a value is outside what its type or `max_value` allows.
    """
    layout = layout_of(raw.shape, where)
    images = _to_uint8(raw, where, config).reshape(
        len(raw), *((layout.height, layout.width, layout.channels) if layout.channels_last else raw.shape[1:])
    )
    if layout.channels > 1 and not layout.channels_last:
        images = images.transpose(0, 2, 3, 1)
    elif not layout.channels_last:
        images = images.reshape(len(raw), layout.height, layout.width, 1)
    images = _recolor(images, config.color)
    if config.resize is not None and config.resize != (layout.height, layout.width):
        images = _resize(images, config.resize)
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)).reshape(len(raw), -1)


def _to_uint8(raw: np.ndarray, where: str, config: IngestConfig) -> NDArray[np.uint8]:
    if raw.dtype == np.bool_:
        return raw.astype(np.uint8) * np.uint8(255)
    top = config.max_value or (65535 if raw.dtype == np.uint16 and config.bit_depth == "scale" else 255)
    if raw.dtype != np.uint8 or top < 255:
        low, high = (int(raw.min()), int(raw.max())) if raw.size else (0, 0)
        if low < 0 or high > top:
            raise DataError(f"{where}: expected values from 0 to {top}, found {low} to {high}. Use --set max_value=N")
    if top == 255:
        return raw.astype(np.uint8, copy=False)
    return np.rint(raw * (255 / top)).astype(np.uint8)


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


def _resize(images: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    height, width = size
    out = np.empty((len(images), height, width, images.shape[-1]), np.uint8)
    for target, image in zip(out, images, strict=True):
        picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
        # Pillow's bilinear filter widens with the reduction, so it does not alias.
        resized = picture.resize((width, height), Image.Resampling.BILINEAR)
        target[...] = np.asarray(resized).reshape(target.shape)
    return out
