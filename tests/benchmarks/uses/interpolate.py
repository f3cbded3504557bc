"""Paths from one digit to another: straight, along a circle, and where the decoder's output changes least.

Shapes: N pairs, T points of a path, L latent; images are [N,1,28,28].
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from pipelines.report.theme import LIGHT
from tests.benchmarks.page import Claim, figures_of, grid
from tests.benchmarks.uses.work import (
    digits,
    fit_judge,
    judged,
    mean_of,
    mnist,
    mosaic,
    pixels,
    plain_run,
    seeded,
    show,
    summaries,
)
from tests.benchmarks.work import Figures, Job, Outcome, train
from vae.config import RunConfig
from vae.data.parquet import Dataset
from vae.inference.coding import reconstruct
from vae.inference.paths import Interpolation, interpolate, latent_path, path_length
from vae.parts.terms import Inputs

SEEDS = (0, 1)
PATHS: tuple[Interpolation, ...] = ("linear", "spherical", "geodesic")
NUM_PAIRS, NUM_POINTS, FINER = 30, 12, 10
"""Pairs of test digits; points of a path; parts of each step when its length is measured."""
NUM_JUDGED = 20_000
SHOWN = 3
"""Pairs of the picture."""
CLOSE, RATIO_TARGET = 1e-5, 0.95
"""Largest difference of a pixel at the ends; largest mean of the geodesic's length over the line's."""


def configuration(**training: Any) -> RunConfig:
    """Returns the run."""
    return plain_run(16, **({"epochs": 10} | training))


def pairs(source: Dataset) -> tuple[tuple[Inputs, Inputs], Tensor]:
    """Returns test digits, each beside one of another class, and their classes [N,2]."""
    images, label_N = digits(source, "test", 0, 20 * NUM_PAIRS)
    first_N = np.arange(NUM_PAIRS)
    rest = iter(range(NUM_PAIRS, len(images)))
    second_N = np.array([next(n for n in rest if label_N[n] != label_N[first]) for first in first_N])
    ends = Inputs(pixels(images[first_N])), Inputs(pixels(images[second_N]))
    return ends, torch.from_numpy(np.stack([label_N[first_N], label_N[second_N]], 1))


def finer(z_NTL: Tensor) -> Tensor:
    """Returns the same path with each of its steps cut into equal parts, [N,(T−1)·FINER+1,L]."""
    share_P = torch.arange(FINER) / FINER
    inner = torch.lerp(z_NTL[:, :-1, None], z_NTL[:, 1:, None], share_P[:, None])
    return torch.cat([inner.flatten(1, 2), z_NTL[:, -1:]], 1)


def measure(home: Path, source: Dataset, seed: int) -> Figures:
    """Trains; returns ends and lengths of each kind of path, and how a classifier sees the points between."""
    model = train(configuration(seed=seed), source, last=True).model
    images, label_N = digits(source, "train", 0, NUM_JUDGED)
    judge = fit_judge(pixels(images), torch.from_numpy(label_N), 10, steps=1200, seed=1)
    ends, label_N2 = pairs(source)
    wanted = [reconstruct(model, end) for end in ends]
    lengths: dict[str, Tensor] = {}
    figures: dict[str, float] = {}
    kept: dict[str, NDArray[np.float32]] = {"given": torch.stack([end.x[:SHOWN, 0] for end in ends], 1).numpy()}
    for path in PATHS:
        images = interpolate(model, *ends, num_points=NUM_POINTS, path=path)
        off = [(images[:, place] - end).abs().max() for place, end in zip((0, -1), wanted, strict=True)]
        class_NT = judged(judge, images.flatten(0, 1)).view(len(label_N2), -1)
        either_NT = (class_NT[:, :, None] == label_N2[:, None]).any(2)
        with torch.no_grad():
            lengths[path] = path_length(model, finer(latent_path(model, *ends, NUM_POINTS, path)), *ends)
        ratio_N = lengths[path] / lengths["linear"]
        figures |= {
            f"{path}, ends": torch.stack(off).max().item(),
            f"{path}, length": lengths[path].mean().item(),
            f"{path}, ratio": ratio_N.mean().item(),
            f"{path}, greatest ratio": ratio_N.max().item(),
            f"{path}, shorter": (ratio_N < 1).sum().item(),
            f"{path}, either": either_NT[:, 1:-1].float().mean().item(),
        }
        kept |= {path: images[:SHOWN, :, 0].numpy(), f"{path} ratio": ratio_N.numpy()}
    np.savez(home / f"interpolate-{seed}.npz", allow_pickle=False, **kept)
    return figures


def jobs(home: Path) -> list[Job]:
    """Returns the trainings."""
    return seeded("VAE", "MNIST", SEEDS, measure, home, mnist(home))


def render(outcomes: Sequence[Outcome]) -> str:
    """Returns a row for each kind of path."""
    columns = {"length": 2, "ratio": 3, "greatest ratio": 3, "either": 3}
    shares = ("the same, greatest of all pairs", "points between that pass for either digit")
    header = ("", "length", "over the line's", *shares)
    rows = [summaries(outcomes, path, columns) for path in PATHS]
    words = "Three pairs of digits, as given at the outer ends; three paths each, with their lengths over the line's"
    return f"{grid(header, rows)}\n\n![{words}](../../../docs/interpolate.png)"


def claims(outcomes: Sequence[Outcome]) -> list[Claim]:
    """Returns the claims: the ends are the reconstructions, and the geodesic is shorter than the line."""
    off = max(outcome.figures[f"{path}, ends"] for outcome in outcomes for path in PATHS)
    ratio, shorter = mean_of(outcomes, "geodesic, ratio"), sum(figures_of(outcomes, "geodesic, shorter"))
    ends = "both ends of every path are the reconstructions: greatest difference of a pixel"
    line = "the geodesic is shorter than the line, measured in finer steps"
    return [
        Claim(ends, f"at most {CLOSE:g}", f"{off:.1e}", off <= CLOSE),
        Claim.of_all(line, shorter, NUM_PAIRS * len(outcomes), " pairs"),
        Claim("its mean length over the line's", f"below {RATIO_TARGET:g}", f"{ratio:.3f}", ratio < RATIO_TARGET),
    ]


def draw(home: Path, outcomes: Sequence[Outcome]) -> Figure:
    """Draws each given pair at the ends of the three paths between its reconstructions."""
    figure = LIGHT.figure(3.5)
    with np.load(home / f"interpolate-{SEEDS[0]}.npz") as kept:
        for pair, part in enumerate(np.ravel(figure.subfigures(SHOWN, 1))):
            part.set_facecolor(LIGHT.surface)
            first, last = kept["given"][pair]
            nothing = np.ones_like(first)
            for path, one in zip(PATHS, part.subplots(len(PATHS), 1), strict=True):
                ends = (first, last) if path == PATHS[1] else (nothing, nothing)
                strip = np.stack([ends[0], *kept[path][pair], ends[1]])
                show(one, mosaic(strip[None]), left=f"{path}\n{kept[f'{path} ratio'][pair]:.2f}")
                one.spines[:].set_visible(False)
    return figure
