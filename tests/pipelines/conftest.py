"""What the tests of flows share: a dataset ingested for real, and a model that trains in seconds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from pipelines.cluster.runs import SPEC, RunFolder
from pipelines.data.sources import IngestConfig
from pipelines.jobs.job import Job
from pipelines.services import Services
from pipelines.stages.demo import digits as example
from pipelines.stages.pipeline import PipelineRequest
from tests.servers import worker
from tests.vae.conftest import _publish
from tuning.space import Choice, SearchConfig
from vae import serving
from vae.config import ModelConfig, RunConfig, TrainingConfig, override
from vae.data.parquet import Dataset
from vae.model import VAE
from vae.parts.bodies.mlp import MLP
from vae.storage import locate, sha256_of
from vae.training.state import WEIGHTS, save_model

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

    from pipelines.models.registry import Score, Version


QUICK = RunConfig(
    model=ModelConfig(latent_dim=2, encoder=MLP(hidden=(8,))), training=TrainingConfig(epochs=2, batch_size=20)
)
"""A training that takes no time."""


def run_flow(flow: Any, *arguments: Any, listener: Any = None, **named: Any) -> Any:
    """Runs a flow in this process, as the command does."""
    from prefect.context import refresh_global_settings_context

    from pipelines.flows import job_events

    refresh_global_settings_context()  # or another test's environment decides which server is asked
    with job_events.session(listener or (lambda kind, event: None)):
        return flow(*arguments, **named)


@pytest.fixture(scope="session")
def digits(services: Services) -> dict[str, Any]:
    """What the ingest flow returned for scikit-learn's digits."""
    from pipelines.flows.ingest import ingest

    return run_flow(ingest, IngestConfig(source="sklearn:digits", name="digits"))


@pytest.fixture(scope="session")
def tiny() -> RunConfig:
    """A model of 8x8 digits that trains for 3 epochs."""
    return RunConfig(
        model=ModelConfig(latent_dim=3, encoder=MLP(hidden=(32,))), training=TrainingConfig(epochs=3, batch_size=64)
    )


@pytest.fixture(scope="session")
def small(tiny: RunConfig) -> PipelineRequest:
    """The main job made small: 2 architectures x 2 betas, then 2 workers."""
    architectures = ({"kind": "mlp", "hidden": [16]}, {"kind": "mlp", "hidden": [32]})
    search = SearchConfig(
        base=override(tiny, {"training.epochs": 2}),
        space={"model.encoder": Choice(values=architectures), "objective.beta": Choice(values=(0.5, 1.0))},
        grace_epochs=1,
    )
    return example().model_copy(update={"search": search, "training": tiny.training, "num_samples": 8})


@pytest.fixture
def noise(tmp_path: Path) -> Dataset:
    """Ninety pictures of noise with ten labels."""
    pixels = np.random.default_rng(0).integers(0, 256, (90, 1, 8, 8), np.uint8)
    return _publish(tmp_path / "data", pixels, np.arange(90) % 10, {"train": 40, "validation": 30, "test": 20})


def job_of(home: Path, request: Any) -> Job:
    """A job that is asked so, for this process to run."""
    spec = {"home": str(home), "identity": "one", "request": request.model_dump(mode="json")}
    return Job(RunFolder(str(home), "one").write(SPEC, spec), type(request))


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The pages that MLflow was given, by a job that neither Ray nor MLflow runs; what is logged is kept in mind."""
    import ray

    from pipelines.jobs import evaluate
    from pipelines.models import registry, tracking
    from tests.workers import InProcess

    found: list[str] = []
    epochs: dict[int, dict[str, Any]] = {}

    def keep(run_id: str, files: Iterable[Path], folder: str | None = None) -> None:
        found.extend(file.read_text() for file in files if file.suffix == ".html")

    def log_epochs(run_id: str, told: Iterable[dict[str, Any]]) -> None:
        epochs.update({epoch["epoch"]: epoch for epoch in told})

    monkeypatch.setattr(ray, "init", lambda: None)
    monkeypatch.setattr(evaluate, "Workers", InProcess)
    monkeypatch.setattr(registry, "find", lambda *arguments: None)
    for name, stand_in in {
        "open_run": lambda *arguments, **named: "run-1",
        "close_run": lambda *arguments: None,
        "experiment_of": lambda run_id: "experiment-1",
        "log_metrics": lambda *arguments: None,
        "tag": lambda *arguments: None,
        "log_files": keep,
        "log_epochs": log_epochs,
        "epochs_of": lambda run_id: [epochs[number] for number in sorted(epochs)],
    }.items():
        monkeypatch.setattr(tracking, name, stand_in)
    return found


@pytest.fixture(scope="module")
def prefect(services: Services) -> Iterator[SyncPrefectClient]:
    """A client of a server that has every deployment of prefect.yaml, with a worker on their pool."""
    from prefect.client.orchestration import get_client

    from pipelines.operating import deployments

    assert "pipeline/default" in deployments.deploy()
    with worker(), get_client(sync_client=True) as client:
        yield client


def ended(prefect: SyncPrefectClient, run: FlowRun) -> FlowRun | None:
    """A flow run as it has ended, or None while it goes on."""
    found = prefect.read_flow_run(run.id)
    return found if found.state is not None and found.state.is_final() else None


def register(model: VAE, example: Any, name: str, score: Score, folder: Path) -> Version:
    """A model as a version of a name in the registry, by a run of its own and without an evaluation."""
    from pipelines.models import packaging, registry, tracking

    packed = folder / serving.ARTIFACT
    save_model(model, str(packed))
    run_id = tracking.open_run(name, f"{name}-registered")
    uri = packaging.log_model(run_id, packed, model.config, example, "a test's")
    return registry.register(name, uri, run_id, sha256_of(locate(str(packed / WEIGHTS))), score, "a test's")
