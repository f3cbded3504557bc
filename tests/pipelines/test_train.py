"""The training job without a cluster or a server: what it leaves, whether training ends or fails."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray

from pipelines import registry
from pipelines.jobs import train
from pipelines.jobs.job import Job
from pipelines.requests import TrainRequest
from pipelines.runs import SPEC, RunFolder
from tests.vae.conftest import _publish
from vae.config import MLP, ModelConfig, RunConfig, TrainingConfig
from vae.data.parquet import Dataset
from vae.distributed import TrainOutcome, TrainSpec
from vae.errors import Diverged
from vae.state import save_model
from vae.training import Training

CONFIG = RunConfig(
    model=ModelConfig(latent_dim=2, encoder=MLP(hidden=(8,))), training=TrainingConfig(epochs=2, batch_size=20)
)
Listener = Callable[[list[dict[str, Any]]], None]


@pytest.fixture
def pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The pages that MLflow was given, by a job that neither Ray nor MLflow runs; what is logged is kept in mind."""
    found: list[str] = []
    epochs: dict[int, dict[str, Any]] = {}

    def keep(run_id: str, files: Iterable[Path], folder: str | None = None) -> None:
        found.extend(file.read_text() for file in files if file.suffix == ".html")

    def log_epochs(run_id: str, told: Iterable[dict[str, Any]]) -> None:
        epochs.update({epoch["epoch"]: epoch for epoch in told})

    monkeypatch.setattr(ray, "init", lambda: None)
    for name, stand_in in {
        "open_run": lambda *arguments, **named: "run-1",
        "close_run": lambda *arguments: None,
        "log_metrics": lambda *arguments: None,
        "log_files": keep,
        "log_epochs": log_epochs,
        "epochs_of": lambda run_id: [epochs[number] for number in sorted(epochs)],
    }.items():
        monkeypatch.setattr(registry, name, stand_in)
    return found


@pytest.fixture
def job(tmp_path: Path) -> Job:
    pixels = np.random.default_rng(0).integers(0, 256, (90, 1, 8, 8), np.uint8)
    dataset = _publish(tmp_path / "data", pixels, None, {"train": 40, "validation": 30, "test": 20})
    request = TrainRequest(dataset=dataset.uri, name="noise", config=CONFIG).model_dump(mode="json")
    spec = {"home": str(tmp_path), "identity": "one", "request": request}
    return Job(RunFolder(str(tmp_path), "one").write(SPEC, spec))


def test_training_leaves_a_report_of_its_model(job: Job, pages: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The result names it; it has the epochs, the pictures on validation data, and what the training held."""

    def alone(spec: TrainSpec, on_report: Listener, on_event: Any) -> TrainOutcome:
        result = Training(spec.config, Dataset.open(spec.dataset)).run()
        save_model(result.model, f"{spec.folder}/model")
        return TrainOutcome(f"{spec.folder}/model", [asdict(r) for r in result.history], asdict(result.best), 0)

    monkeypatch.setattr(train, "train", alone)
    result = train.run(job)
    (page,) = pages
    assert result["report"] == f"runs:/run-1/{registry.REPORT}"
    assert "on 30 validation examples" in page
    assert {"reconstructions", "samples", "interpolations", "curves", "latent"} <= {*re.findall(r'id="(\w+)"', page)}
    assert "2 of 2 at most" in page
    assert "CPU-hours" in page


def test_training_that_fails_leaves_its_epochs_and_its_reason(
    job: Job, pages: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those epochs among them that the job heard of last, which a thread sends."""

    def diverge(spec: TrainSpec, on_report: Listener, on_event: Any) -> TrainOutcome:
        result = Training(spec.config, Dataset.open(spec.dataset)).run()
        on_report([asdict(report) for report in result.history])
        raise Diverged("the loss became nan in epoch 3 (step 5)")

    monkeypatch.setattr(train, "train", diverge)
    with pytest.raises(Diverged):
        train.run(job)
    (page,) = pages
    assert "Failed after 2 of 2 epochs: Diverged: the loss became nan in epoch 3 (step 5)" in page
    assert 'id="curves"' in page
    assert "Reconstructions: there is no trained model." in page
