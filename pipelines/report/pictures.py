"""Reconstructions and samples of images, and the grid in which every figure of images is drawn.

Shapes: R rows of a grid, K its columns, C channels, H height, W width. Images are float32 in [0, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.artist import Artist
from matplotlib.backend_bases import RendererBase
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from pipelines.report.evidence import Evidence, LeftOut
from pipelines.report.theme import DPI, SMALL_SIZE, WIDTH_INCHES, Plan, Theme, plain
from vae import inference
from vae.model import VAE
from vae.seeds import Stream, derive

MOST_NAME = 14
EDGE_INCHES = 0.1
# About as wide as a character of the words around a grid.
CHARACTER_INCHES = 0.074
TITLE_INCHES = 0.2
PAIR = ("data", "model")
SAMPLES_SEED = 0
# Rows whose different conditions are shown, for a model with more conditions than the class.
MOST_CONDITIONS = 10
# A grid no taller than this stays on one screen.
MOST_INCHES = 4.2


# --- the grid -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Grid:
    """Images in rows and columns, and the words around them."""

    images: NDArray[np.float32]
    """The images, [R,K,C,H,W]."""
    row_names: Sequence[str] = ()
    """Name of each row; empty for a grid without names."""
    column_names: Sequence[Sequence[str]] = ()
    """Names above the images of each row; empty for a row without names."""

    def draw(self, theme: Theme) -> Figure:
        """Draws the grid as a figure."""
        rows, columns, *image = self.images.shape
        left, (cell, cell_height) = gutter(self.row_names), cell_inches(columns, image, self.row_names)
        names = list(self.column_names) or [()] * rows
        total = rows * cell_height + sum(map(bool, names)) * TITLE_INCHES + EDGE_INCHES
        figure = theme.figure(total, layout=None)
        # One set of axes over the whole figure, in inches from its lower left corner.
        axes = figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH_INCHES), ylim=(0, total))
        axes.set_axis_off()
        # The images as they are on the page: matplotlib would resample them one row after the other.
        pasted = Image.new("RGBA", (round(WIDTH_INCHES * DPI), round(total * DPI)))
        top = total - EDGE_INCHES / 2
        for row, images_KCHW in enumerate(self.images):
            top -= TITLE_INCHES if names[row] else 0
            for column, name in enumerate(names[row]):
                axes.text(
                    left + (column + 0.5) * cell, top + 0.03, plain(name, max(3, int(cell / CHARACTER_INCHES))),
                    color=theme.muted, fontsize=SMALL_SIZE, ha="center", va="bottom",
                )  # fmt: skip
            size = round(columns * cell * DPI), round(cell_height * DPI)
            strip = _strip(images_KCHW).resize(size, Image.Resampling.HAMMING)
            pasted.paste(strip, (round(left * DPI), round((total - top) * DPI)))
            if self.row_names:
                axes.text(
                    left - 0.08, top - cell_height / 2, plain(self.row_names[row], MOST_NAME),
                    color=theme.ink, fontsize=SMALL_SIZE, ha="right", va="center",
                )  # fmt: skip
            top -= cell_height
        figure.add_artist(_Pasted(np.asarray(pasted)))
        return figure


class _Pasted(Artist):
    """Pixels [H,W,4] over the whole of a figure, one to one."""

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        super().__init__()
        self.pixels = pixels[::-1].copy()  # from the bottom, as renderers count

    def draw(self, renderer: RendererBase) -> None:
        """Paints the pixels."""
        renderer.draw_image(renderer.new_gc(), 0, 0, self.pixels)


def _strip(images_KCHW: NDArray[np.float32]) -> Image.Image:
    """Returns images side by side, with transparent gaps around them."""
    colours = images_KCHW if images_KCHW.shape[1] == 3 else images_KCHW.mean(1, keepdims=True).repeat(3, 1)
    rgba = np.concatenate([colours.clip(0, 1), np.ones_like(colours[:, :1])], 1).transpose(0, 2, 3, 1)
    rgba = np.rint(255 * np.nan_to_num(rgba)).astype(np.uint8)
    # Small images are enlarged first: their gaps may then be finer than one of their pixels.
    scale = max(1, 64 // rgba.shape[2])
    rgba = rgba.repeat(scale, 1).repeat(scale, 2)
    gap = max(1, rgba.shape[2] // 24)
    return Image.fromarray(np.concatenate(list(np.pad(rgba, ((0, 0), (gap, gap), (gap, gap), (0, 0)))), 1))


def gutter(names: Sequence[str]) -> float:
    """Returns the inches to the left of a grid that the names of its rows take."""
    return EDGE_INCHES + CHARACTER_INCHES * min(MOST_NAME, max(map(len, names), default=0))


def cell_inches(columns: int, shape: Sequence[int], names: Sequence[str] = ()) -> tuple[float, float]:
    """Returns width and height in inches of one image of a shape [C,H,W] in a grid."""
    _, height, width = shape
    cell = (WIDTH_INCHES - gutter(names) - EDGE_INCHES) / columns
    return cell, cell * height / width


def rows_that_fit(columns: int, shape: Sequence[int], names: Sequence[str] = ()) -> int:
    """Returns how many rows of images of a shape [C,H,W] stay on one screen; at least one."""
    return max(1, int(MOST_INCHES / cell_inches(columns, shape, names)[1]))


def num_columns(shape: Sequence[int]) -> int:
    """Returns the columns of a grid of images of a shape [C,H,W]: fewer for larger images."""
    return 10 if shape[1] <= 40 else 6


# --- reconstructions ------------------------------------------------------------------------------------------------


def plan_reconstructions(evidence: Evidence) -> Plan:
    """Plans fixed rows above their reconstructions."""
    grid, split = reconstructions(evidence), evidence.split
    rows, columns, *_ = grid.images.shape
    count, condition = rows // 2 * columns, evidence.config.model.condition
    caption = (
        f"The first {count} {split} rows (data) above their reconstructions (model): the decoder's mean at the posterior's "
        "mean."
    )
    if condition:
        caption += f" The model is given the {'class' if condition == ('class',) else 'condition'} of each row."
    if evidence.config.data.missing is not None:
        caption += " Pixels that were hidden from the model are black in the data."
    return Plan(grid.draw, f"{count} {split} examples, each above its reconstruction.", caption, photographic=True)


def reconstructions(evidence: Evidence) -> Grid:
    """Returns the first rows above their reconstructions, under each row's own condition."""
    model = evidence.runnable()
    columns = min(num_columns(model.examples.shape), evidence.num_rows)
    _, cell_height = cell_inches(columns, model.examples.shape, PAIR)
    bands = min(max(1, int(MOST_INCHES / (2 * cell_height + TITLE_INCHES))), evidence.num_rows // columns)
    inputs = evidence.inputs(slice(bands * columns))
    pairs = torch.stack([inputs.x, inference.reconstruct(model, inputs)]).cpu()
    images = pairs.unflatten(1, (bands, columns)).transpose(0, 1).flatten(0, 1).numpy()
    names: list[list[str]] = []
    if evidence.labels is not None and evidence.manifest.classes:
        named = [evidence.manifest.classes[label] for label in evidence.labels[: bands * columns]]
        names = [named[row // 2 * columns :][:columns] if row % 2 == 0 else [] for row in range(2 * bands)]
    return Grid(images, PAIR * bands, names)


# --- samples --------------------------------------------------------------------------------------------------------


def plan_samples(evidence: Evidence) -> Plan:
    """Plans draws from the prior."""
    model = evidence.model
    if model is None:
        raise LeftOut(evidence.why_no_model)
    # Without a condition, or with the class alone, no row is needed.
    needs_rows = set(model.config.condition) - {"class"}
    if needs_rows or not evidence.is_finite:
        evidence.runnable()
    grid = samples(evidence, model)
    shown, columns, *_ = grid.images.shape
    caption = f"Decoder's mean at latents drawn from the prior, with seed {SAMPLES_SEED}."
    if not model.conditions:
        return Plan(grid.draw, f"{shown * columns} images drawn from the prior.", caption, photographic=True)
    one, many = (f"a condition of the {evidence.split} rows", "conditions") if needs_rows else ("a class", "classes")
    most = "" if needs_rows or shown == model.num_classes else f" The first {shown} of {model.num_classes} classes."
    return Plan(
        grid.draw,
        f"Images drawn from the prior: a row for each of {shown} {many}, a column for each of {columns} latents.",
        f"{caption} Each row is {one}. Each column is one latent under all {many}: what stays the same down a column is "
        f"the style.{most}",
        photographic=True,
    )


def samples(evidence: Evidence, model: VAE) -> Grid:
    """Returns draws from the prior; for a conditional model, a row for each condition and a column for each latent."""
    device = next(model.parameters()).device
    names, conditions_NK = _conditions(evidence, model)
    rows, columns = _sample_rows(names, model.examples.shape)
    names = names[:rows]
    generator = torch.Generator(device).manual_seed(derive(SAMPLES_SEED, Stream.GENERATION, 0))
    noise = torch.randn(columns if names else rows * columns, model.prior.noise_dim, generator=generator, device=device)
    condition_NK = None
    if conditions_NK is not None:
        noise = noise.repeat(rows, 1)
        condition_NK = conditions_NK[:rows].repeat_interleave(columns, 0)
    with torch.no_grad():
        z_NL = model.sample_prior(noise, condition_NK)
    images = inference.decode(model, z_NL, condition_NK).cpu().unflatten(0, (rows, columns)).numpy()
    return Grid(images, names)


def _conditions(evidence: Evidence, model: VAE) -> tuple[Sequence[str], Tensor | None]:
    """Returns the conditions of the samples: every class, or those that the first rows have if there is more than it."""
    classes = model.examples.classes
    if model.config.condition == ("class",) and classes:
        return classes, model.condition(torch.arange(len(classes), device=next(model.parameters()).device))
    names = evidence.conditions(MOST_CONDITIONS)
    if not names:
        return (), None
    rows = [names.index(name) for name in dict.fromkeys(names)]  # one of each condition
    condition_NK = evidence.inputs(slice(len(names))).condition
    assert condition_NK is not None, "the model is conditional"
    return [names[row] for row in rows], condition_NK[rows]


def _sample_rows(names: Sequence[str], shape: Sequence[int]) -> tuple[int, int]:
    """Returns rows and columns of the grid of samples, with smaller images if many conditions need a row each."""
    fewest = num_columns(shape)
    rows, columns = 1, fewest
    for columns in range(fewest, (fewest * 8 // 5 if names else fewest) + 1):
        rows = rows_that_fit(columns, shape, names)
        if rows >= len(names) > 0:
            return len(names), columns
    return rows, columns
