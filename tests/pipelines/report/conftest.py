"""Evidence of small runs, and a reader of pages."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image

from pipelines.report import Evidence, write
from pipelines.report.costs import Stage
from tuning.frontier import Trial
from vae.config import RunConfig, parse
from vae.data.batches import Batch
from vae.data.manifest import Manifest, SourceFile, derive_dataset_id
from vae.data.schema import Column, ExampleSpec
from vae.metrics.likelihood import bound_sums, negative_log_likelihood
from vae.model import VAE
from vae.training.hooks import EpochReport

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=http://evil.example/x onerror=alert(1)>',
    "$\\frac{1}{0}$",
    "日本語\u202egnp",
    "a`b```c|d\nnext **bold** [link](http://evil.example)",
    "{{ 7 * 7 }}{% raw %}",
    'it\'s \\ "quoted"',
)
# Evidence that takes long to draw, left out by tests of something else.
BRIEF: dict[str, Any] = {"history": (), "bound": None, "nll": None, "trials": (), "chosen_trial": None}
TABLE_PARTS: dict[str, Any] = {"encoder": {"kind": "table", "hidden": [8]}, "likelihood": {"kind": "mixed"}}
Make = Callable[..., Evidence]


SIZE, COLOUR = (
    Column("size", dtype="float"),
    Column("colour", ("red", "<i>blue</i>"), dtype="string"),
)


def manifest(classes: tuple[str, ...] | None, shape: tuple[int, ...] = (1, 8, 8)) -> Manifest:
    pair = (SIZE, COLOUR)
    is_image = len(shape) == 3
    example = ExampleSpec(shape, classes, attributes=pair) if is_image else ExampleSpec.of_table(pair, classes)
    made = Manifest.made_now(
        dataset_id=derive_dataset_id(["ab"], {}),
        name="digits",
        example=example,
        splits={"train": (), "validation": (), "test": ()},
        class_counts={"train": tuple(range(len(classes)))} if classes else {},
        sources=(SourceFile(path="<b>digits</b>.gz", bytes=1234567, sha256="ab" * 32),),
        ingest={"source": "</pre><script>alert(2)</script>"},
        rejected=3,
    )
    return made.model_copy(update={"created_at": datetime(2026, 1, 2, 3, 4, tzinfo=UTC)})


def epochs(num: int) -> list[dict[str, Any]]:
    """Returns the epochs of a run whose third epoch is the best."""
    reports = []
    for epoch in range(1, num + 1):
        distortion, rate = 20 + abs(epoch - 3) + 0.5 * epoch, 2.0
        report = EpochReport(
            epoch=epoch, step=10 * epoch, beta=1.0, train_distortion=distortion, train_rate=rate,
            validation_distortion=distortion, validation_rate=rate, validation_negative_elbo=distortion + rate,
            validation_negative_bound=distortion + rate,
            active_units=2, aggregate_std=1.0, constraint_gap=0.0, validation_objective=distortion + rate,
            best_epoch=min(epoch, 3), best_objective=23.5, examples_per_second=1e4,
            elapsed_seconds=0.1 * epoch, is_last=epoch == num,
        )  # fmt: skip
        reports.append(asdict(report))
    return reports


def search(num: int = 6) -> list[Trial]:
    """Returns trials over two architectures and β; one failed, one was stopped early; `t0` has the lowest bound."""
    made = []
    for index in range(num):
        parameters = {"model.encoder": ("mlp 8", "conv 4")[index % 2], "objective.beta": 2.0**index}
        status = "stopped" if index == 2 else "finished"
        made.append(Trial(f"t{index}", parameters, status, 10, 20.0 + index, 5.0 - index / 2, 25.0 + index / 2, 2))
    failed = Trial(
        "t9", {"model.encoder": "mlp 8", "objective.beta": 64.0}, "failed", 0, error="<i>out | of memory</i>"
    )
    return [*made, failed]


def batch(classes: tuple[str, ...] | None, shape: tuple[int, ...]) -> Batch:
    """Returns 30 rows: images with attributes, or rows of a table with gaps."""
    rng = np.random.default_rng(0)
    values = rng.integers(0, 256, (30, *shape), np.uint8)
    columns = np.stack([rng.normal(5, 2, 30), rng.integers(0, 2, 30)], axis=1).astype(np.float32)
    labels = torch.from_numpy(rng.integers(0, len(classes), 30)) if classes else None
    if len(shape) == 3:
        return Batch(torch.from_numpy(values), labels, torch.from_numpy(columns))
    columns[:6, 0] = np.nan
    columns[:20, 1] = 1
    return Batch(torch.from_numpy(columns), labels)


@pytest.fixture(scope="module")
def make() -> Make:
    """Returns a function that builds the evidence of a small run on images of any shape or on a table."""

    def build(
        condition: Any = "none",
        classes: tuple[str, ...] | None = tuple("0123"),
        shape: tuple[int, ...] = (1, 8, 8),
        latent_dim: int = 3,
        parts: dict[str, Any] | None = None,
        data: dict[str, Any] | None = None,
        **changes: Any,
    ) -> Evidence:
        model_config = {"condition": condition, "latent_dim": latent_dim, "encoder": {"kind": "mlp", "hidden": [8]}}
        config = parse(
            RunConfig, {"model": {**model_config, **(parts or {})}, "training": {"epochs": 5}, "data": data or {}}
        )
        scaled = (Column("size", None, 5.0, 2.0), Column("colour", COLOUR.categories))
        is_table = len(shape) == 1
        examples = ExampleSpec(shape, classes, scaled if is_table else None, () if is_table else scaled)
        model = VAE(config.model, examples).eval()
        rows = batch(classes, shape)
        evidence = Evidence(
            config=config, dataset=manifest(classes, shape), name="digits", model=model, rows=rows,
            history=epochs(5), bound=bound_sums(model, [rows], seed=0).bound(),
            nll=negative_log_likelihood(model, [rows], num_samples=2, seed=0), trials=search(), chosen_trial="t0",
            stages=[Stage("ingest", 0.5), Stage("train", 75.0, cpus=4.0, gpus=1.0)], version="3", run_id="abc",
        )  # fmt: skip
        return dataclasses.replace(evidence, **changes)

    return build


@pytest.fixture(scope="module")
def written(make: Make, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Returns the files of a full report, for the tests that only read it."""
    settings = dict(matplotlib.rcParams)
    files = write(make(), tmp_path_factory.mktemp("new") / "report")
    assert dict(matplotlib.rcParams) == settings
    return files


class Page(HTMLParser):
    """Elements of a page, and the words that a browser shows."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(file.read_text(encoding="utf-8"))
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def image(file: Path) -> Image.Image:
    with Image.open(io.BytesIO(file.read_bytes())) as opened:
        return opened.convert("RGB")
