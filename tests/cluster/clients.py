"""Jobs on a cluster that this process reaches by address and token alone, and faults that strike them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest
from pydantic import BaseModel

from pipelines.cluster.launch import Submission, run_job
from pipelines.cluster.runs import Event
from pipelines.data.sources import IngestConfig
from pipelines.stages.train import TrainRequest
from tests.cluster.nodes import Head
from tests.trainings import steps_of
from vae.config import RunConfig


class Follower(Protocol):
    """What follows a job."""

    def on_event(self, event: Event) -> None: ...
    def on_log(self, line: str) -> None: ...


@dataclass(frozen=True)
class Client:
    """A submitter of jobs, as flows are."""

    head: Head
    home: Path
    """Home on a disk that all nodes share."""
    mlflow_url: str
    """Address of the MLflow server, as the head reaches it."""

    def ingest_digits(self) -> None:
        """Makes the dataset `digits`."""
        self._run("ingest", IngestConfig(source="sklearn:digits", name="digits"), "ingest-digits")

    def train(self, config: RunConfig, name: str, fault: Follower | None = None) -> dict[str, Any]:
        """Trains on `digits`, and lets a fault strike."""
        return self._run("train", TrainRequest(dataset="digits", name="digits", config=config), name, fault)

    def _run(self, kind: str, request: BaseModel, name: str, fault: Follower | None = None) -> dict[str, Any]:
        spec = {"home": str(self.home), "identity": name, "request": request.model_dump(mode="json")}
        asked = Submission(
            kind=kind,
            spec=spec,
            identity=name,
            home=str(self.home),
            environment={"MLFLOW_TRACKING_URI": self.mlflow_url},
        )
        with pytest.MonkeyPatch.context() as patch:
            for variable, value in self.head.environment.items():
                patch.setenv(variable, value)
            if fault is None:
                return run_job(asked, lambda event: None, lambda line: None)
            return run_job(asked, fault.on_event, fault.on_log)


class Fault:
    """A loss that strikes a training at a step, and is made up for once the job's log says that it was noticed.

    Args:
        strike: Damages the cluster.
        at_step: Step of the training.
        word: Text of the job's log when the loss is noticed.
        make_up: Does what a supervisor or an operator would do then.
    """

    def __init__(
        self, strike: Callable[[], None], *, at_step: int, word: str, make_up: Callable[[], object] = lambda: None
    ) -> None:
        self.strike, self.at_step, self.word, self.make_up = strike, at_step, word, make_up
        self.step = 0
        """Last reported step before the loss was noticed; reports under way still arrive after the strike."""
        self.struck_at: float | None = None
        self.noticed_seconds: float | None = None
        self.lines: list[str] = []

    def on_event(self, event: Event) -> None:
        if event.kind != "progress" or self.noticed_seconds is not None:
            return
        self.step = max(self.step, steps_of(event))
        if self.struck_at is None and self.step >= self.at_step:
            self.strike()
            self.struck_at = time.monotonic()

    def on_log(self, line: str) -> None:
        self.lines.append(line)
        if self.struck_at is not None and self.noticed_seconds is None and self.word in line:
            self.noticed_seconds = time.monotonic() - self.struck_at
            self.make_up()

    def redone(self, result: dict[str, Any]) -> str:
        """Returns how many steps a training had to repeat, after a check that they lie between two checkpoints."""
        interval, last = result["config"]["training"]["checkpoint_steps"], result["history"][-1]["step"]
        assert self.step - result["resumed_from_step"] <= interval
        return f"at most {interval} of {last} steps"
