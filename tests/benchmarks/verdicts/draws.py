"""Configurations drawn from a stated distribution, and the small datasets that they train on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipelines.data.ingest import IngestConfig
from pipelines.data.sources.config import SplitConfig
from tests.benchmarks.work import published
from vae.config import RunConfig, override
from vae.data.parquet import Dataset
from vae.data.sprites import Sprites
from vae.errors import ConfigError

NAMES = ("digits", "sprites", "breast", "diabetes", "factors", "curves")
IMAGES = ("digits", "sprites")


def datasets(home: Path) -> Mapping[str, Dataset]:
    """Returns the datasets by name, ingested into a folder."""
    from sklearn.datasets import load_breast_cancer, load_diabetes

    rng = np.random.default_rng(0)
    sprites = Sprites()
    pixels = sprites.render(rng.choice(len(sprites), 1200, replace=False))
    smaller = pixels.reshape(-1, 1, 16, 4, 16, 4).mean((3, 5)).round().astype(np.uint8)
    np.savez(home / "sprites.npz", images=smaller)
    breast: Any = load_breast_cancer()
    diabetes: Any = load_diabetes()
    for name, columns in {
        "breast": dict(zip(breast.feature_names, breast.data.T, strict=True)),
        "diabetes": dict(zip(diabetes.feature_names, diabetes.data.T, strict=True)),
        "factors": _factors(rng),
        "curves": _curves(rng),
    }.items():
        pq.write_table(pa.table(columns), home / f"{name}.parquet")
    sources = {"digits": "sklearn:digits", "sprites": str(home / "sprites.npz")}
    sources |= {name: str(home / f"{name}.parquet") for name in NAMES if name not in sources}
    split = SplitConfig(validation=0.15, test=0.25)
    return {name: published(IngestConfig(source=sources[name], name=name, split=split), home) for name in NAMES}


def _factors(rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    """Returns the columns of a table whose numbers are linear in three factors and whose categories are cut from two."""
    factors_N3 = rng.normal(size=(1000, 3))
    numbers_N8 = factors_N3 @ rng.normal(size=(3, 8)) + 0.5 * rng.normal(size=(1000, 8))
    columns: dict[str, NDArray[Any]] = {f"x{d}": numbers_N8[:, d] for d in range(8)}
    for d in range(2):
        noisy_N = factors_N3[:, d] + 0.3 * rng.normal(size=1000)
        columns[f"kind{d}"] = np.array(["low", "middle", "high"])[np.digitize(noisy_N, (-0.5, 0.5))]
    return columns


def _curves(rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    """Returns the columns of a table along a rolled-up sheet, cut into three categories, and a circle."""
    turn_N, angle_N = rng.uniform(1.5, 4.5, 1000), rng.uniform(0, 2, 1000)
    columns: dict[str, NDArray[Any]] = {
        "roll_x": turn_N * np.cos(np.pi * turn_N),
        "roll_y": turn_N * np.sin(np.pi * turn_N),
        "height": rng.uniform(0, 5, 1000),
        "circle_x": np.cos(np.pi * angle_N),
        "circle_y": np.sin(np.pi * angle_N),
    }
    columns = {name: values_N + 0.1 * rng.normal(size=1000) for name, values_N in columns.items()}
    return {**columns, "part": np.array(["inner", "middle", "outer"])[np.digitize(turn_N, (2.5, 3.5))]}


def draw(seed: int, number: int) -> tuple[str, RunConfig]:
    """Returns the dataset's name and the configuration of one draw of a seed."""
    rng = np.random.default_rng((seed, number))
    while True:
        name = str(rng.choice(NAMES))
        try:
            return name, override(RunConfig(), _changes(name, rng), "draw")
        except ConfigError:
            continue


def _changes(name: str, rng: np.random.Generator) -> dict[str, Any]:
    def one_of(*options: Any) -> Any:
        return options[rng.integers(len(options))]

    def log_uniform(low: float, high: float) -> float:
        return float(f"{np.exp(rng.uniform(np.log(low), np.log(high))):.3g}")

    mixture = {"kind": "gaussian_mixture", "components": 10}
    body, likelihood, third = _of_images(one_of) if name in IMAGES else (*_of_tables(one_of), mixture)
    flow = {"kind": "flow", "transform": "maf", "transforms": 1, "hidden": [32]}
    constant = {"kind": "constant"}
    others = (
        {"kind": "warmup", "steps": 0.3},
        {"kind": "cyclical", "steps": 0.15},
        {"kind": "free_bits", "nats": 0.1},
        {"kind": "capacity", "capacity": 10.0},
    )
    regularizers = [{"kind": "mmd", "weight": log_uniform(1, 300)}] if rng.random() < 1 / 15 else []
    return {
        "objective.beta": log_uniform(0.001, 100),
        "objective.controller": one_of(*[constant] * 6, *others),
        "objective.bound": one_of(*[{"kind": "elbo"}] * 9, {"kind": "iwae", "samples": 5}),
        "objective.regularizers": regularizers,
        "model.latent_dim": one_of(2, 4, 8, 16),
        "model.encoder": body,
        "model.likelihood": likelihood,
        "model.prior": one_of(*[{"kind": "standard_normal"}] * 7, mixture, flow, third),
        "training.learning_rate": log_uniform(5e-4, 5e-3),
        "training.batch_size": 32 if name in ("breast", "diabetes") else 64,
        "training.seed": int(rng.integers(1000)),
    }


def _of_images(one_of: Callable[..., Any]) -> tuple[Any, Any, Any]:
    """Draws body and likelihood for images; the prior that images alone have comes with them."""
    mlp = {"kind": "mlp", "hidden": one_of([32], [64], [64, 32], [128, 64])}
    body = one_of(mlp, mlp, mlp, mlp, {"kind": "conv", "channels": one_of([8], [8, 16]), "hidden": 32})
    bernoulli = {"kind": "bernoulli"}
    gaussians = [{"kind": "gaussian", "sigma": sigma} for sigma in ("learned", "fixed", "per_pixel")]
    likelihood = one_of(bernoulli, bernoulli, *gaussians, {"kind": "laplace"})
    return body, likelihood, {"kind": "vamp", "components": 30}


def _of_tables(one_of: Callable[..., Any]) -> tuple[Any, Any]:
    """Draws body and likelihood for tables."""
    body = {"kind": "table", "hidden": one_of([32], [64], [64, 64])}
    numeric = one_of("gaussian", "gaussian", "gaussian", "laplace", "student_t")
    return body, {"kind": "mixed", "numeric": numeric}
