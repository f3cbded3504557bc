"""Checkpoints whose writer was killed, and checkpoints that have changed since they were written."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.cluster.runs import Event
from pipelines.data.ingest import IngestConfig, ingest
from pipelines.flows.train import train
from pipelines.services import Services
from tests.faults.conftest import STEPS, checkpoints_of, flip_a_byte
from tests.pipelines.conftest import run_flow
from tests.processes import kill_driver, ray_processes, wait_until
from tests.trainings import INTERVAL, STEPS_PER_EPOCH, steps_of, weights_of

pytestmark = [pytest.mark.servers("faults"), pytest.mark.slow, pytest.mark.timeout(1800)]
SCRIPT = Path(__file__).with_name("killed_in_save.py")


@pytest.mark.ci
def test_training_killed_while_it_saves_goes_on_from_the_checkpoint_before(tmp_path: Path, measured: Any) -> None:
    """SIGKILL while one file after another of a checkpoint is written: the newest that was committed loads, nothing of the
    others stays, and the weights are bit-equal.
    """
    dataset = ingest(IngestConfig(source="sklearn:digits", name="d"), str(tmp_path), map)
    command = [sys.executable, str(SCRIPT), dataset.uri, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    attempts = json.loads(done.stdout)
    torn = sum(attempt["torn"] for attempt in attempts)
    assert torn >= 4, "most kills fell into a write"
    assert [attempt["resumed"] for attempt in attempts] == [attempt["newest"] for attempt in attempts]
    for folder in ("killed", "unbroken"):
        files = [path for path in (tmp_path / folder / "checkpoints").rglob("*") if path.is_file()]
        assert len(files) == 3 * 6, "three checkpoints of six files"
    weights = [(tmp_path / folder / "model" / "weights.safetensors").read_bytes() for folder in ("killed", "unbroken")]
    assert weights[0] == weights[1]
    measured(
        "killed while a checkpoint is being written",
        redone="the step whose checkpoint was not finished",
        kept=f"every committed checkpoint, {torn} writes torn of {len(attempts) - 1} kills; weights bit-equal",
    )


def test_training_passes_over_a_flipped_checkpoint(
    services: Services,
    home: Path,
    asked: Any,
    unbroken: Callable[[int], bytes],
    measured: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A byte of the newest checkpoint changes while nobody trains: the log names the file, the one before is taken, and a
    training that allows no failure of its workers ends with bit-equal weights.
    """
    flipped: list[Path] = []

    def kill_and_flip(kind: str, event: Event) -> None:
        if steps_of(event) >= STEPS_PER_EPOCH and not flipped and kill_driver(services, "train"):
            wait_until(lambda: not ray_processes(services, "RayTrainWorker"), what="its workers are gone")
            newest = max(checkpoints_of(home, "flipped").items())[1]
            flipped.append(newest / "model.safetensors")
            flip_a_byte(flipped[0])

    with caplog.at_level("INFO"):
        result = run_flow(train, asked(1, {"scaling.max_failures": 0}), run="flipped", listener=kill_and_flip)
    assert f"{flipped[0]} is damaged: expected" in caplog.text
    assert "falling back to the checkpoint before it" in caplog.text
    assert result.resumed_from_step == int(flipped[0].parent.name.removeprefix("step-")) - INTERVAL
    assert weights_of(result) == unbroken(1)
    measured(
        "a byte flipped in a checkpoint",
        redone=f"at most {2 * INTERVAL} of {STEPS:,} steps",
        kept="the checkpoint before it; no restart of a worker, weights bit-equal",
    )
