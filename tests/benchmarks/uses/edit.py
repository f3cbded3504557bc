"""Edits of one attribute: sprites made larger and smaller along a direction learned from labels.

Shapes: N images, L latent, T strengths, F factors; images are [N,1,64,64].
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from pipelines.report.theme import COLOURS, LIGHT, MARKERS, SMALL_SIZE
from tests.benchmarks.page import Claim, figures_of, grid, summary
from tests.benchmarks.reproduce.disentanglement import ORIENTATION, grid_of
from tests.benchmarks.uses.work import fit, mean_of, run_config, seeded, show
from tests.benchmarks.work import Figures, Job, Outcome, train
from tests.vae.conftest import _publish
from vae.config import RunConfig
from vae.data.parquet import Dataset
from vae.data.schema import Column
from vae.data.sprites import Sprites
from vae.inference.changes import edit
from vae.parts.directions import Method
from vae.parts.terms import Inputs

SPLITS = {"train": 10_000, "validation": 1_000, "test": 1_432}
"""Sizes of the splits of the 18,432 shuffled upright sprites; the other 6,000 train the predictor."""
METHODS: tuple[Method, ...] = ("means", "probe")
STRENGTHS = tuple(float(v) for v in np.linspace(-1.5, 1.5, 7))
"""Strengths in standard deviations of the scale in the training split, 0.17."""
STRENGTHS_LISTED = ", ".join(f"{strength:g}" for strength in STRENGTHS)
WITHIN = 1.0
"""Strength up to which edits of the middle scales stay within the scales of the data, 0.53 to 0.97."""
SEEDS = (0, 1, 2)
SHAPES, SCALES, PLACES = 3, 6, 32
MIDDLE = (2, 3)
"""Codes of the scales that are edited, 0.7 and 0.8."""


def shuffled() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Returns the upright sprites in one order, and their codes of shape, scale, x and y [N,4]."""
    index_N = np.random.default_rng(0).permutation(grid_of(upright=True))
    return Sprites().render(index_N), np.delete(Sprites().codes(index_N), ORIENTATION, axis=1)


def dataset_of(home: Path) -> Dataset:
    """Publishes upright sprites with their shape as a category, and scale, column and row as numbers."""
    images, codes_NF = shuffled()
    categories = Sprites().factors[0].categories
    columns = [Column("shape", categories, dtype="string")]
    columns += [Column(name, dtype="double") for name in ("scale", "x", "y")]
    values = codes_NF.astype(np.float32)
    values[:, 1] = 0.5 + 0.1 * values[:, 1]
    total = sum(SPLITS.values())
    attributes = {"attributes": columns, "attribute_values": values[:total]}
    return _publish(home / "sprites", images[:total], None, SPLITS, 1000, **attributes)


def configuration(**training: object) -> RunConfig:
    """Returns the run: β-TCVAE, whose latents are less entangled."""
    model = {
        "latent_dim": 10,
        "encoder": {"kind": "mlp", "hidden": [512, 256]},
        "likelihood": {"kind": "bernoulli", "binarization": "none"},
    }
    objective = {"regularizers": [{"kind": "total_correlation", "weight": 1.0}]}
    return run_config(model, objective, **({"epochs": 60, "batch_size": 64, "learning_rate": 1.5e-3} | training))


def halved(x_NCHW: Tensor) -> Tensor:
    """Returns what the predictor sees of sprites and outputs alike: black and white, at half the size."""
    return F.avg_pool2d((x_NCHW > 0.5).float(), 2)


def shares(codes_NF: Tensor) -> Tensor:
    """Returns scale, x and y as shares of their ranges, [N,3]."""
    return codes_NF[:, 1:] / torch.tensor([SCALES - 1, PLACES - 1, PLACES - 1])


def predictor(steps: int = 1200) -> nn.Module:
    """Trains a predictor of shape (three logits), scale, x and y on real sprites that the model never saw."""
    images, codes_NF = shuffled()
    first = sum(SPLITS.values())
    codes = torch.from_numpy(codes_NF[first:])
    wanted_N3 = shares(codes)

    def loss(outputs: Tensor, index: Tensor) -> Tensor:
        numbers = F.mse_loss(outputs[:, SHAPES:], wanted_N3[index])
        return F.cross_entropy(outputs[:, :SHAPES], codes[index, 0]) + 20 * numbers

    return fit(halved(torch.from_numpy(images[first:]).float() / 255), SHAPES + 3, loss, steps=steps, seed=7)


@torch.no_grad()
def predicted(judge: nn.Module, x_NCHW: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the shape's code [N], and scale, x and y as shares of their ranges [N,3]."""
    out = judge(halved(x_NCHW))
    return out[:, :SHAPES].argmax(1), out[:, SHAPES:]


def sprites_of(split: str) -> tuple[Tensor, NDArray[np.int64]]:
    """Returns images of the validation or the test split, and their codes [N,F]."""
    images, codes_NF = shuffled()
    start = SPLITS["train"] + (SPLITS["validation"] if split == "test" else 0)
    part = slice(start, start + SPLITS[split])
    return torch.from_numpy(images[part]).float() / 255, codes_NF[part]


def measure(home: Path, dataset: Dataset, seed: int) -> Figures:
    """Trains, and returns how scale follows the strength of edits and what else changes, by the predictor."""
    model, judge = train(configuration(seed=seed), dataset, last=True, latents=True).model, predictor()
    x, codes_NF = sprites_of("test")
    middle_N = np.isin(codes_NF[:, 1], MIDDLE)
    x, codes = x[torch.from_numpy(middle_N)], torch.from_numpy(codes_NF[middle_N])
    shape_N, numbers_N3 = predicted(judge, x)
    off_N3 = (numbers_N3 - shares(codes)).abs()
    figures = {
        "predictor, shape": (shape_N == codes[:, 0]).float().mean().item(),
        "predictor, scale": off_N3[:, 0].mean().item(),
        "predictor, place": off_N3[:, 1:].mean().item(),
    }
    kept = {"originals": x[:40, 0].numpy(), "codes": codes[:40].numpy()}
    for method in METHODS:
        edited = [edit(model, Inputs(x), "scale", strength, method) for strength in STRENGTHS]
        moved, curves = movement([predicted(judge, images) for images in edited])
        figures |= {f"{method}, {name}": value for name, value in moved.items()}
        kept |= {f"{method} {name}": curve_T.numpy() for name, curve_T in curves.items()}
        kept[f"{method} images"] = torch.stack([images[:40, 0] for images in edited], 1).numpy()
    np.savez(home / f"edit-{seed}.npz", allow_pickle=False, **kept)
    return figures


def movement(predictions: Sequence[tuple[Tensor, Tensor]]) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Returns the figures of predictions at each strength, and the curves of scale, shape and place over strengths."""
    shape_TN, numbers_TN3 = (torch.stack(parts) for parts in zip(*predictions, strict=True))
    scale_TN, place_TN2 = numbers_TN3[..., 0], numbers_TN3[..., 1:]
    unedited, within_T = STRENGTHS.index(0.0), torch.tensor(STRENGTHS).abs() <= WITHIN
    mean_T = scale_TN.mean(1)
    shape_T = (shape_TN != shape_TN[unedited]).float().mean(1)
    place_T = (place_TN2 - place_TN2[unedited]).abs().mean((1, 2))
    figures = {
        "rising": float(all(after > before for before, after in pairwise(mean_T.tolist()))),
        "steps that rise": (scale_TN.diff(dim=0) > 0).float().mean().item(),
        "scale moved": (mean_T[within_T][-1] - mean_T[within_T][0]).item(),
        "shape moved": shape_T[within_T].max().item(),
        "shape moved beyond": shape_T.max().item(),
        "place moved": place_T[within_T].max().item(),
    }
    return figures, {"scale": mean_T, "shape": shape_T, "place": place_T}


def jobs(home: Path) -> list[Job]:
    """Returns the trainings."""
    return seeded("β-TCVAE", "upright sprites", SEEDS, measure, home, dataset_of(home))


COLUMNS = {
    "rising": "mean scale rises with every strength",
    "steps that rise": "single steps that rise",
    "scale moved": "scale moved, share of its range",
    "shape moved": "shape moved, share of sprites",
    "shape moved beyond": "the same, beyond: up to 1.5",
    "place moved": "place moved, share of its range",
}
MOST_MOVED = 0.1


def render(outcomes: Sequence[Outcome]) -> str:
    """Returns a row for each way to learn a direction, and a row of the predictor's errors on real sprites."""
    rows = []
    for method in METHODS:
        values = {name: figures_of(outcomes, f"{method}, {name}") for name in COLUMNS}
        risen = f"{sum(values.pop('rising')):.0f} of {len(outcomes)} seeds"
        rows.append([method, risen, *(summary(each, 3) for each in values.values())])
    real = [[summary(figures_of(outcomes, f"predictor, {name}"), 3) for name in ("shape", "scale", "place")]]
    errors = ("scale, mean error / range", "place, mean error / range")
    header = ("the predictor on real test sprites: shape, accuracy", *errors)
    picture = "![Sprites at each strength, and what the predictor says of them](../../../docs/edit.png)"
    return f"{grid(('direction', *COLUMNS.values()), rows)}\n\n{grid(header, real)}\n\n{picture}"


def claims(outcomes: Sequence[Outcome]) -> list[Claim]:
    """Returns the claims that scale follows the strength and that nothing else does, in the mean over seeds."""
    out = []
    for method in METHODS:
        text = f"{method}: the mean predicted scale rises with every strength"
        out.append(Claim.of_all(text, sum(figures_of(outcomes, f"{method}, rising")), len(outcomes), " seeds"))
        for what in ("shape", "place"):
            value = mean_of(outcomes, f"{method}, {what} moved")
            target = f"less than {100 * MOST_MOVED:.0f} %"
            out.append(Claim(f"{method}: {what} moved", target, f"{100 * value:.1f} %", value < MOST_MOVED))
    return out


def draw(home: Path, outcomes: Sequence[Outcome]) -> Figure:
    """Draws sprites at each strength above, the predictor's word below."""
    figure = LIGHT.figure(4.4)
    upper, lower = figure.subfigures(2, 1, height_ratios=[1, 1.1])
    with np.load(home / f"edit-{SEEDS[0]}.npz") as kept:
        shape_N = kept["codes"][:, 0]
        chosen = [int(np.flatnonzero(shape_N == shape)[0]) for shape in range(SHAPES)]
        axes = upper.subplots(SHAPES, 1 + len(STRENGTHS))
        for row, number in zip(axes, chosen, strict=True):
            first = number == chosen[0]
            show(row[0], kept["originals"][number], "original" if first else "")
            for one, image, strength in zip(row[1:], kept["means images"][number], STRENGTHS, strict=True):
                show(one, image, _strength(strength) if first else "")
    axes = lower.subplots()
    LIGHT.dress(axes, "strength along the direction of scale, σ", "share of the range")
    lines = {"scale, predicted": "scale", "shape moved": "shape", "place moved": "place"}
    for (words, name), colour, marker in zip(lines.items(), COLOURS, MARKERS, strict=False):
        values = []
        for outcome in outcomes:
            with np.load(home / f"edit-{outcome.seed}.npz") as kept:
                values.append(kept[f"means {name}"])
        axes.plot(STRENGTHS, np.mean(values, axis=0), color=colour, marker=marker, markersize=4, label=words)
    axes.axhline(MOST_MOVED, color=LIGHT.muted, linewidth=0.8, linestyle="--")
    axes.axvspan(-WITHIN, WITHIN, color=LIGHT.line, alpha=0.25, linewidth=0)
    axes.set_ylim(-0.03, 1.03)
    axes.legend(fontsize=SMALL_SIZE, frameon=False, labelcolor=LIGHT.ink)
    return figure


def _strength(strength: float) -> str:
    return f"{strength:+g} σ".replace("-", "−") if strength else "0"
