"""From one digit to another: straight, along a circle, and where the decoder's answer changes least.

Shapes: N pairs, T points of a path, L latent; images are [N,1,28,28].
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor, nn

from pipelines.report.theme import SURFACE, blank
from tests.benchmarks.reproduce.page import grid, summary
from tests.benchmarks.reproduce.work import Claim, Figures, Job, Outcome, train
from tests.benchmarks.uses.work import SEEDS_LEGEND, digits, fit_judge, judged, mnist, mosaic, plain_run, show
from vae.config import RunConfig
from vae.data.parquet import Dataset
from vae.inference.coding import reconstruct
from vae.inference.paths import Interpolation, interpolate, latent_path, path_length
from vae.model import VAE, Inputs

TITLE: str = "Interpolating digits: three kinds of path"
LEGEND: str = f"{SEEDS_LEGEND} Each pair's length is divided by that of its own straight line; the mean over pairs."
SEEDS = (0, 1)
PATHS: tuple[Interpolation, ...] = ("linear", "spherical", "geodesic")
NUM_PAIRS, NUM_POINTS, FINER = 30, 12, 10
"""Pairs of test digits; points of a path; parts of each step when its length is measured."""
NUM_JUDGED = 20_000
SHOWN = 3
"""Pairs of the picture."""
CLOSE, RATIO_TARGET = 1e-5, 0.95
"""Of pixels at the ends; of the geodesic's length over the line's, in the mean."""


def configuration(**training: Any) -> RunConfig:
    """The run."""
    return plain_run(16, **training)


def pairs(source: Dataset, split: str) -> tuple[tuple[Inputs, Inputs], NDArray[np.int64]]:
    """Digits of a split, each beside one of another class, and their classes [N,2]."""
    images, label_N = digits(source, split, 0, 20 * NUM_PAIRS)
    first_N = np.arange(NUM_PAIRS)
    rest = iter(range(NUM_PAIRS, len(images)))
    second_N = np.array([next(n for n in rest if label_N[n] != label_N[first]) for first in first_N])
    x = torch.from_numpy(images[:, None]).float() / 255
    return (Inputs(x[first_N]), Inputs(x[second_N])), np.stack([label_N[first_N], label_N[second_N]], 1)


def finer(z_NTL: Tensor) -> Tensor:
    """The same path with each of its steps cut into equal parts, [N,(T−1)·FINER+1,L]."""
    share_P = torch.arange(FINER) / FINER
    inner = torch.lerp(z_NTL[:, :-1, None], z_NTL[:, 1:, None], share_P[:, None])
    return torch.cat([inner.flatten(1, 2), z_NTL[:, -1:]], 1)


def measure(home: Path, source: Dataset, seed: int, split: str = "test") -> Figures:
    """Trains, and walks between digits of a split."""
    model = train(configuration(seed=seed), source, last=True).model
    images, label_N = digits(source, "train", 0, NUM_JUDGED)
    x, y = torch.from_numpy(images[:, None]).float() / 255, torch.from_numpy(label_N)
    return compare(home, seed, model, fit_judge(x, y, 10, steps=1200, seed=1), *pairs(source, split))


def compare(
    home: Path, seed: int, model: VAE, judge: nn.Module, ends: tuple[Inputs, Inputs], label_N2: NDArray[np.int64]
) -> Figures:
    """Ends and lengths of each kind of path, and what a classifier takes the points between for."""
    wanted = [reconstruct(model, end) for end in ends]
    label = torch.from_numpy(label_N2)
    lengths: dict[str, Tensor] = {}
    figures: dict[str, float] = {}
    kept: dict[str, NDArray[np.float32]] = {}
    for path in PATHS:
        images = interpolate(model, *ends, num_points=NUM_POINTS, path=path)
        off = [(images[:, place] - end).abs().max() for place, end in zip((0, -1), wanted, strict=True)]
        found_NT = judged(judge, images.flatten(0, 1)).view(len(label), -1)
        either_NT = (found_NT[:, :, None] == label[:, None]).any(2)
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
    given = torch.stack([end.x[:SHOWN, 0] for end in ends], 1).numpy()
    np.savez(home / f"interpolate-{seed}.npz", allow_pickle=False, given=given, **kept)
    return figures


def jobs(home: Path) -> list[Job]:
    """What is trained and measured."""
    source = mnist(home)
    return [Job("VAE", "MNIST", seed, partial(measure, home, source, seed)) for seed in SEEDS]


def protocol() -> tuple[str, ...]:
    """What was done."""
    config = configuration()
    model, training = config.model, config.training
    return (
        f"{model.encoder.model_dump()}, {model.latent_dim} latents, {model.likelihood.model_dump()}, β=1, batches of "
        f"{training.batch_size}, {training.epochs} epochs of MNIST's training split at {training.learning_rate:g} falling "
        "by a cosine, the last weights.",
        f"{NUM_PAIRS} pairs of test digits of different classes. Paths of {NUM_POINTS} points between the posteriors' "
        "means: a straight line; spherical (White 2016); geodesic, the shortest that 200 steps of Adam find from the line.",
        "Length: the sum of the Euclidean distances between the decoder's answers (means and standard deviations of the "
        f"pixels) at successive points. It is measured with each step of a path cut into {FINER}, which the geodesic was "
        "not fitted on: a path that is short by jumping over what lies between its points would be found out.",
        f"Either digit: the share of the points between that a classifier of {NUM_JUDGED:,} real digits takes for one of "
        "the two ends' classes.",
    )


SHORTFALLS: tuple[str, ...] = (
    "A shorter path does not look better: the geodesic changes the fewest pixels, which may be a fade from one digit to "
    "the other. Slightly fewer of its points pass for one of the two digits than of the straight line's. Two seeds.",
    "A spherical path is longer than the line for every pair: posteriors' means are not spread as the prior's draws, "
    "for which it was made.",
)


def render(outcomes: Sequence[Outcome]) -> str:
    """A row for each kind of path."""
    columns = {"length": 2, "ratio": 3, "greatest ratio": 3, "either": 3}
    rows = [
        [path, *(summary([o.figures[f"{path}, {what}"] for o in outcomes], digit) for what, digit in columns.items())]
        for path in PATHS
    ]
    header = (
        "",
        "length",
        "over the line's",
        "the same, greatest of all pairs",
        "points between that pass for either digit",
    )
    words = "Three pairs of digits, as given at the outer ends; three paths each, with their lengths over the line's"
    return f"{grid(header, rows)}\n\n![{words}](../../../docs/interpolate.png)"


def claims(outcomes: Sequence[Outcome]) -> list[Claim]:
    """The ends stay, and the geodesic is shorter."""
    off = max(o.figures[f"{path}, ends"] for o in outcomes for path in PATHS)
    shorter, every = sum(o.figures["geodesic, shorter"] for o in outcomes), NUM_PAIRS * len(outcomes)
    ratio = float(np.mean([o.figures["geodesic, ratio"] for o in outcomes]))
    return [
        Claim(
            "both ends of every path are the reconstructions: greatest difference of a pixel",
            f"at most {CLOSE:g}",
            f"{off:.1e}",
            off <= CLOSE,
        ),
        Claim(
            "the geodesic is shorter than the line, measured in finer steps",
            f"{every} of {every} pairs",
            f"{shorter:.0f} of {every}",
            shorter == every,
        ),
        Claim("its mean length over the line's", f"below {RATIO_TARGET:g}", f"{ratio:.3f}", ratio < RATIO_TARGET),
    ]


def draw(home: Path, outcomes: Sequence[Outcome]) -> Figure:
    """Each pair as it is given at either end, and the three paths between its reconstructions."""
    figure = blank(3.5)
    with np.load(home / f"interpolate-{SEEDS[0]}.npz") as kept:
        for pair, part in enumerate(np.ravel(figure.subfigures(SHOWN, 1))):
            part.set_facecolor(SURFACE)
            first, last = kept["given"][pair]
            nothing = np.ones_like(first)
            for path, one in zip(PATHS, part.subplots(len(PATHS), 1), strict=True):
                ends = (first, last) if path == PATHS[1] else (nothing, nothing)
                strip = np.stack([ends[0], *kept[path][pair], ends[1]])
                show(one, mosaic(strip[None]), left=f"{path}\n{kept[f'{path} ratio'][pair]:.2f}")
                one.spines[:].set_visible(False)
    return figure
