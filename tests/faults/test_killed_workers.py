"""Workers of a training that are killed or stopped."""

from __future__ import annotations

import signal
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipelines.cluster.runs import Event
from pipelines.flows.train import train
from pipelines.jobs.__main__ import LIMITS
from pipelines.services import Services
from pipelines.stages.train import TrainRequest, TrainResult
from tests.faults.conftest import STEPS, checkpoints_of
from tests.pipelines.conftest import run_flow
from tests.processes import ray_processes, wait_until
from tests.trainings import INTERVAL, STEPS_PER_EPOCH, steps_of, weights_of

pytestmark = [pytest.mark.servers("faults"), pytest.mark.slow, pytest.mark.timeout(1800)]
WORKER = "RayTrainWorker"


class Blow:
    """A signal to the last worker of a training in its third epoch, and what became of it."""

    worker: psutil.Process
    newest_step: int
    """Of the checkpoints that were committed when the worker had it."""
    ended: Future[float]
    """Seconds until its process was gone."""
    replaced: Future[float]
    """Seconds until another worker was there."""

    def __init__(self, services: Services, home: Path, number: signal.Signals) -> None:
        self.services, self.home, self.number = services, home, number

    def train(self, request: TrainRequest, run: str) -> TrainResult:
        """What the training comes to."""
        with ThreadPoolExecutor(2) as watch:

            def listen(kind: str, event: Event) -> None:
                if steps_of(event) < 2 * STEPS_PER_EPOCH or hasattr(self, "worker"):
                    return
                workers = set(ray_processes(self.services, WORKER))
                self.worker = max(workers, key=lambda worker: worker.create_time())
                self.worker.send_signal(self.number)
                self.newest_step = max(checkpoints_of(self.home, run))
                self.ended = watch.submit(wait_until, lambda: not self.worker.is_running(), 300)
                self.replaced = watch.submit(
                    wait_until, lambda: set(ray_processes(self.services, WORKER)) - workers, 300
                )

            return run_flow(train, request, run=run, listener=listen)


@pytest.mark.parametrize("num_workers", [1, 2])
def test_training_whose_worker_is_killed_goes_on(
    services: Services, home: Path, asked: Any, unbroken: Any, measured: Any, num_workers: int
) -> None:
    """SIGKILL of a worker in mid-epoch: less than a checkpoint's interval is trained again, to bit-equal weights."""
    blow = Blow(services, home, signal.SIGKILL)
    result = blow.train(asked(num_workers), f"killed-worker-{num_workers}")
    assert result.resumed_from_step >= blow.newest_step > 0
    assert result.resumed_from_step % 718 != 0, "it went on in mid-epoch"
    assert weights_of(result) == unbroken(num_workers)
    measured(
        "SIGKILL of a training worker mid-epoch",
        noticed_seconds=blow.replaced.result(),
        redone=f"less than {INTERVAL} of {STEPS:,} steps, {num_workers} worker{'s' if num_workers > 1 else ''}",
        kept="weights bit-equal",
    )


def test_training_whose_worker_is_stopped_goes_on(
    services: Services, home: Path, asked: Any, unbroken: Any, measured: Any
) -> None:
    """SIGSTOP of one of two workers: it is noticed in time, ended and replaced, and the weights are bit-equal."""
    blow = Blow(services, home, signal.SIGSTOP)
    result = blow.train(asked(2), "stopped-worker")
    limit_seconds = float(LIMITS["RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S"])
    assert limit_seconds / 2 < blow.ended.result() < limit_seconds + 60
    assert result.resumed_from_step >= blow.newest_step > 0
    assert weights_of(result) == unbroken(2)
    measured(
        "SIGSTOP of a worker",
        noticed_seconds=blow.ended.result(),
        redone=f"less than {INTERVAL} of {STEPS:,} steps",
        kept=f"weights bit-equal; the stopped process is ended (limit {limit_seconds:.0f} s, then Ray ends its group)",
    )
