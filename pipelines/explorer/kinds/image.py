"""Images in the explorer.

Files and drawings go through the reader of ingest, with its limits: a file above them is never decoded.

Shapes: N rows, C channels, H height, W width.
"""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from pipelines.data.sources.config import IngestConfig
from pipelines.data.sources.decoding import BadImage, decode
from pipelines.explorer.kinds import Content, Kind, Panel, check_size
from vae.data.schema import ExampleSpec
from vae.errors import DataError

if TYPE_CHECKING:
    from pipelines.explorer.models import Subject
    from pipelines.explorer.views import Repair

MOST_PIXELS = 1 << 24
"""Pixels of an image, at most: a good camera takes as many."""


class Images(Kind):
    """Images: uint8 [N,C,H,W] of a dataset, float32 in [0, 1] of a model, with NaN for missing pixels."""

    prefix = "png"
    upload = "Upload an image"
    accepts = "image/*"
    file = "image"
    editor = "drawing"
    takes_noise = True

    def described(self, shape: tuple[int, ...]) -> str:
        return f"images of {shape[1]} × {shape[2]}"

    def own(self, subject: Subject, text: str, where: str) -> NDArray[np.uint8]:
        return read_image(subject, _unpack(text, where))

    def blank(self, subject: Subject) -> NDArray[np.uint8]:
        return np.zeros((1, *subject.shape), np.uint8)

    def rows(self, examples: ExampleSpec, values: NDArray[Any]) -> NDArray[Any]:
        return values

    def pair(self, first: NDArray[Any], second: NDArray[Any]) -> NDArray[Any]:
        return np.concatenate([first, second])[None]

    def damaged(self, subject: Subject, view: Repair, values: NDArray[np.uint8]) -> NDArray[Any]:
        holes = read_holes(subject, view.holes)
        if not view.noise and holes is None:
            return values
        pixels = values.astype(np.float32) / np.float32(255)
        if view.noise:
            pixels += np.random.default_rng(view.seed).normal(0, view.noise, pixels.shape).astype(np.float32)
        if holes is not None:
            pixels[..., holes] = np.nan
        # Only a denoiser takes pixels that noise has moved out of their range.
        return pixels if view.do == "denoise" else pixels.clip(0, 1)

    def content(self, subject: Subject, data: bytes, row: str) -> Content:
        image = read_image(subject, data)
        _, _, height, width = image.shape
        return Content(write_image(image), f"as the model takes it: {width} × {height} pixels")

    def thumbnail(self, values: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return values[0]

    def panels(self, values: NDArray[Any], names: Sequence[str]) -> list[Panel]:
        return [Panel(name, _in_unit(image)) for name, image in zip(names, values, strict=True)]

    def points(self, answer: NDArray[Any]) -> NDArray[Any]:
        return answer[0]

    def repair_numbers(self, values: NDArray[Any], answers: Sequence[NDArray[Any]]) -> list[tuple[str, str]]:
        image = _in_unit(values[0])
        missing = np.isnan(image)
        difference = (image - answers[0][0])[~missing]
        numbers = [("difference from the input", f"{float(np.sqrt(np.square(difference).mean())):.4f} rms")]
        gaps = int(missing.any(0).sum())
        if gaps:
            numbers.append(("pixels missing", f"{gaps} of {image[0].size}"))
        if len(answers) > 1:
            uncertain = answers[1][0][missing] if gaps else answers[1][0]
            numbers.append(("mean uncertainty", f"{float(uncertain.mean()):.4f}"))
        return numbers

    def csv(self, panels: Sequence[Panel]) -> str:
        pixels = np.stack([panel.values.ravel() for panel in panels])
        return pd.DataFrame(pixels, [panel.name for panel in panels]).add_prefix("pixel_").to_csv(index_label="panel")

    def png(self, panels: Sequence[Sequence[Panel]]) -> bytes:
        # Imported here because matplotlib takes a second, which the start of the page need not wait for.
        from pipelines.report.pictures import Grid
        from pipelines.report.theme import LIGHT, png

        images = np.stack([[np.nan_to_num(panel.values / panel.white, nan=0.5) for panel in row] for row in panels])
        return png(Grid(images, (), [[panel.name for panel in row] for row in panels]).draw(LIGHT))


KIND = Images()


def _in_unit(image: NDArray[Any]) -> NDArray[np.float32]:
    return image.astype(np.float32) / np.float32(255 if image.dtype == np.uint8 else 1)


def read_image(subject: Subject, data: bytes) -> NDArray[np.uint8]:
    """Returns an image file as an example of the model, uint8 [1,C,H,W], resized and recoloured as ingest does it.

    Raises:
        DataError: If the file is too large, or no image.
    """
    check_size(data)
    channels, height, width = subject.shape
    config = IngestConfig(
        source="upload", name="upload", resize=(height, width), color="grey" if channels == 1 else "rgb",
        frames="first", bit_depth="scale", max_pixels=MOST_PIXELS,
    )  # fmt: skip
    try:
        return decode(data, config, channels)[None]
    except BadImage as error:
        raise DataError(f"the file cannot be used: {str(error).partition(' (--set')[0]}") from None


def png_bytes(image: NDArray[np.uint8]) -> bytes:
    """Returns an image [C,H,W] as a PNG of its own size."""
    buffer = io.BytesIO()
    picture = Image.fromarray(image[0]) if len(image) == 1 else Image.fromarray(image.transpose(1, 2, 0))
    picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def write_image(values: NDArray[np.uint8]) -> str:
    """Returns an image [1,C,H,W] as `png:…`, for a link."""
    return "png:" + _packed(values[0])


def read_holes(subject: Subject, holes: str) -> NDArray[np.bool_] | None:
    """Returns the pixels of an image that are erased [H,W]; None for none."""
    if not holes:
        return None
    erased = read_image(subject, _unpack(holes, "holes"))[0].max(0) > 127
    return erased if erased.any() else None


def write_holes(holes: NDArray[np.bool_]) -> str:
    """Returns erased pixels for a link, as `read_holes` reads them."""
    return _packed(np.where(holes, 255, 0).astype(np.uint8)[None]) if holes.any() else ""


def from_data_url(url: str) -> bytes:
    """Returns the bytes of an image that a canvas sent.

    Raises:
        DataError: If it is something else.
    """
    head, _, body = url.partition(",")
    if head != "data:image/png;base64":
        raise DataError("the drawing is no PNG; reload the page")
    return _unpack(body, "drawing")


def _packed(image: NDArray[np.uint8]) -> str:
    return base64.urlsafe_b64encode(png_bytes(image)).decode().rstrip("=")


def _unpack(text: str, where: str) -> bytes:
    try:
        return base64.b64decode(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise DataError(f"link, {where}: not base64; it may have been cut off") from None
