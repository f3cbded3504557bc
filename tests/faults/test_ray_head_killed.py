"""The Ray head is killed under a training, and all of the cluster with it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prefect.client.schemas.objects import StateType

from pipelines import services as embedded
from pipelines.cluster import resources as cluster
from pipelines.cluster.runs import Event
from pipelines.data.ingest import IngestResult
from pipelines.flows.train import train
from pipelines.services import Services, commands, process
from pipelines.stages.train import TrainRequest, TrainResult
from tests.faults.table import Measured
from tests.pipelines.conftest import run_flow
from tests.servers import kill
from tests.trainings import STEPS_PER_EPOCH, steps_of, weights_of
from vae.config import RunConfig, override

pytestmark = [pytest.mark.servers("faults"), pytest.mark.slow, pytest.mark.timeout(900)]
ROW = "the Ray head killed"
CHECKPOINT_STEPS = 200

Head = Callable[[], Services]
"""Starts the head, also once more after it was killed, as `betaline up` does."""


@pytest.fixture
def head(services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Head]:
    """A Ray head of this test's own in a home of its own; Prefect and MLflow are the session's."""

    def start() -> Services:
        return embedded.start(tmp_path, names=("ray",), num_cpus=2)

    own = start().environment()
    for name in ("BETALINE_HOME", "RAY_ADDRESS", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.setenv(name, own[name])
    yield start
    left = embedded.read(tmp_path)
    assert left is not None
    embedded.stop(left)
    shutil.rmtree(commands.ray_folder(tmp_path))


@pytest.fixture(scope="module")
def asked(digits: IngestResult, tiny: RunConfig) -> TrainRequest:
    """A training with a checkpoint every few steps."""
    often = {"training.epochs": 8, "training.batch_size": 4, "training.checkpoint_steps": CHECKPOINT_STEPS}
    return TrainRequest(dataset=digits.uri, name="digits", config=override(tiny, often))


@pytest.fixture(scope="module")
def undisturbed(services: Services, asked: TrainRequest) -> bytes:
    """The weights of the same training on a head that lives."""
    return weights_of(run_flow(train, asked, run="head-lives"))


class Killer:
    """A listener that kills the head once, in a training's third epoch.

    Args:
        home: Of the head.
        then: What to do at once afterwards.
    """

    def __init__(self, home: Path, then: Callable[[], object] = lambda: None) -> None:
        self.home = home
        self.then = then
        self.killed_at: float | None = None
        self.steps = 0

    def __call__(self, kind: str, event: Event) -> None:
        if self.killed_at is None and steps_of(event) >= 3 * STEPS_PER_EPOCH:
            running = embedded.read(self.home)
            assert running is not None
            self.steps = steps_of(event)
            self.killed_at = time.monotonic()
            kill(*process.tree(running.processes[0]))
            self.then()


def test_training_goes_on_by_itself_on_the_head_that_comes_back(
    undisturbed: bytes, asked: TrainRequest, head: Head, tmp_path: Path, measured: Measured
) -> None:
    """The flow run that was watching tries again, finds a cluster that knows nothing, and resumes to equal weights."""
    killer = Killer(tmp_path, then=head)
    found = run_flow(train, asked, run="head-back", listener=killer)
    assert killer.killed_at is not None
    assert found.resumed_from_step > 0
    assert weights_of(found) == undisturbed
    measured(ROW, redone=redone(killer, found), kept="the flow run goes on by itself, weights bit-equal")


def test_training_fails_with_the_head_and_resumes_on_a_new_one(
    undisturbed: bytes,
    asked: TrainRequest,
    head: Head,
    tmp_path: Path,
    measured: Measured,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A head that stays away fails the flow run in words; the same run on another head resumes to equal weights."""
    monkeypatch.setattr(cluster, "BACK_OFF_SECONDS", (0.2, 0.5, 1.0, 2.0))
    killer = Killer(tmp_path)
    state = run_flow(train, asked, run="head-gone", listener=killer, return_state=True)
    assert killer.killed_at is not None
    noticed_seconds = time.monotonic() - killer.killed_at
    assert state.type == StateType.FAILED
    assert "the same command attaches to it again" in state.message
    head()
    found = run_flow(train, asked, run="head-gone")
    assert found.resumed_from_step > 0
    assert weights_of(found) == undisturbed
    measured(
        ROW,
        noticed_seconds=noticed_seconds,
        redone=redone(killer, found),
        kept="the flow run is failed; the same run on a new cluster has weights bit-equal",
    )


def redone(killer: Killer, found: TrainResult) -> str:
    """What was trained twice, as far as was seen."""
    return f"{max(0, killer.steps - found.resumed_from_step)} of {found.history[-1].step} steps"
