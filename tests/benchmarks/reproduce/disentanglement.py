"""Disentanglement of the factors of sprites, by seed.

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
from tests.benchmarks.evidence import by_seed, interval_claim, paired
from tests.benchmarks.page import Claim, Table, figures_of, grid, read_words, summary
from tests.benchmarks.work import Budget, Figures, Job, Outcome, device, published, train
from tests.vae.conftest import _publish
from vae.config import RunConfig, parse
from vae.data.parquet import Dataset
from vae.data.sprites import Sprites
from vae.draws import RowDraws
from vae.metrics.disentanglement import disentanglement_suite
from vae.model import VAE
from vae.seeds import Stream

PLAIN, BETA, TOTAL_CORRELATION, FACTOR = "VAE, β=1", "β-VAE", "β-TCVAE", "FactorVAE"
ROWS = (PLAIN, BETA, TOTAL_CORRELATION, FACTOR)
PUBLISHED = {BETA: 0.73, FACTOR: 0.82}
"""Published FactorVAE scores° on dSprites, with β=4 and γ=35."""
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
"""Scores of the claims, listed seed by seed."""
COMPARED = ((TOTAL_CORRELATION, PLAIN), (FACTOR, PLAIN), (FACTOR, BETA))
"""Pairs of rows; the papers report the first as better."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Limits of a budget."""

    seeds: tuple[int, ...]
    upright: bool = True
    """Whether to take only the 18,432 of 737,280 sprites with orientation 0°; orientation is then no factor."""
    encoder: Mapping[str, Any]
    steps: int
    learning_rate: float
    points: tuple[int, int] = (10_000, 5_000)
    """Numbers of images to fit scores to, and to score."""
    beta: float = 4.0
    """Weight of the rate of the β-VAE."""
    total_correlation: float = 5.0
    """Weight of the total correlation beside the ELBO: the paper's β − 1."""
    gamma: float = 35.0
    """Weight of FactorVAE's adversary."""
    discriminator_learning_rate: float = 1e-4


CONV = {"kind": "conv", "channels": [32, 32, 64, 64], "hidden": 256, "activation": "relu"}
BUDGETS: dict[Budget, Settings] = {
    "smoke": Settings(
        seeds=(0,), encoder={"kind": "mlp", "hidden": [64]}, steps=60, learning_rate=1e-3, points=(1_000, 500)
    ),
    "cpu": Settings(
        seeds=(2, 3, 4, 5),
        encoder={"kind": "mlp", "hidden": [128, 128]},
        steps=6_000,
        learning_rate=2e-3,
        total_correlation=2.0,
        discriminator_learning_rate=1e-3,
    ),
    "full": Settings(seeds=(0, 1, 2, 3, 4), upright=False, encoder=CONV, steps=300_000, learning_rate=1e-4),
}
BATCH_SIZE, LATENT_DIM = 64, 10
ORIENTATION = [factor.name for factor in Sprites().factors].index("orientation")


def table(budget: Budget, home: Path, num_seeds: int | None) -> Table:
    """Returns the table of disentanglement scores."""
    settings = BUDGETS[budget]
    dataset = upright_sprites(home) if settings.upright else all_sprites(home)
    jobs = [
        Job(row, "sprites", seed, partial(measure, row, seed, settings, dataset), 1.5 if row == FACTOR else 1.0)
        for seed, row in product(settings.seeds[:num_seeds], ROWS)
    ]
    num_train, num_test = settings.points
    values = {"settings": settings, "num_train": num_train, "num_test": num_test, "num_images": num_train + num_test}
    values |= {"orientation": "" if settings.upright else "orientation 40, ", "num_rows": dataset.num_rows("train")}
    words = read_words("disentanglement", globals() | values)
    return Table(words.for_budget(budget), jobs, render, claims)


def all_sprites(home: Path) -> Dataset:
    """Ingests the whole grid as a user would."""
    split = SplitConfig(validation=0.02, test=0.0)
    return published(IngestConfig(source=SPRITES, name="sprites", split=split), home)


def upright_sprites(home: Path) -> Dataset:
    """Publishes the part of the grid with orientation 0°."""
    index_N = np.random.default_rng(0).permutation(grid_of(upright=True))
    num_validation = len(index_N) // 50
    splits = {"train": len(index_N) - num_validation, "validation": num_validation}
    return _publish(home, Sprites().render(index_N), None, splits, group_rows=1024)


def grid_of(upright: bool) -> NDArray[np.int64]:
    """Returns the indices of the images of the grid, or of the upright ones."""
    index_N = np.arange(len(Sprites()))
    return index_N[Sprites().codes(index_N)[:, ORIENTATION] == 0] if upright else index_N


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
    """Returns the run of a row."""
    adversary = {"kind": "adversary", "weight": settings.gamma}
    adversary["learning_rate"] = settings.discriminator_learning_rate
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
    """Returns posterior means [N,L] of images drawn from the grid, and their factors [N,F]."""
    sprites, draws = Sprites(), RowDraws(0, Stream.EVALUATION, device=device())
    index_N = np.random.default_rng(0).choice(grid_of(upright), num_images, replace=False)
    means = []
    for part in np.array_split(index_N, -(-num_images // 1000)):
        images = torch.from_numpy(sprites.render(part)).to(device())
        means.append(model.encode(model.inputs(images, draws=draws)).mean)
    factors_NF = sprites.codes(index_N)
    if upright:
        factors_NF = np.delete(factors_NF, ORIENTATION, axis=1)
    return torch.cat(means).float().cpu().numpy(), factors_NF


def render(outcomes: Sequence[Outcome]) -> str:
    """Returns the scores listed by seed, and the means of all others."""
    listed = []
    for row in ROWS:
        published_score = f"{PUBLISHED[row]:.2f}°" if row in PUBLISHED else ""
        listed.append([row, published_score, *(summary(figures_of(outcomes, score, row), 3) for score in LISTED)])
    others = [name for name in SCORES if name not in LISTED]
    means = [[row, *(f"{np.mean(figures_of(outcomes, score, row)):.3f}" for score in others)] for row in ROWS]
    first = grid(("", "published FactorVAE score", *(SCORES[score] for score in LISTED)), listed)
    return f"{first}\n\n{grid(('mean over seeds', *(SCORES[score] for score in others)), means)}"


def claims(outcomes: Sequence[Outcome]) -> list[Claim]:
    """Returns the rankings of the papers, each judged by the interval of its paired difference."""
    out = []
    for (better, worse), score in product(COMPARED, LISTED):
        gains = paired(by_seed(outcomes, better, score), by_seed(outcomes, worse, score))
        out.append(
            interval_claim(f"{better} above {worse}, {SCORES[score]}, paired by seed", gains, "above", decimals=3)
        )
    return out
