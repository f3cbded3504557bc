"""A small dataset of images, a table, and models of both; these tests need no server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipelines.data import apply as applying
from pipelines.data.apply import ApplyPlan, Worker
from pipelines.models.registry import Version
from tests.vae.conftest import Publish, _publish, _publish_table
from vae.config import ModelConfig, parse
from vae.data.parquet import Dataset
from vae.data.schema import Column
from vae.data.statistics import example_spec
from vae.model import VAE
from vae.serving import RegisteredVAE

VERSION = Version("toy", "7", "models:/toy/7", "run", None, ())


def served(dataset: Dataset, **parts: Any) -> RegisteredVAE:
    """An untrained model of a dataset's examples, whose weights are always the same."""
    model = VAE(parse(ModelConfig, {"latent_dim": 3, **parts}), example_spec(dataset), seed=1)
    registered = RegisteredVAE()
    registered.model = model.eval()
    return registered


def planned(
    task: str,
    model: RegisteredVAE,
    source: str,
    folder: Path,
    splits: Any = None,
    rows_per_call: int = 32,
    **given: Any,
) -> ApplyPlan:
    """The plan of a task, with fewer rows for a call so that a unit takes several."""
    params = applying.read_params(task, given)
    asked = applying.Asked(task=task, params=params, source=source, splits=splits, output=str(folder))
    plan = applying.plan(asked, VERSION, "0" * 64, model.model)
    return replace(plan, provenance=plan.provenance.model_copy(update={"rows_per_call": rows_per_call}))


def carried_out(plan: ApplyPlan, model: RegisteredVAE, order: Sequence[int] | None = None) -> Any:
    """The manifest of a plan whose units were worked off in some order, but for those that are there."""
    worker = Worker(plan, model)
    worker.probe()
    if (manifest := applying.claim(plan)) is not None:
        return manifest
    done = applying.finished_units(plan)
    there = {record.index for record in done}
    todo = [index for index in order or range(len(plan.units)) if index not in there]
    return applying.publish(plan, [*done, *worker.write(todo)])


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """500 images of 3×4 pixels in three classes: 320 to train in row groups of 100, 80 to validate, 100 to test."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(256, size=(500, 1, 3, 4), dtype=np.uint8)
    folder = tmp_path_factory.mktemp("images")
    return _publish(folder, pixels, rng.integers(3, size=500), {"train": 320, "validation": 80, "test": 100})


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """300 people: a float, a whole number, a text, a number that is a category; holes everywhere, and a column `row`."""
    rng = np.random.default_rng(1)
    ages, years = rng.normal(40, 10, 300), rng.integers(1950, 2020, 300)
    columns = {
        "age": pa.array(ages, mask=rng.random(300) < 0.2),
        "year": pa.array(years, pa.int64(), mask=rng.random(300) < 0.2),
        "colour": pa.array(np.array(["blue", "red"])[rng.integers(2, size=300)], mask=rng.random(300) < 0.2),
        "level": pa.array(rng.integers(1, 3, 300), pa.int32(), mask=rng.random(300) < 0.2),
        "row": pa.array(rng.normal(size=300)),
    }
    described = [
        Column("age", dtype="double"),
        Column("year", dtype="int64"),
        Column("colour", ("blue", "red"), dtype="string"),
        Column("level", ("1", "2"), dtype="int32"),
        Column("row", dtype="double"),
    ]
    folder = tmp_path_factory.mktemp("table")
    return _publish_table(folder, pa.table(columns), described, None, {"train": 200, "validation": 100})


@pytest.fixture(scope="session")
def publish() -> Publish:
    """Publishes arrays of images [N,C,H,W] as a dataset in a folder."""
    return _publish
