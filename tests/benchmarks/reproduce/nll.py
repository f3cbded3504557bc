"""Negative log-likelihood of binary MNIST in nats, by importance sampling.

Rows come in pairs that differ in one thing: the prior (Tomczak & Welling, VAE with a VampPrior, 2018,
https://arxiv.org/abs/1705.07120), the bound (Burda et al., Importance Weighted Autoencoders, 2016,
https://arxiv.org/abs/1509.00519), or the library.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice, product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipelines.data.ingest import IngestConfig
from pipelines.data.sources.config import SplitConfig
from tests.benchmarks.evidence import by_seed, interval_claim, paired
from tests.benchmarks.ingest import data_folder
from tests.benchmarks.loops import find_pythae, run_loop
from tests.benchmarks.page import Claim, Table, grid, read_words, summary
from tests.benchmarks.work import Budget, Figures, Job, Outcome, device, published, train
from vae.config import RunConfig, parse
from vae.data.batches import InOrder, Share
from vae.data.parquet import Dataset
from vae.data.statistics import example_spec
from vae.draws import RowDraws
from vae.metrics.likelihood import negative_log_likelihood
from vae.model import VAE
from vae.seeds import Stream

NORMAL, VAMP = "2×300 gated, z=40, N(0, I)", "2×300 gated, z=40, VampPrior"
ELBO, IWAE = "2×200 tanh, z=50, ELBO", "2×200 tanh, z=50, IWAE"
OURS, PYTHAE = "512 ReLU, z=16, betaline", "512 ReLU, z=16, Pythae 0.1.2"
PUBLISHED: Mapping[tuple[str, str], float] = {
    (NORMAL, "static"): 88.56,
    (NORMAL, "dynamic"): 84.50,
    (VAMP, "static"): 85.57,
    (VAMP, "dynamic"): 82.38,
    (ELBO, "dynamic"): 86.76,
    (IWAE, "dynamic"): 84.78,
}
"""Published figures: four of the VampPrior paper°, two of the IWAE paper° with k=50."""
PAIRS = ((NORMAL, VAMP, 1.0), (ELBO, IWAE, 0.0), (PYTHAE, OURS, -0.2))
"""Worse row, better row, and the least gain in nats."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Limits of a budget. Defaults are those of `full`, the papers' protocol."""

    seeds: int = 3
    library_seeds: int = 3
    """Seeds of the rows that compare two libraries."""
    max_rows: int | None = None
    """Rows of MNIST; None takes all."""
    epochs: Mapping[str, int]
    warmup_epochs: int = 100
    """Epochs in which β rises to 1, for both priors."""
    patience_epochs: int | None = None
    learning_rate: float = 1e-3
    """Learning rate of the two priors; the paper's is 5e-4."""
    components: int = 500
    iwae_samples: int = 50
    test_images: int = 10_000
    draws: int = 5000


NAMES = (NORMAL, VAMP, ELBO, IWAE, OURS, PYTHAE)
SMOKE = {"seeds": 1, "library_seeds": 1, "max_rows": 3000, "warmup_epochs": 1, "components": 50, "iwae_samples": 5}
CPU = {"seeds": 1, "warmup_epochs": 4, "components": 200, "iwae_samples": 20, "test_images": 500, "draws": 500}
BUDGETS: dict[Budget, Settings] = {
    "smoke": Settings(epochs=dict.fromkeys(NAMES, 2), test_images=50, draws=20, **SMOKE),
    "cpu": Settings(epochs=dict(zip(NAMES, (12, 12, 6, 6, 5, 5), strict=True)), **CPU),
    "full": Settings(
        epochs={**dict.fromkeys(NAMES, 2000), OURS: 50, PYTHAE: 50}, patience_epochs=50, learning_rate=5e-4
    ),
}


def table(budget: Budget, home: Path, num_seeds: int | None) -> Table:
    """Returns the table of negative log-likelihoods."""
    settings = BUDGETS[budget]
    split = SplitConfig(validation=1 / 6)  # 50,000 to train, 10,000 to validate, 10,000 to test
    source = {"source": str(data_folder()), "name": "mnist", "max_rows": settings.max_rows}
    dataset = published(IngestConfig(split=split, **source), home)
    python, reason = find_pythae()
    jobs = []
    for row, binarizations in ROWS.items():
        if row == PYTHAE and python is None:
            continue
        seeds = num_seeds or (settings.library_seeds if row in (OURS, PYTHAE) else settings.seeds)
        for setting, seed in product(binarizations, range(seeds)):
            work = partial(measure, row, setting, seed, settings, dataset, python)
            jobs.append(Job(row, setting, seed, work, COSTS[row] * settings.epochs[row]))
    epochs = [settings.epochs[row] for row in (NORMAL, IWAE, OURS)]
    words = read_words("nll", {"settings": settings, "rows": dataset.manifest.num_rows, "epochs": epochs})
    missing = [] if python else [f"No Pythae: {reason}."]
    return Table(words.for_budget(budget).add("Shortfalls", missing), jobs, render, claims)


BOTH = ("static", "dynamic")
ROWS: Mapping[str, Sequence[str]] = {
    NORMAL: BOTH,
    VAMP: BOTH,
    ELBO: ("dynamic",),
    IWAE: ("dynamic",),
    PYTHAE: ("static",),
    OURS: ("static",),
}
"""Binarisations of each row."""
COSTS = {NORMAL: 1.0, VAMP: 4.0, ELBO: 0.6, IWAE: 8.0, OURS: 1.0, PYTHAE: 1.5}
"""Rough cost of an epoch of each row."""


def measure(row: str, setting: str, seed: int, settings: Settings, dataset: Dataset, python: Path | None) -> Figures:
    """Trains a row's model and scores it."""
    config = configuration(row, setting, seed, settings, dataset)
    if row == PYTHAE:
        assert python is not None, "the row was left out"
        model = pythae_model(config, dataset, python)
    else:
        model = train(config, dataset, last=row not in (NORMAL, VAMP)).model
    share = Share.of(dataset, "test", device=device(), binarization=config.model.likelihood.binarization_policy)
    batch_size = min(100, settings.test_images)
    batches = islice(InOrder(share, batch_size), settings.test_images // batch_size)
    nll = negative_log_likelihood(model, batches, num_samples=settings.draws, seed=0)
    return {"nll": nll.nats, "standard_error": nll.standard_error}


def configuration(row: str, setting: str, seed: int, settings: Settings, dataset: Dataset) -> RunConfig:
    """Returns the run of a row."""
    steps_per_epoch = dataset.num_rows("train") // 100
    training: dict[str, Any] = {
        "epochs": settings.epochs[row],
        "patience_epochs": None,
        "batch_size": 100,
        "aggregate_components": 0,
        "seed": seed,
    }
    model: dict[str, Any] = {"likelihood": {"kind": "bernoulli", "binarization": setting}}
    objective: dict[str, Any] = {}
    if row in (NORMAL, VAMP):
        training |= {"learning_rate": settings.learning_rate, "patience_epochs": settings.patience_epochs}
        model |= {"latent_dim": 40, "encoder": {"kind": "mlp", "hidden": [300, 300], "gated": True}}
        objective["controller"] = {"kind": "warmup", "steps": settings.warmup_epochs * steps_per_epoch}
        if row == VAMP:
            model["prior"] = {"kind": "vamp", "components": settings.components}
    elif row in (ELBO, IWAE):
        model |= {"latent_dim": 50, "encoder": {"kind": "mlp", "hidden": [200, 200], "activation": "tanh"}}
        if row == IWAE:
            objective["bound"] = {"kind": "iwae", "samples": settings.iwae_samples}
    else:
        training["batch_size"] = 128
        model |= {"latent_dim": 16, "encoder": {"kind": "mlp", "hidden": [512]}}
    return parse(RunConfig, {"model": model, "objective": objective, "training": training})


def pythae_model(config: RunConfig, dataset: Dataset, python: Path) -> VAE:
    """Returns Pythae's model of the same configuration, trained by Pythae, as a model of betaline."""
    share = Share.of(dataset, "train", binarization=config.model.likelihood.binarization_policy)
    with tempfile.TemporaryDirectory() as folder:
        data, weights = Path(folder) / "train.npy", Path(folder) / "weights.npz"
        np.save(data, share.read(share.start, share.stop).values)
        training = config.training
        run_loop(
            "pythae_loop.py",
            python,
            data=str(data),
            epochs=training.epochs,
            batch_size=training.batch_size,
            threads=1,
            learning_rate=training.learning_rate,
            fused=True,
            seed=training.seed,
            weights=str(weights),
        )
        with np.load(weights) as arrays:
            theirs = {name: torch.from_numpy(values) for name, values in arrays.items()}
    return with_pythae_weights(VAE(config.model, example_spec(dataset)), theirs).to(device()).eval()


@torch.no_grad()
def with_pythae_weights(model: VAE, theirs: Mapping[str, torch.Tensor]) -> VAE:
    """Loads the weights of Pythae's default MLP, halving log σ² to log σ, and checks some reconstructions."""
    names = {"weight", "bias"}
    ours = {f"encoder.dense.stages.0.layer.{name}": theirs[f"encoder.layers.0.0.{name}"] for name in names}
    ours |= {f"decoder.dense.stages.0.layer.{name}": theirs[f"decoder.layers.0.0.{name}"] for name in names}
    ours |= {f"decoder.out.{name}": theirs[f"decoder.layers.1.0.{name}"] for name in names}
    for name in names:
        head = [theirs[f"encoder.embedding.{name}"], 0.5 * theirs[f"encoder.log_var.{name}"]]
        ours[f"posterior.head.{name}"] = torch.cat(head)
    model.load_state_dict(ours)
    x = theirs["x"].view(-1, *model.examples.shape)
    posterior = model.encode(model.inputs((255 * x).to(torch.uint8), draws=RowDraws(0, Stream.EVALUATION)))
    ours = model.likelihood.mean(model.decode(posterior.mean[None])[0])
    torch.testing.assert_close(ours, theirs["reconstruction"].view_as(ours), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(2 * posterior.std().log(), theirs["log_var"], rtol=1e-4, atol=1e-4)
    return model


def render(outcomes: Sequence[Outcome]) -> str:
    """Returns a row for each model and binarisation."""
    rows = []
    for row, setting in ((row, setting) for row, binarizations in ROWS.items() for setting in binarizations):
        published_nll = PUBLISHED.get((row, setting))
        values, errors = (list(by_seed(outcomes, row, name, setting).values()) for name in ("nll", "standard_error"))
        cells = ["" if published_nll is None else f"{published_nll:.2f}°", summary(values, 2) or "left out"]
        rows.append([row, setting, *cells, f"{np.mean(errors):.2f}" if errors else ""])
    return grid(("model", "binarisation", "published", "here", "standard error over images"), rows)


def claims(outcomes: Sequence[Outcome]) -> list[Claim]:
    """Returns the claim of each pair that the second row is better by a margin; a negative margin: hardly worse."""
    out = []
    for worse, better, margin in PAIRS:
        for setting in ROWS[worse]:
            gains = paired(*(by_seed(outcomes, row, "nll", setting) for row in (worse, better)))
            if gains:
                text = f"{better} below {worse}, {setting}, paired by seed"
                out.append(interval_claim(text, gains, "above", f"{margin:.1f} nats", decimals=2, unit=" nats"))
    return out
