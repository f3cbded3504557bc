"""Exact resume: a run that is cut off anywhere and taken up again is the uninterrupted one, bit for bit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.vae.training.runs import BASE, PER_EPOCH, ROWS, STEPS, Killed, assert_same_run, kill_after, train
from vae.config import override
from vae.data.batches import Batch
from vae.data.parquet import Dataset
from vae.training import epochs
from vae.training.hooks import EpochReport, Hooks
from vae.training.loop import Training, unfinished

VARIANTS = {
    "resident": {},
    "streaming": {"training.feed": "streaming", "training.memory_budget_bytes": 4 * 64 * 60},
    "averaged, conditional, clipped": {
        "training.ema_decay": 0.9,
        "model.condition": "class",
        "training.gradient_clip_norm": 1.0,
        "objective.controller": {"kind": "warmup", "steps": 10},
        "objective.beta": 2.0,
    },
    "conv, learned sigma, decay": {
        "model.encoder": {"kind": "conv", "channels": [4], "hidden": 8, "residual_blocks": 1},
        "model.likelihood": {"kind": "gaussian"},
        "training.weight_decay": 0.1,
        "training.learning_rate_schedule": "cosine",
        "training.warmup_steps": 3,
    },
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(
    ("checkpoint_steps", "kills"),
    [(3, range(STEPS)), (PER_EPOCH, [step for step in range(STEPS) if (step + 1) % PER_EPOCH < 3])],
)
def test_resume_repeats_the_unbroken_run(
    small: Dataset, tmp_path: Path, variant: str, checkpoint_steps: int, kills: Sequence[int]
) -> None:
    """Killed at any step and resumed, a run has bit-equal weights and equal metrics, mid-epoch and at its seams."""
    config = override(BASE, {**VARIANTS[variant], "training.checkpoint_steps": checkpoint_steps})
    unbroken = train(config, small)
    for step in kills if variant == "resident" else kills[1::4]:
        kill_after(step, config, small, tmp_path / str(step))
        resumed = train(config, small, checkpoints=str(tmp_path / str(step)))
        assert resumed.resumed_from_step == step // checkpoint_steps * checkpoint_steps
        assert_same_run(resumed, unbroken)


def test_resume_repeats_the_unbroken_run_however_often(small: Dataset, tmp_path: Path) -> None:
    """A run that is killed again and again after each few steps still ends as if it never had been."""
    config = override(BASE, {"training.checkpoint_steps": 2, "training.ema_decay": 0.5})
    for _ in range(4):
        kill_after(5, config, small, tmp_path)
    assert max(tmp_path.glob("step-*")).name == "step-00000016"
    assert_same_run(train(config, small, checkpoints=str(tmp_path)), train(config, small))


def test_resume_of_a_finished_run_returns_it(small: Dataset, tmp_path: Path) -> None:
    """A finished run is not trained again: the same weights and history come back."""
    first = train(BASE, small, checkpoints=str(tmp_path))
    again = train(BASE, small, checkpoints=str(tmp_path))
    assert again.resumed_from_step == STEPS
    assert again.history == first.history
    assert_same_run(again, first)


def test_resume_passes_over_a_damaged_checkpoint(small: Dataset, tmp_path: Path) -> None:
    """With the newest checkpoint damaged the run goes on from the one before and ends bit-equal."""
    config = override(BASE, {"training.checkpoint_steps": 3})
    kill_after(14, config, small, tmp_path)
    path = tmp_path / "step-00000012" / "optimizer.safetensors"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)
    resumed = train(config, small, checkpoints=str(tmp_path))
    assert resumed.resumed_from_step == 9
    assert_same_run(resumed, train(config, small))


def test_resume_allows_other_checkpoint_intervals(small: Dataset, tmp_path: Path) -> None:
    """How often checkpoints are written, and the workers' failures allowed, are no part of what a run is."""
    kill_after(9, override(BASE, {"training.checkpoint_steps": 4}), small, tmp_path)
    other = override(BASE, {"training.checkpoint_steps": 5, "scaling.max_failures": 7})
    resumed = train(other, small, checkpoints=str(tmp_path))
    assert resumed.resumed_from_step == 8
    assert_same_run(resumed, train(BASE, small))


def test_hook_that_fails_leaves_a_run_that_resumes(small: Dataset, tmp_path: Path) -> None:
    """An error in a listener ends the run after the epoch's checkpoint; the next attempt goes on from there."""

    class Failing(Hooks):
        def on_epoch(self, report: EpochReport) -> None:
            if report.epoch == 2:
                raise Killed

    config = override(BASE, {"training.checkpoint_seconds": 0.0})
    with pytest.raises(Killed):
        train(config, small, checkpoints=str(tmp_path), hooks=Failing())
    resumed = train(config, small, checkpoints=str(tmp_path))
    assert resumed.resumed_from_step == 2 * PER_EPOCH
    assert_same_run(resumed, train(config, small))


@pytest.mark.parametrize("ema_decay", [None, 0.9])
@pytest.mark.parametrize("steps", [3, PER_EPOCH + 3])
def test_unfinished_run_is_looked_at_without_being_resumed(
    small: Dataset, tmp_path: Path, steps: int, ema_decay: float | None
) -> None:
    """It gives the best epoch's model as the resumed run has it; in the first epoch what that would be validated with."""
    config = override(BASE, {"training.checkpoint_steps": 1, "training.ema_decay": ema_decay})
    assert unfinished(config, small, str(tmp_path)) is None
    kill_after(steps, config, small, tmp_path)
    resumed = Training(config, small, checkpoints=str(tmp_path))
    assert resumed.resume() == steps
    found = unfinished(config, small, str(tmp_path))
    assert found is not None
    assert found.step == steps
    assert found.history == resumed.record.history
    expected = resumed.best_model() if found.history else resumed.shipped
    for name, value in expected.state_dict().items():
        assert torch.equal(found.model.state_dict()[name], value), name


def test_checkpoints_are_written_at_the_end_alone_by_default(small: Dataset, tmp_path: Path) -> None:
    """A run shorter than `checkpoint_seconds` writes its last state and nothing else."""
    train(BASE, small, checkpoints=str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == [f"step-{STEPS:08d}"]


def test_early_stopping_survives_a_resume(small: Dataset, tmp_path: Path) -> None:
    """Patience counts the epochs before the interruption too."""
    changes = {"training.epochs": 60, "training.learning_rate": 0.05, "model.encoder": {"kind": "mlp", "hidden": [64]}}
    config = override(BASE, {**changes, "training.batch_size": ROWS, "training.patience_epochs": 3})
    unbroken = train(config, small)
    often = override(config, {"training.checkpoint_steps": 1})
    kill_after(unbroken.best.epoch + 1, often, small, tmp_path)
    assert_same_run(train(often, small, checkpoints=str(tmp_path)), unbroken)


def test_notice_leaves_one_checkpoint_in_mid_epoch(digits: Dataset, tmp_path: Path) -> None:
    """A run that is told of a node that goes writes a checkpoint at the next beat, once, and trains on."""

    class Notice(Hooks):
        def is_leaving(self) -> bool:
            return training.steps_done >= 3

    training = Training(BASE, digits, checkpoints=str(tmp_path), hooks=Notice())
    written: list[int] = []
    inner = training.save

    def save(*, in_epoch: bool) -> None:
        written.append(training.steps_done)
        inner(in_epoch=in_epoch)

    training.save = save
    training.run()
    first, *others = written
    assert 3 <= first <= 12
    assert others == [training.total_steps]


def test_checkpoints_come_by_the_clock_in_a_long_epoch(
    digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are as far apart as asked for, and as a twentieth of the time allows; a run that goes on from one is exact."""
    config = override(BASE, {"training.checkpoint_seconds": 10.0, "training.batch_size": 8, "training.epochs": 1})
    now = 0.0
    monkeypatch.setattr(epochs.time, "monotonic", lambda: now)
    training = Training(config, digits, checkpoints=str(tmp_path))
    written: list[float] = []
    step, save = training.train_step, training.save

    def slow_step(batch: Batch) -> None:
        nonlocal now
        now += 1.0
        step(batch)

    def slow_save(*, in_epoch: bool) -> None:
        nonlocal now
        save(in_epoch=in_epoch)
        written.append(now)
        now += 1.0

    training.train_step, training.save = slow_step, slow_save
    training.run()
    gaps = np.diff([0.0, *written[:-1]])
    assert 10 <= gaps[0] <= 10 + 2 * epochs.BEAT_SECONDS
    assert all(20 <= gap <= 20 + 2 * epochs.BEAT_SECONDS for gap in gaps[1:])
