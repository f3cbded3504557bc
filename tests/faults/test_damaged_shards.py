"""Datasets that have changed since they were published."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from pipelines.cluster.runs import Event
from pipelines.data.ingest import IngestResult
from pipelines.flows.train import train
from tests.faults.conftest import flip_a_byte
from tests.pipelines.conftest import run_flow
from tests.trainings import STEPS_PER_EPOCH, steps_of
from vae.config import override
from vae.errors import CorruptData

pytestmark = [pytest.mark.servers("faults"), pytest.mark.slow, pytest.mark.ci, pytest.mark.timeout(1800)]


def cut_short(file: Path) -> None:
    """Takes the last byte away."""
    os.truncate(file, file.stat().st_size - 1)


@pytest.mark.parametrize(("damage", "found"), [(cut_short, "bytes, found"), (flip_a_byte, "SHA-256")])
def test_training_refuses_a_damaged_shard(
    home: Path, digits: IngestResult, asked: Any, tmp_path: Path, measured: Any, damage: Any, found: str
) -> None:
    """A shard that is a byte short, or another in one, is refused by its name before a step is trained."""
    copy = shutil.copytree(digits.uri, tmp_path / "digits")
    shard = next(copy.glob("train-*.parquet"))
    damage(shard)
    run, events, started = f"damaged-{damage.__name__}", list[Event](), time.monotonic()
    request = asked(1).model_copy(update={"dataset": str(copy)})
    with pytest.raises(CorruptData) as refused:
        run_flow(train, request, run=run, listener=lambda kind, event: events.append(event))
    assert str(shard) in str(refused.value)
    assert found in str(refused.value)
    told = [event.kind for event in events if event.kind != "progress"]
    assert told == ["report"], "where its page is, and nothing of a training"
    assert not (home / "runs" / run / "checkpoints").exists()
    measured(
        "a Parquet shard truncated or flipped",
        noticed_seconds=time.monotonic() - started,
        redone="nothing",
        kept=f"no step was trained on it: the shard is named, {'its size' if damage is cut_short else 'its hash'} is told",
    )


def test_training_that_streams_names_a_shard_that_is_damaged_on_the_way(
    home: Path, digits: IngestResult, asked: Any, tmp_path: Path
) -> None:
    """One of two ranks meets it in the middle of a run: every rank ends, and the error is the shard's, not Ray's."""
    copy = shutil.copytree(digits.uri, tmp_path / "digits")
    shard = next(copy.glob("train-*.parquet"))
    asked_for = asked(2)
    changes = {"training.feed": "streaming", "training.memory_budget_bytes": 30_000, "training.epochs": 30}
    config = override(asked_for.config, changes)

    damaged: list[Event] = []

    def damage(kind: str, event: Event) -> None:
        if steps_of(event) >= 2 * STEPS_PER_EPOCH and not damaged:
            damaged.append(event)
            content = bytearray(shard.read_bytes())
            content[100:-5000] = bytes(len(content) - 5100)
            shard.write_bytes(content)

    request = asked_for.model_copy(update={"dataset": str(copy), "config": config})
    with pytest.raises(CorruptData, match=str(shard)):
        run_flow(train, request, run="damaged-on-the-way", listener=damage)
