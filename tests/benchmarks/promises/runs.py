"""The models that are measured: trained on data ingested as a user would, registered, and pulled."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.data.ingest import IngestConfig
from pipelines.data.sources.config import SplitConfig
from tests.benchmarks.promises.measures import HIDDEN_SHARE, Shipped, figures
from tests.benchmarks.promises.promises import COMPARED, PROMISES
from tests.benchmarks.work import Figures, Job, published, train
from vae.config import ModelConfig, RunConfig, override
from vae.config.presets import preset
from vae.config.suiting import fitted
from vae.data.parquet import Dataset
from vae.data.sprites import Sprites
from vae.inference.client import Pulled
from vae.parts.controllers.capacity import Capacity
from vae.parts.controllers.control import ControlVae
from vae.parts.controllers.geco import Geco
from vae.serving import ARTIFACT
from vae.training.state import save_model

SPLIT = SplitConfig(validation=0.15, test=0.15)
SPRITES = {"source": "sprites", "resize": (16, 16), "max_rows": 1_800}
LARGE_SPRITES, NUM_LARGE_SPRITES = "large sprites", 8_000
"""Sprites whose shape is visible at 16×16, for the preset conditioned on the shape."""
IMAGES, TABLES = ("digits", "sprites", LARGE_SPRITES), ("wine", "breast")
AT_17 = "geco_vae, distortion 17"
WEAK = "vae, β = 0.15, 150 epochs"
EXTRA: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    AT_17: ("geco_vae", {"objective.controller.distortion": 17.0}),
    WEAK: ("vae", {"objective.beta": 0.15, "training.epochs": 150}),
}
"""Further rows of the table of digits: a preset and changes."""


def dataset_of(data: str, home: Path) -> Dataset:
    """Returns a dataset, ingested as a user would."""
    if data == "digits":
        return published(IngestConfig(source="sklearn:digits", name=data, split=SPLIT), home)
    if data == "sprites":
        return published(IngestConfig(name=data, split=SPLIT, **SPRITES), home)
    if data == LARGE_SPRITES:
        file = home / "large-sprites.npz"
        write_large_sprites(file)
        return published(IngestConfig(source=str(file), name="large-sprites", split=SPLIT, resize=(16, 16)), home)
    from sklearn import datasets

    loaded: Any = getattr(datasets, {"wine": "load_wine", "breast": "load_breast_cancer"}[data])(as_frame=True)
    file = home / f"{data}.csv"
    loaded.data.rename(columns=lambda name: name.replace(" ", "_")).to_csv(file, index=False)
    return published(IngestConfig(source=str(file), name=data, split=SPLIT), home)


def write_large_sprites(file: Path) -> None:
    """Writes the middle 40×40 pixels of sprites of the two largest scales, at most 2 pixels off the centre."""
    sprites, generator = Sprites(), np.random.default_rng(0)
    lowest, highest = np.array([0, 4, 0, 14, 14]), np.array([3, 6, 40, 18, 18])
    codes = generator.integers(lowest, highest, (NUM_LARGE_SPRITES, len(lowest)))
    images = sprites.render(sprites.index(codes))[:, 0, 12:-12, 12:-12]
    np.savez(file, images=images, labels=codes[:, 0])


def config_of(row: str, dataset: Dataset, seed: int) -> RunConfig:
    """Returns the run of a row: a preset fitted to the data, or a model to compare presets with."""
    compared = {one.name: ("vae", one.changes) for one in COMPARED}
    name, changes = {**compared, **EXTRA}.get(row, (row, {}))
    hidden = {"data.missing": {"kind": "mcar", "share": HIDDEN_SHARE}} if row == "miwae" else {}
    return override(fitted(name, dataset).config(), {"training.seed": seed, **changes, **hidden}, row)


def measure(row: str, data: str, seed: int, home: Path) -> Figures:
    """Trains, registers, pulls and measures one model."""
    dataset = dataset_of(data, home)
    config = config_of(row, dataset, seed)
    result = train(config, dataset, latents=True)
    known: dict[str, float] = {
        "beta": config.objective.beta,
        "epoch": result.best.epoch,
        "epochs": result.history[-1].epoch,
        "validation_rate": result.best.validation_rate,
        "validation_distortion": result.best.validation_distortion,
    }
    match config.objective.controller:
        case Capacity(capacity=rate) | ControlVae(rate=rate):
            known["held"] = rate
        case Geco(distortion=distortion):
            known["target"] = distortion
    with tempfile.TemporaryDirectory() as scratch:
        save_model(result.model, f"{scratch}/{ARTIFACT}")
        pulled = _registered(Path(scratch), f"{row}-{data}-{seed}", result.model.config)
    model = pulled.unwrap_python_model().model
    return known | dict(figures(Shipped(Pulled(pulled), model, config, dataset), row))


def _registered(folder: Path, identity: str, config: ModelConfig) -> Any:
    """Registers the model in MLflow, and returns it as a user pulls it."""
    import mlflow

    from pipelines.models import packaging, tracking

    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    mlflow.create_experiment("promises", artifact_location=(folder / "artifacts").as_uri())
    run_id = tracking.open_run("promises", identity)
    uri = packaging.log_model(run_id, folder / ARTIFACT, config, None, identity)
    return mlflow.pyfunc.load_model(uri)


def jobs(home: Path, seeds: int) -> Iterator[Job]:
    """Yields a job for every preset and every model to compare with."""
    tables = [name for name in PROMISES if preset(name).model.encoder.data_kind == "table"]
    images = [name for name in PROMISES if name not in tables]
    compared = list(dict.fromkeys(one.name for one in COMPARED))
    on = {
        "digits": [*images, *compared, *EXTRA],
        "sprites": [name for name in images if name != "cvae"] + compared,
        LARGE_SPRITES: ["cvae"],
        **dict.fromkeys(TABLES, tables),
    }
    for seed in range(seeds):
        for data, rows in on.items():
            yield from (Job(row, data, seed, partial(measure, row, data, seed, home), weight=-seed) for row in rows)
