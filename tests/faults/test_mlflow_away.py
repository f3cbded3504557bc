"""MLflow goes away while a model trains: nothing waits for it, and in the end it has every point of every curve."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipelines.cluster.runs import Event
from pipelines.data.ingest import IngestResult
from pipelines.flows.train import train
from pipelines.models import tracking
from pipelines.services import Services, commands
from pipelines.stages.train import TrainRequest
from tests.faults.table import Measured
from tests.pipelines.conftest import run_flow
from tests.servers import Server
from vae.config import RunConfig, override
from vae.training.hooks import EpochReport

pytestmark = [pytest.mark.servers("faults"), pytest.mark.slow, pytest.mark.timeout(600)]
STALL_SECONDS = 5.0
"""So much longer than its longest without a fault may an epoch take at most: the machine may have other things to do."""

Curves = dict[str, list[tuple[int, float]]]
Trained = tuple[tuple[EpochReport, ...], Curves]


def killed(server: Server) -> Callable[[], None]:
    """SIGKILL; returns what starts it again."""
    server.kill()
    return server.start


def stopped(server: Server) -> Callable[[], None]:
    """SIGSTOP; returns what lets it go on."""
    server.pause()
    return server.resume


@pytest.fixture
def mlflow(services: Services, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server of this test's own, to which its runs are logged."""
    shutil.copytree(home / "secrets", tmp_path / "secrets")  # jobs have their login from the head
    ports = commands.choose_ports(tmp_path)
    with ExitStack() as until_the_end:
        server = Server(commands.mlflow(tmp_path, ports), tmp_path, until_the_end)
        until_the_end.callback(server.resume)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{ports.mlflow}")
        yield server


@pytest.fixture(scope="module", params=[8, 60])
def outage_seconds(request: pytest.FixtureRequest) -> int:
    """How long MLflow is away."""
    return request.param


@pytest.fixture(scope="module")
def asked(digits: IngestResult, tiny: RunConfig, outage_seconds: int) -> TrainRequest:
    """A training that takes longer than the outage, with many small steps."""
    longer = {"training.epochs": 4 * outage_seconds, "training.batch_size": 8, "training.patience_epochs": None}
    return TrainRequest(dataset="digits", name="curves", config=override(tiny, longer))


@pytest.fixture(scope="module")
def undisturbed(services: Services, asked: TrainRequest, outage_seconds: int) -> Trained:
    """The same training with MLflow there all the time."""
    return trained(asked, f"curves-{outage_seconds}")


def trained(request: TrainRequest, run: str, listener: Callable[[str, Event], None] | None = None) -> Trained:
    """The epochs of a training, and its curves as MLflow has them, with what it has twice."""
    result = run_flow(train, request, run=run, listener=listener)
    client, run_id = MlflowClient(), result.mlflow_run_id
    histories = {name: client.get_metric_history(run_id, name) for name in tracking.EPOCH_METRICS}
    return result.history, {name: sorted((m.step, m.value) for m in found) for name, found in histories.items()}


def longest_epoch_seconds(history: tuple[EpochReport, ...]) -> float:
    """The most that an epoch took, with all that happened around it."""
    return max(after - before for before, after in pairwise(epoch.elapsed_seconds for epoch in history))


@pytest.mark.parametrize("outage", [killed, stopped])
def test_training_outlives_mlflow(
    undisturbed: Trained,
    asked: TrainRequest,
    outage_seconds: int,
    mlflow: Server,
    measured: Measured,
    outage: Callable[[Server], Callable[[], None]],
) -> None:
    """Training goes on meanwhile without a stall, and MLflow has the curves of an undisturbed run, each point once."""
    is_back, during, epochs = threading.Event(), set[int](), asked.config.training.epochs
    return_of_mlflow: threading.Timer | None = None

    def take_away(kind: str, event: Event) -> None:
        nonlocal return_of_mlflow
        if event.kind != "progress" or event.fields["part"] != "training":
            return
        if return_of_mlflow is None:
            bring_back = outage(mlflow)
            return_of_mlflow = threading.Timer(outage_seconds, lambda: (is_back.set(), bring_back()))
            return_of_mlflow.start()
        elif not is_back.is_set():
            during.add(int(epochs * event.fields["done"] / event.fields["total"]))

    history, curves = trained(asked, f"curves-{outage_seconds}-{outage.__name__}", take_away)
    assert return_of_mlflow is not None
    return_of_mlflow.join()
    assert len(during) > epochs // 4, "training went on during the outage"
    stall = longest_epoch_seconds(history) - longest_epoch_seconds(undisturbed[0])
    assert stall < STALL_SECONDS
    assert [step for step, _ in curves["beta"]] == list(range(1, epochs + 1))
    assert curves == undisturbed[1]
    measured(
        "MLflow down or stopped for 60 s",
        kept=f"{outage.__name__} for {outage_seconds} s: {len(during)} epochs meanwhile, stalled {max(0, stall):.1f} s; "
        f"all {sum(map(len, curves.values()))} points as undisturbed, each once",
    )
