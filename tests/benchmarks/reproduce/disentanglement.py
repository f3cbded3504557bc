"""How well latents stand for the factors of sprites, by seed.

The protocol of dSprites (Locatello et al., Challenging Common Assumptions, 2019, https://arxiv.org/abs/1811.12359) on
betaline's own sprites, which have the same factors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipelines.data.ingest import IngestConfig
from pipelines.data.sources.config import SPRITES, SplitConfig
from tests.benchmarks.reproduce.evidence import Interval, by_seed, interval, paired
from tests.benchmarks.reproduce.page import grid, summary
from tests.benchmarks.reproduce.work import Budget, Claim, Figures, Job, Outcome, Table, device, published, train
from tests.vae.conftest import _publish
from vae.config import RunConfig, parse
from vae.data.parquet import Dataset
from vae.data.sprites import Sprites
from vae.metrics.disentanglement import disentanglement_suite
from vae.model import VAE

PLAIN, BETA, TOTAL_CORRELATION, FACTOR = "VAE, β=1", "β-VAE", "β-TCVAE", "FactorVAE"
ROWS = (PLAIN, BETA, TOTAL_CORRELATION, FACTOR)
PUBLISHED = {BETA: 0.73, FACTOR: 0.82}
"""FactorVAE scores on dSprites of β=4 and γ=35, of the FactorVAE paper°."""
SCORES = {
    "factor_vae": "FactorVAE score",
    "mig": "MIG",
    "beta_vae": "β-VAE score",
    "sap": "SAP",
    "modularity": "modularity",
    "dci_disentanglement": "DCI D",
    "dci_completeness": "DCI C",
    "distortion": "distortion, nats",
    "rate": "rate, nats",
    "active_units": "active units",
}
LISTED = ("factor_vae", "mig")
"""Scores that the claims are about, and that are listed seed by seed."""
COMPARED = ((TOTAL_CORRELATION, PLAIN), (FACTOR, PLAIN), (FACTOR, BETA))
"""Pairs of rows of which the papers report the first to be better."""


@dataclass(frozen=True)
class Settings:
    """What a budget allows."""

    seeds: tuple[int, ...]
    upright: bool
    """Whether only sprites of 0° are taken, 18,432 of 737,280, and orientation is no factor."""
    encoder: Mapping[str, Any]
    steps: int
    learning_rate: float
    points: tuple[int, int]
    """To fit scores to, and to score."""
    beta: float = 4.0
    """Of the β-VAE."""
    total_correlation: float = 5.0
    """Weight beside the ELBO: the paper's β − 1."""
    gamma: float = 35.0
    """Of FactorVAE."""
    discriminator_learning_rate: float = 1e-4


BUDGETS: dict[Budget, Settings] = {
    "smoke": Settings(
        seeds=(0,),
        upright=True,
        encoder={"kind": "mlp", "hidden": [64]},
        steps=60,
        learning_rate=1e-3,
        points=(1_000, 500),
    ),
    "cpu": Settings(
        seeds=(2, 3, 4, 5),
        upright=True,
        encoder={"kind": "mlp", "hidden": [128, 128]},
        steps=6_000,
        learning_rate=2e-3,
        points=(10_000, 5_000),
        total_correlation=2.0,
        discriminator_learning_rate=1e-3,
    ),
    "full": Settings(
        seeds=(0, 1, 2, 3, 4),
        upright=False,
        encoder={"kind": "conv", "channels": [32, 32, 64, 64], "hidden": 256, "activation": "relu"},
        steps=300_000,
        learning_rate=1e-4,
        points=(10_000, 5_000),
    ),
}
BATCH_SIZE, LATENT_DIM = 64, 10
ORIENTATION = [factor.name for factor in Sprites().factors].index("orientation")

SHORTFALLS: dict[Budget, tuple[str, ...]] = {
    "smoke": ("One epoch: the figures mean nothing.",),
    "cpu": (
        "6,000 steps at 2e-3 where the papers take 300,000 at 1e-4, and two layers of 128 units where they have four "
        "convolutions, whose steps cost a CPU far more.",
        "The claims are six comparisons at 95 % each; the intervals are not corrected for that.",
        "Upright sprites alone, four factors instead of five: after 6,000 steps on all orientations the distortion is "
        "still above 100 nats, places and sizes are all that is learnt, and no row came above β=1 in FactorVAE score.",
        "The grid, the steps, the learning rates and the strengths were chosen by looking at these scores on seeds 0 "
        "and 1, about seven settings; the seeds on this page were not looked at before.",
        "β-TCVAE with weight 2 (β=3) instead of 5, and FactorVAE's discriminator at 1e-3 instead of 1e-4, for there are "
        "so few steps.",
        "One strength for each row; the papers sweep them.",
    ),
    "full": ("One strength for each row; the papers sweep them.",),
}


def table(budget: Budget, home: Path, num_seeds: int | None) -> Table:
    """The table of disentanglement scores."""
    settings = BUDGETS[budget]
    dataset = upright_sprites(home) if settings.upright else all_sprites(home)
    jobs = [
        Job(row, "sprites", seed, partial(measure, row, seed, settings, dataset), 1.5 if row == FACTOR else 1.0)
        for seed, row in product(settings.seeds[:num_seeds], ROWS)
    ]
    return Table(
        title="Sprites: disentanglement of ten latents",
        protocol=protocol(settings, dataset),
        shortfalls=SHORTFALLS[budget],
        jobs=jobs,
        render=render,
        claims=claims,
    )


def all_sprites(home: Path) -> Dataset:
    """The whole grid, ingested as a user would."""
    split = SplitConfig(validation=0.02, test=0.0)
    return published(IngestConfig(source=SPRITES, name="sprites", split=split), home)


def upright_sprites(home: Path) -> Dataset:
    """The part of the grid in which no sprite is turned."""
    index_N = np.random.default_rng(0).permutation(grid_of(upright=True))
    num_validation = len(index_N) // 50
    splits = {"train": len(index_N) - num_validation, "validation": num_validation}
    return _publish(home, Sprites().render(index_N), None, splits, group_rows=1024)


def grid_of(upright: bool) -> NDArray[np.int64]:
    """The numbers of the images that are taken."""
    index_N = np.arange(len(Sprites()))
    return index_N[Sprites().codes(index_N)[:, ORIENTATION] == 0] if upright else index_N


def protocol(settings: Settings, dataset: Dataset) -> tuple[str, ...]:
    """What was done."""
    num_train, num_test = settings.points
    orientation = "" if settings.upright else "orientation 40, "
    return (
        f"betaline's sprites, binary images of 64×64, {dataset.num_rows('train'):,} to train; factors: shape 3, scale 6, "
        f"{orientation}x 32, y 32. They are drawn like dSprites, not copied from it; published figures are of dSprites.",
        f"{LATENT_DIM} latents, Bernoulli likelihood, encoder {dict(settings.encoder)} and its mirror image, "
        f"batches of {BATCH_SIZE}, AdamW {settings.learning_rate:g} without decay, {settings.steps:,} steps to the "
        "nearest epoch, the last weights.",
        f"β-VAE: β={settings.beta:g}. β-TCVAE: 1 + {settings.total_correlation:g}, minibatch-stratified. FactorVAE: "
        f"γ={settings.gamma:g}, discriminator of three layers of 256 at {settings.discriminator_learning_rate:g}.",
        f"Scores of the posterior's means of {num_train + num_test:,} images drawn from the same grid, {num_train:,} to "
        f"fit and {num_test:,} to score; MIG with 20 bins. Images and draws are the same for every row and seed.",
    )


def measure(row: str, seed: int, settings: Settings, dataset: Dataset) -> Figures:
    """Trains a row's model and scores it."""
    result = train(configuration(row, seed, settings, dataset), dataset, last=True)
    num_train, num_test = settings.points
    codes_NL, factors_NF = coded(result.model, num_train + num_test, settings.upright)
    scores = disentanglement_suite(codes_NL, factors_NF, np.random.default_rng(0), num_train, num_test)
    end = result.history[-1]
    figures = asdict(scores) | {"distortion": end.validation_distortion, "rate": end.validation_rate}
    return {name: float((figures | {"active_units": end.active_units})[name]) for name in SCORES}


def configuration(row: str, seed: int, settings: Settings, dataset: Dataset) -> RunConfig:
    """The run of a row."""
    adversary = {
        "kind": "adversary",
        "weight": settings.gamma,
        "learning_rate": settings.discriminator_learning_rate,
    }
    objective: Mapping[str, Any] = {
        PLAIN: {},
        BETA: {"beta": settings.beta},
        TOTAL_CORRELATION: {"regularizers": [{"kind": "total_correlation", "weight": settings.total_correlation}]},
        FACTOR: {"regularizers": [adversary]},
    }[row]
    model = {
        "latent_dim": LATENT_DIM,
        "encoder": dict(settings.encoder),
        "likelihood": {"kind": "bernoulli", "binarization": "none"},
    }
    training = {
        "epochs": max(1, round(settings.steps * BATCH_SIZE / dataset.num_rows("train"))),
        "patience_epochs": None,
        "batch_size": BATCH_SIZE,
        "learning_rate": settings.learning_rate,
        "memory_budget_bytes": 8 * 1024**3,
        "aggregate_components": 0,
        "seed": seed,
    }
    return parse(RunConfig, {"model": model, "objective": objective, "training": training})


@torch.no_grad()
def coded(model: VAE, num_images: int, upright: bool) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Posterior means [N,L] of images drawn from the grid, and their factors [N,F]."""
    sprites, generator = Sprites(), torch.Generator(device())
    index_N = np.random.default_rng(0).choice(grid_of(upright), num_images, replace=False)
    means = []
    for part in np.array_split(index_N, -(-num_images // 1000)):
        images = torch.from_numpy(sprites.render(part)).to(device())
        means.append(model.encode(model.inputs(images, generator=generator)).mean)
    factors_NF = sprites.codes(index_N)
    if upright:
        factors_NF = np.delete(factors_NF, ORIENTATION, axis=1)
    return torch.cat(means).float().cpu().numpy(), factors_NF


def _found(outcomes: Sequence[Outcome], row: str, score: str) -> list[float]:
    return [outcome.figures[score] for outcome in outcomes if outcome.row == row]


def render(outcomes: Sequence[Outcome]) -> str:
    """Scores that are listed by seed, and the means of all."""
    listed = [
        [
            row,
            f"{PUBLISHED[row]:.2f}°" if row in PUBLISHED else "",
            *(summary(_found(outcomes, row, s), 3) for s in LISTED),
        ]
        for row in ROWS
    ]
    others = [name for name in SCORES if name not in LISTED]
    means = [[row, *(f"{np.mean(_found(outcomes, row, score)):.3f}" for score in others)] for row in ROWS]
    first = grid(("", "published FactorVAE score", *(SCORES[score] for score in LISTED)), listed)
    return f"{first}\n\n{grid(('mean over seeds', *(SCORES[score] for score in others)), means)}"


def difference(outcomes: Sequence[Outcome], better: str, worse: str, score: str) -> Interval:
    """Returns the difference of two rows in a score, paired by seed."""
    return interval(paired(by_seed(outcomes, better, score), by_seed(outcomes, worse, score)))


def claims(outcomes: Sequence[Outcome]) -> list[Claim]:
    """Returns the rankings of the papers, each judged by the interval of its paired difference."""
    found = []
    for (better, worse), score in product(COMPARED, LISTED):
        gain = difference(outcomes, better, worse, score)
        text = f"{better} above {worse}, {SCORES[score]}, paired by seed"
        found.append(Claim(text, "95 % interval above 0", gain.text(3, "+"), gain.above(0)))
    return found
