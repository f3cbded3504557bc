"""What runs by itself: data that lands is ingested and trained on, a person decides, and drift trains again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pytest

from pipelines import services as embedded
from pipelines.data.sources import IngestConfig
from pipelines.services.commands import ray_folder
from pipelines.services.lease import exported
from pipelines.stages.drift import DriftRequest
from pipelines.stages.train import TrainRequest
from tests.pipelines.conftest import run_flow
from tests.processes import betaline, wait_for
from vae.config import RunConfig

if TYPE_CHECKING:
    from pipelines.operating.approvals import Waiting

pytestmark = pytest.mark.servers("operating")

LIMIT_SECONDS = 480


class Site:
    """Servers of a home and a worker, which can be ended and started again."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.log = home / "worker.log"

    def start(self) -> None:
        """Brings the servers up, and a worker as an operator would."""
        self.services = embedded.start(self.home)
        self.environment = exported(self.services)
        self.environment.__enter__()
        os.environ["PREFECT_WORKER_QUERY_SECONDS"] = "2"
        with self.log.open("a") as log:
            command = [sys.executable, "-m", "pipelines.cli", "worker", "--home", str(self.home)]
            self.worker = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)

    def stop(self) -> None:
        """Kills the worker with all that it runs, and stops the servers."""
        for process in (*psutil.Process(self.worker.pid).children(recursive=True), self.worker):
            process.kill()
        self.worker.wait()
        self.environment.__exit__(None, None, None)
        embedded.stop(self.services)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Servers and a worker of one test."""
    for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BETALINE_HOME", str(tmp_path))
    site = Site(tmp_path)
    site.start()
    yield site
    site.stop()
    shutil.rmtree(ray_folder(tmp_path), ignore_errors=True)


def leave(folder: Path, seed: int, brightest: int = 120) -> None:
    """A file of images in a folder."""
    pixels = np.random.default_rng(seed).integers(0, brightest, (400, 8, 8)).astype(np.uint8)
    np.savez(folder / "images.npz", images=pixels)


def command(site: Site, *arguments: str) -> dict[str, Any]:
    """What a command says, as JSON."""
    done = betaline(*arguments, "--json", home=site.home, limit_seconds=LIMIT_SECONDS)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_data_that_lands_is_trained_on_and_a_person_decides_after_a_restart(site: Site, tiny: RunConfig) -> None:
    """A watched folder starts an ingest, whose event starts a training, whose promotion waits for a person; all servers and
    the worker are ended meanwhile; the person's yes moves the alias. Then drift starts a training.
    """
    folder = site.home / "incoming"
    folder.mkdir()
    landing = IngestConfig(source=str(folder / "images.npz"), name="landing")
    request = TrainRequest(dataset="landing", name="landing", config=tiny, alias="champion", approve=True)
    waiting = promotion_of_landed_data(landing, request)
    site.stop()
    site.start()
    decide(site, waiting)
    drift_trains(site, landing, request)


def promotion_of_landed_data(landing: IngestConfig, request: TrainRequest) -> Waiting:
    """Data that lands is ingested and trained on; returns the promotion that waits for a person."""
    from pipelines.models import registry
    from pipelines.operating import approvals, deployments

    leave(Path(landing.source).parent, seed=0)
    made = deployments.schedule("watch", landing, every_seconds=30)
    assert (made.flow, made.when) == ("watch", "every 30 s")
    made = deployments.schedule("train", request, on="data")
    assert (made.when, made.is_active) == ("on data of landing", True)
    (waiting,) = wait_for(approvals.waiting, LIMIT_SECONDS, "a promotion that waits for a person")
    assert (waiting.name, waiting.alias) == ("landing", "champion")
    assert registry.find("landing", "champion") is None
    deployments.pause("watch", "landing")
    return waiting


def decide(site: Site, waiting: Waiting) -> None:
    """The commands show the promotion, and a person's yes moves the alias."""
    from pipelines.models import registry
    from pipelines.operating import approvals

    assert [one["flow_run"] for one in command(site, "approve")["waiting"]] == [waiting.flow_run]
    waits = {run["name"]: run["waits_for"] for run in command(site, "status")["runs"]}
    assert waits[waiting.flow_run] == f"a person's decision: betaline approve {waiting.flow_run}"
    assert command(site, "approve", waiting.run, "--by", "Ada", "--reason", "the figures are good")["approved"]
    version = wait_for(lambda: registry.find("landing", "champion"), LIMIT_SECONDS, "the alias to move")
    assert version.run_id
    tags = registry.tags_of(version)
    assert tags[f"{registry.REASON}.champion"].endswith("Ada said yes: the figures are good")
    assert approvals.waiting() == []


def drift_trains(site: Site, landing: IngestConfig, request: TrainRequest) -> None:
    """Fresh data that is like the old starts nothing; data that is brighter starts a training."""
    from pipelines.flows.drift import drift
    from pipelines.flows.ingest import ingest
    from pipelines.operating import deployments

    again = request.model_copy(update={"alias": None, "approve": False, "dataset": "fresh"})
    assert deployments.schedule("train", again, on="drift").when == "on drift of landing"
    fresh, folder = landing.model_copy(update={"name": "fresh"}), Path(landing.source).parent
    leave(folder, seed=1)
    run_flow(ingest, fresh)
    assert not run_flow(drift, DriftRequest(name="landing", dataset="fresh")).drifted
    leave(folder, seed=2, brightest=256)
    run_flow(ingest, fresh)
    result = command(site, "drift", "landing", "fresh")
    assert result["drifted"]
    assert result["findings"][2]["drifted"]
    wait_for(lambda: trained_by_event("landing"), LIMIT_SECONDS, "drift to start a training that ends")


def trained_by_event(name: str) -> bool:
    """Whether a run that an event has started is done."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name(f"train/{name}")
        runs = [run for run in client.read_flow_runs() if run.deployment_id == deployment.id]
    fresh = [run for run in runs if run.parameters["request"]["dataset"] == "fresh"]
    return any(run.state is not None and run.state.is_completed() for run in fresh)
