"""More or less of one attribute: sprites made larger and smaller along a direction that labels gave.

Shapes: N images, L latent, T strengths, F factors; images are [N,1,64,64].
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from pipelines.report.theme import COLOURS, INK, LINE, MARKERS, MUTED, SMALL_SIZE, blank, dress
from tests.benchmarks.reproduce.disentanglement import ORIENTATION, grid_of
from tests.benchmarks.reproduce.page import grid, summary
from tests.benchmarks.reproduce.work import Claim, Figures, Job, Outcome, train
from tests.benchmarks.uses.work import SEEDS_LEGEND, Judge, run_config, show
from tests.vae.conftest import _publish
from vae.config import RunConfig
from vae.data.manifest import Column
from vae.data.parquet import Dataset
from vae.data.sprites import Sprites
from vae.inference.editing import edit
from vae.model import VAE, Inputs
from vae.parts.directions import Method

TITLE: str = "Editing sprites: larger and smaller, the rest as it was"
LEGEND: str = SEEDS_LEGEND
SPLITS = {"train": 10_000, "validation": 1_000, "test": 1_432}
"""Of the 18,432 upright sprites, shuffled; the predictor learns from the 6,000 that are left."""
METHODS: tuple[Method, ...] = ("means", "probe")
STRENGTHS = tuple(float(v) for v in np.linspace(-1.5, 1.5, 7))
"""In standard deviations of the scale in the training split, 0.17."""
WITHIN = 1.0
"""Up to this strength what is asked of the middle scales lies within the scales there are, 0.53 to 0.97."""
SEEDS = (0, 1, 2)
SHAPES, SCALES, PLACES = 3, 6, 32
MIDDLE = (2, 3)
"""Codes of the scales that are edited, 0.7 and 0.8."""


def shuffled() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The upright sprites in one order, and their codes of shape, scale, x and y [N,4]."""
    index_N = np.random.default_rng(0).permutation(grid_of(upright=True))
    return Sprites().render(index_N), np.delete(Sprites().codes(index_N), ORIENTATION, axis=1)


def dataset_of(home: Path) -> Dataset:
    """Upright sprites with their shape as a category, and scale, column and row as numbers."""
    images, codes_NF = shuffled()
    factors = Sprites().factors
    categories = factors[0].categories
    columns = [Column(name="shape", kind="categorical", dtype="string", categories=categories)]
    columns += [Column(name=name, kind="numeric", dtype="double") for name in ("scale", "x", "y")]
    values = codes_NF.astype(np.float32)
    values[:, 1] = 0.5 + 0.1 * values[:, 1]
    total = sum(SPLITS.values())
    return _publish(
        home / "sprites", images[:total], None, SPLITS, 1000, attributes=columns, attribute_values=values[:total]
    )


def configuration(**training: object) -> RunConfig:
    """The run: β-TCVAE, whose latents are the less entangled ones."""
    model = {
        "latent_dim": 10,
        "encoder": {"kind": "mlp", "hidden": [512, 256]},
        "likelihood": {"kind": "bernoulli", "binarization": "none"},
    }
    objective = {"regularizers": [{"kind": "total_correlation", "weight": 1.0}]}
    fixed = {"epochs": 60, "batch_size": 64, "learning_rate": 1.5e-3, "learning_rate_schedule": "cosine"}
    return run_config(model, objective, **(fixed | training))


def halved(x_NCHW: Tensor) -> Tensor:
    """White where more than half is, at half the size: what the predictor looks at, of sprites and of outputs alike."""
    return F.avg_pool2d((x_NCHW > 0.5).float(), 2)


def predictor(steps: int = 1200) -> nn.Module:
    """Shape (three logits), scale, x and y (standardised by their range) of real sprites that the model never saw."""
    images, codes_NF = shuffled()
    first = sum(SPLITS.values())
    x = halved(torch.from_numpy(images[first:]).float() / 255)
    codes = torch.from_numpy(codes_NF[first:])
    wanted = codes[:, 1:] / torch.tensor([SCALES - 1, PLACES - 1, PLACES - 1])
    with torch.random.fork_rng():
        torch.manual_seed(7)
        judge = Judge(1, 32, SHAPES + 3)
        optimizer = torch.optim.Adam(judge.parameters(), 2e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(steps):
            index = torch.randint(len(x), (64,))
            out = judge(x[index])
            loss = F.cross_entropy(out[:, :SHAPES], codes[index, 0]) + 20 * F.mse_loss(out[:, SHAPES:], wanted[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return judge.eval()


@torch.no_grad()
def predicted(judge: nn.Module, x_NCHW: Tensor) -> tuple[Tensor, Tensor]:
    """The shape's code [N], and scale, x and y as shares of their ranges [N,3]."""
    out = judge(halved(x_NCHW))
    return out[:, :SHAPES].argmax(1), out[:, SHAPES:]


def sprites_of(split: str) -> tuple[Tensor, NDArray[np.int64]]:
    """Images of the validation or the test split, and their codes [N,F]."""
    images, codes_NF = shuffled()
    start = SPLITS["train"] + (SPLITS["validation"] if split == "test" else 0)
    part = slice(start, start + SPLITS[split])
    return torch.from_numpy(images[part]).float() / 255, codes_NF[part]


def held_out_sprites(split: str) -> tuple[Tensor, NDArray[np.int64]]:
    """Those with a middle scale."""
    x, codes_NF = sprites_of(split)
    middle_N = np.isin(codes_NF[:, 1], MIDDLE)
    return x[torch.from_numpy(middle_N)], codes_NF[middle_N]


def measure(home: Path, dataset: Dataset, seed: int, split: str = "test") -> Figures:
    """Trains, edits sprites of a split, and asks the predictor."""
    model = train(configuration(seed=seed), dataset, last=True, latents=True).model
    return compare(home, seed, model, predictor(), split)


def compare(home: Path, seed: int, model: VAE, judge: nn.Module, split: str) -> Figures:
    """How scale follows the strength, and what else moves."""
    x, codes_NF = held_out_sprites(split)
    codes = torch.from_numpy(codes_NF)
    shape_N, numbers_N3 = predicted(judge, x)
    figures = {
        "predictor, shape": (shape_N == codes[:, 0]).float().mean().item(),
        "predictor, scale": (numbers_N3[:, 0] - codes[:, 1] / (SCALES - 1)).abs().mean().item(),
        "predictor, place": (numbers_N3[:, 1:] - codes[:, 2:] / (PLACES - 1)).abs().mean().item(),
    }
    kept = {}
    within_T = torch.tensor(STRENGTHS).abs() <= WITHIN
    for method in METHODS:
        edited = [edit(model, Inputs(x), "scale", strength, method) for strength in STRENGTHS]
        found = [predicted(judge, images) for images in edited]
        scale_TN = torch.stack([numbers[:, 0] for _, numbers in found])
        place_TN2 = torch.stack([numbers[:, 1:] for _, numbers in found])
        shape_TN = torch.stack([shape for shape, _ in found])
        unedited = STRENGTHS.index(0.0)
        mean_T = scale_TN.mean(1)
        shape_T = (shape_TN != shape_TN[unedited]).float().mean(1)
        place_T = (place_TN2 - place_TN2[unedited]).abs().mean((1, 2))
        figures |= {
            f"{method}, rising": float(all(after > before for before, after in pairwise(mean_T.tolist()))),
            f"{method}, steps that rise": (scale_TN.diff(dim=0) > 0).float().mean().item(),
            f"{method}, scale moved": (mean_T[within_T][-1] - mean_T[within_T][0]).item(),
            f"{method}, shape moved": shape_T[within_T].max().item(),
            f"{method}, shape moved beyond": shape_T.max().item(),
            f"{method}, place moved": place_T[within_T].max().item(),
        }
        kept |= {
            f"{method} scale": mean_T.numpy(),
            f"{method} shape": shape_T.numpy(),
            f"{method} place": place_T.numpy(),
            f"{method} images": torch.stack([e[:40, 0] for e in edited], 1).numpy(),
        }
    np.savez(home / f"edit-{seed}.npz", allow_pickle=False, originals=x[:40, 0].numpy(), codes=codes_NF[:40], **kept)
    return figures


def jobs(home: Path) -> list[Job]:
    """What is trained and measured."""
    dataset = dataset_of(home)
    return [Job("β-TCVAE", "upright sprites", seed, partial(measure, home, dataset, seed)) for seed in SEEDS]


def protocol() -> tuple[str, ...]:
    """What was done."""
    config = configuration()
    model, training = config.model, config.training
    return (
        f"betaline's upright sprites (orientation 0°), 18,432 images of 64 × 64: {SPLITS['train']:,} train the model, "
        f"{SPLITS['validation']:,} validate it, {SPLITS['test']:,} are the test split, and the rest trains the predictor.",
        f"β-TCVAE (total correlation weighed by {config.objective.regularizers[0].weight:g} beside the ELBO), "  # pyright: ignore[reportAttributeAccessIssue]
        f"{model.encoder.model_dump()}, {model.latent_dim} latents, batches of {training.batch_size}, {training.epochs} "
        f"epochs at {training.learning_rate:g} falling by a cosine, the last weights. It is told nothing of the factors.",
        "The direction of `scale` is learned from the labels of the training split, as betaline does after every training. "
        "means: a regression of the latents on all the factors together; probe: the normal of a linear probe of scale.",
        f"Test sprites of the middle scales 0.7 and 0.8 are edited with strengths {', '.join(f'{s:g}' for s in STRENGTHS)}"
        ", in standard deviations of the scale (0.17). Up to a strength of 1 what is asked for lies within the scales that "
        "there are, 0.5 to 1: figures and claims are of these, but where a column says beyond.",
        "A small convolutional predictor of shape, scale, x and y, trained apart on real sprites that the model never saw, "
        "looks at the outputs cut at 0.5 to black and white.",
        "Shape moved: the share of sprites whose predicted shape differs from that at strength 0. Place moved: the mean "
        "change of predicted x and y, as a share of their range. Both at the worst strength.",
        "Body, weight and length were chosen by validation sprites and a seed of their own (10): up to a strength of 1.5 "
        "two layers of 1,024 and 512, a weight of 2 and 40 epochs changed 34 % of the shapes, these 10 %.",
    )


SHORTFALLS: tuple[str, ...] = (
    "Upright sprites alone: orientation is not learned in minutes (see the page on disentanglement).",
    "Beyond the scales that it has seen the model changes more shapes, most where sprites are made smaller.",
)
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
    """A row for each way to learn a direction."""
    rows = []
    for method in METHODS:
        values = {name: [o.figures[f"{method}, {name}"] for o in outcomes] for name in COLUMNS}
        risen = f"{sum(values.pop('rising')):.0f} of {len(outcomes)} seeds"
        rows.append([method, risen, *(summary(found, 3) for found in values.values())])
    real = [[summary([o.figures[f"predictor, {name}"] for o in outcomes], 3) for name in ("shape", "scale", "place")]]
    header = (
        "the predictor on real test sprites: shape, accuracy",
        "scale, mean error / range",
        "place, mean error / range",
    )
    picture = "![Sprites at each strength, and what the predictor says of them](../../../docs/edit.png)"
    return f"{grid(('direction', *COLUMNS.values()), rows)}\n\n{grid(header, real)}\n\n{picture}"


def claims(outcomes: Sequence[Outcome]) -> list[Claim]:
    """Scale follows, and nothing else does, in the mean over seeds."""
    found = []
    for method in METHODS:
        risen = sum(o.figures[f"{method}, rising"] for o in outcomes)
        text, every = f"{method}: the mean predicted scale rises with every strength", len(outcomes)
        found.append(Claim(text, f"{every} of {every} seeds", f"{risen:.0f} of {every}", risen == every))
        for what in ("shape", "place"):
            value = float(np.mean([o.figures[f"{method}, {what} moved"] for o in outcomes]))
            target = f"less than {100 * MOST_MOVED:.0f} %"
            found.append(Claim(f"{method}: {what} moved", target, f"{100 * value:.1f} %", value < MOST_MOVED))
    return found


def draw(home: Path, outcomes: Sequence[Outcome]) -> Figure:
    """Sprites at each strength above, the predictor's word below."""
    figure = blank(4.4)
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
    dress(axes, "strength along the direction of scale, σ", "share of the range")
    lines = {"scale, predicted": "scale", "shape moved": "shape", "place moved": "place"}
    for (words, name), colour, marker in zip(lines.items(), COLOURS, MARKERS, strict=False):
        values = []
        for outcome in outcomes:
            with np.load(home / f"edit-{outcome.seed}.npz") as kept:
                values.append(kept[f"means {name}"])
        axes.plot(STRENGTHS, np.mean(values, axis=0), color=colour, marker=marker, markersize=4, label=words)
    axes.axhline(MOST_MOVED, color=MUTED, linewidth=0.8, linestyle="--")
    axes.axvspan(-WITHIN, WITHIN, color=LINE, alpha=0.25, linewidth=0)
    axes.set_ylim(-0.03, 1.03)
    axes.legend(fontsize=SMALL_SIZE, frameon=False, labelcolor=INK)
    return figure


def _strength(strength: float) -> str:
    return f"{strength:+g} σ".replace("-", "−") if strength else "0"
