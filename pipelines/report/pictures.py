"""Images that the model rebuilds and makes, as grids.

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

from pipelines.report.evidence import Evidence
from pipelines.report.plan import Plan
from pipelines.report.theme import DPI, INK, MUTED, SMALL_SIZE, WIDTH_INCHES, blank, plain
from vae import inference
from vae.seeds import Stream, derive

MOST_NAME = 14
EDGE_INCHES = 0.1
# About as wide as a character of the words around a grid.
CHARACTER_INCHES = 0.074
TITLE_INCHES = 0.2
PAIR = ("data", "model")
SAMPLES_SEED = 0
# Different conditions of the rows among the first of them, for a model that is told more than the class.
MOST_CONDITIONS = 10
# A grid no taller than this stays on one screen.
MOST_INCHES = 4.2


@dataclass(frozen=True)
class Grid:
    """Images in rows and columns, and the words around them."""

    images: NDArray[np.float32]
    """[R,K,C,H,W]"""
    row_names: Sequence[str] = ()
    column_names: Sequence[Sequence[str]] = ()
    """For each row the words above its images; none for a row without."""

    def draw(self) -> Figure:
        """The grid as a figure."""
        rows, columns, _, height, width = self.images.shape
        left = gutter(self.row_names)
        cell = (WIDTH_INCHES - left - EDGE_INCHES) / columns
        cell_height = cell * height / width
        names = list(self.column_names) or [()] * rows
        total = rows * cell_height + sum(map(bool, names)) * TITLE_INCHES + EDGE_INCHES
        figure = blank(total, layout=None)
        # One set of axes over the whole figure, in inches from its lower left corner.
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        # The images as they are on the page: matplotlib would resample them one row after the other.
        pasted = Image.new("RGBA", (round(WIDTH_INCHES * DPI), round(total * DPI)))
        top = total - EDGE_INCHES / 2
        for row, images_KCHW in enumerate(self.images):
            top -= TITLE_INCHES if names[row] else 0
            for column, name in enumerate(names[row]):
                axes.text(
                    left + (column + 0.5) * cell, top + 0.03, plain(name, max(3, int(cell / CHARACTER_INCHES))),
                    color=MUTED, fontsize=SMALL_SIZE, ha="center", va="bottom",
                )  # fmt: skip
            size = round(columns * cell * DPI), round(cell_height * DPI)
            strip = _strip(images_KCHW).resize(size, Image.Resampling.HAMMING)
            pasted.paste(strip, (round(left * DPI), round((total - top) * DPI)))
            if self.row_names:
                axes.text(
                    left - 0.08, top - cell_height / 2, plain(self.row_names[row], MOST_NAME),
                    color=INK, fontsize=SMALL_SIZE, ha="right", va="center",
                )  # fmt: skip
            top -= cell_height
        axes.set_xlim(0, WIDTH_INCHES)
        axes.set_ylim(0, total)
        figure.add_artist(_Pasted(np.asarray(pasted)))
        return figure


class _Pasted(Artist):
    """Pixels [H,W,4] over the whole of a figure, one to one."""

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        super().__init__()
        self.pixels = pixels[::-1].copy()  # from the bottom, as renderers count

    def draw(self, renderer: RendererBase) -> None:
        renderer.draw_image(renderer.new_gc(), 0, 0, self.pixels)


def gutter(names: Sequence[str]) -> float:
    """Inches to the left of a grid, for the names of its rows."""
    return EDGE_INCHES + CHARACTER_INCHES * min(MOST_NAME, max(map(len, names), default=0))


def _strip(images_KCHW: NDArray[np.float32]) -> Image.Image:
    """Images side by side, with clear gaps around them."""
    colours = images_KCHW if images_KCHW.shape[1] == 3 else images_KCHW.mean(1, keepdims=True).repeat(3, 1)
    opaque = np.ones_like(colours[:, :1])
    rgba = np.concatenate([colours.clip(0, 1), opaque], 1).transpose(0, 2, 3, 1)
    rgba = np.rint(255 * np.nan_to_num(rgba)).astype(np.uint8)
    # Small images are enlarged first: their gaps may then be finer than a pixel of theirs.
    scale = max(1, 64 // rgba.shape[2])
    rgba = rgba.repeat(scale, 1).repeat(scale, 2)
    gap = max(1, rgba.shape[2] // 24)
    return Image.fromarray(np.concatenate(list(np.pad(rgba, ((0, 0), (gap, gap), (gap, gap), (0, 0)))), 1))


def num_columns(height: int) -> int:
    """Columns of a grid of images of this height: fewer where there is more to see."""
    return 10 if height <= 40 else 6


def reconstructions(evidence: Evidence) -> Grid:
    """The first rows above what the model makes of them; a conditional model is told each row's own condition."""
    model = evidence.model
    assert model is not None, "callers ask `cannot_run` first"
    _, height, width = model.examples.shape
    columns = min(num_columns(height), evidence.num_rows)
    cell_height = (WIDTH_INCHES - gutter(PAIR) - EDGE_INCHES) / columns * height / width
    bands = min(max(1, int(MOST_INCHES / (2 * cell_height + TITLE_INCHES))), evidence.num_rows // columns)
    inputs = evidence.inputs(slice(bands * columns))
    pairs = torch.stack([inputs.x, inference.reconstruct(model, inputs)]).cpu()
    images = pairs.unflatten(1, (bands, columns)).transpose(0, 1).flatten(0, 1).numpy()
    names: list[list[str]] = []
    if evidence.labels is not None and evidence.manifest.classes:
        named = [evidence.manifest.classes[label] for label in evidence.labels[: bands * columns]]
        names = [named[row // 2 * columns :][:columns] if row % 2 == 0 else [] for row in range(2 * bands)]
    return Grid(images, PAIR * bands, names)


def samples(evidence: Evidence) -> Grid:
    """Draws from the prior. For a conditional model a row is a condition, and a column one latent for all of them."""
    model = evidence.model
    assert model is not None, "callers ask first"
    _, height, width = model.examples.shape
    device = next(model.parameters()).device
    names, conditions_NK = _conditions(evidence)
    rows, columns = _sample_rows(names, height, width)
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


def _conditions(evidence: Evidence) -> tuple[Sequence[str], Tensor | None]:
    """What the rows of the samples are told: every class, or what different rows have where there is more to tell."""
    model = evidence.model
    assert model is not None, "callers ask first"
    classes = model.examples.classes
    if model.config.condition == ("class",) and classes:
        return classes, model.condition(torch.arange(len(classes), device=next(model.parameters()).device))
    names = evidence.conditions(MOST_CONDITIONS)
    if not names:
        return (), None
    first = {name: row for row, name in reversed(list(enumerate(names)))}  # of each condition, once
    rows = sorted(first.values())
    condition_NK = evidence.inputs(slice(len(names))).condition
    assert condition_NK is not None, "the model is conditional"
    return [names[row] for row in rows], condition_NK[rows]


def _sample_rows(names: Sequence[str], height: int, width: int) -> tuple[int, int]:
    """Rows and columns of the grid of samples: a row for each condition, in smaller images where there are many."""
    fewest = num_columns(height)
    rows, columns = 1, fewest
    for columns in range(fewest, (fewest * 8 // 5 if names else fewest) + 1):
        cell = (WIDTH_INCHES - gutter(names) - EDGE_INCHES) / columns
        rows = max(1, int(MOST_INCHES / (cell * height / width)))
        if rows >= len(names) > 0:
            return len(names), columns
    return rows, columns


# --- on the page ----------------------------------------------------------------------------------------------------


def plan_reconstructions(evidence: Evidence) -> Plan | str | None:
    """Fixed rows above what the model makes of them."""
    if evidence.is_table:
        return None
    if reason := evidence.cannot_run:
        return reason
    grid, split = reconstructions(evidence), evidence.split
    rows, columns = grid.images.shape[:2]
    told = "class" if evidence.config.model.condition == ("class",) else "condition"
    conditional = f" The model is told each row's own {told}." if evidence.config.model.condition else ""
    if evidence.config.data.missing is not None:
        conditional += " Black in the data is also what was hidden from the model."
    return Plan(
        grid.draw,
        f"{rows // 2 * columns} {split} examples, each above its reconstruction.",
        f"The first {rows // 2 * columns} {split} rows (data) above their reconstructions (model): the decoder's "
        f"mean at the posterior's mean.{conditional}",
        photographic=True,
    )


def plan_samples(evidence: Evidence) -> Plan | str | None:
    """Draws from the prior."""
    if evidence.is_table:
        return None
    model = evidence.model
    if model is None:
        return evidence.why_no_model
    # Without a condition, or with the class alone, no row is needed.
    needs_rows = set(model.config.condition) - {"class"}
    reason = evidence.cannot_run
    if reason and (needs_rows or reason == "the model's weights are not finite numbers"):
        return reason
    grid = samples(evidence)
    caption = f"Decoder's mean at latents drawn from the prior, seed {SAMPLES_SEED}."
    if not model.conditions:
        alt = f"{grid.images.shape[0] * grid.images.shape[1]} images drawn from the prior."
        return Plan(grid.draw, alt, caption, photographic=True)
    shown, columns = grid.images.shape[:2]
    one, many = (f"a condition of the {evidence.split} rows", "conditions") if needs_rows else ("a class", "classes")
    most = "" if needs_rows or shown == model.num_classes else f" The first {shown} of {model.num_classes} classes."
    return Plan(
        grid.draw,
        f"Images drawn from the prior: a row for each of {shown} {many}, a column for each of {columns} latents.",
        f"{caption} A row is {one}; a column is one latent for all {many}, so what stays the same down a column is the "
        f"style.{most}",
        photographic=True,
    )
