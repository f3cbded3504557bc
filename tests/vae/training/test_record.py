"""The rule by which an epoch ships, and when a run stops: on histories made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from vae.config import RunConfig, override
from vae.metrics.likelihood import Bound
from vae.training.record import EpochParts, Record
from vae.training.validation import Validated

PARTS = EpochParts(20.0, 1.0, 1.0, 1e4, 1.0)
Epoch = tuple[float, float, float]
"""Validation distortion, rate and objective, in nats."""


def recorded(epochs: Sequence[Epoch], per_epoch: int = 10, total: int = 1000, **changes: Any) -> Record:
    """A record of some epochs, each of ten steps."""
    record = Record(override(RunConfig(), {"training.patience_epochs": None, **changes}), total)
    for number, (distortion, rate, objective) in enumerate(epochs):
        bound = Bound(100, distortion, rate, distortion + rate, None, (1.0,), (1.0,))
        record.add((number + 1) * per_epoch, number, Validated(bound, objective), PARTS)
    return record


def best_epochs(record: Record) -> list[int]:
    return [report.best_epoch for report in record.history]


def test_objective_chooses_and_not_the_bound() -> None:
    """With a small β the epoch of the lowest bound at β = 1 is one of the first; the lowest loss ships."""
    epochs = [(27.0, 0.1, 27.0), (20.0, 10.0, 21.5), (17.0, 12.0, 18.8), (17.5, 13.0, 19.4)]
    record = recorded(epochs, **{"objective.beta": 0.15})
    assert best_epochs(record) == [1, 2, 3, 3]
    assert [report.best_objective for report in record.history] == [27.0, 21.5, 18.8, 18.8]


@pytest.mark.parametrize("controller", [{"kind": "warmup", "steps": 25}, {"kind": "warmup", "steps": 0.025}])
def test_epochs_before_beta_has_settled_do_not_ship(controller: dict[str, Any]) -> None:
    """A warm-up of 25 steps, or of a fortieth of 1,000, ends in the third epoch: the first two count no more from then."""
    epochs = [(20.0, 1.0, 21.0), (19.0, 1.0, 20.0), (24.0, 1.0, 25.0), (23.0, 1.0, 24.0)]
    assert best_epochs(recorded(epochs, **{"objective.controller": controller})) == [1, 2, 3, 4]


@pytest.mark.parametrize("kind", ["control", "capacity"])
def test_held_rate_chooses_the_best_bound_that_holds_it(kind: str) -> None:
    """Epochs near the rate come before all others, whatever their loss; of those the best bound wins."""
    held = {"control": {"rate": 16.0}, "capacity": {"capacity": 16.0, "steps": 5}}[kind]
    epochs = [(24.0, 4.0, 1.0), (16.0, 16.1, 9.0), (13.0, 15.8, 9.0), (12.0, 20.0, 0.0), (14.0, 16.0, 9.0)]
    record = recorded(epochs, **{"objective.controller": {"kind": kind, **held}})
    assert best_epochs(record) == [1, 2, 3, 3, 3]
    assert record.best is not None
    assert record.best.constraint_gap == 0


def test_nearest_epoch_ships_where_none_holds_the_constraint() -> None:
    """Never within the tolerance of 3 % of 16 nats: the one that comes nearest."""
    record = recorded([(20.0, 5.0, 1.0), (15.0, 12.0, 5.0), (10.0, 22.0, 3.0)], **_control())
    assert best_epochs(record) == [1, 2, 2]
    assert record.history[-1].constraint_gap == pytest.approx(22.0 - 16.0 * 1.03)


def test_reached_distortion_is_a_constraint_from_above() -> None:
    """GECO ships the least rate among the epochs 2.5 % or more below the target distortion, not the best bound."""
    epochs = [(18.0, 5.0, 0.0), (16.4, 8.0, 0.0), (12.0, 10.0, 0.0), (16.5, 7.0, 0.0), (16.7, 5.0, 0.0)]
    record = recorded(epochs, **{"objective.controller": {"kind": "geco", "distortion": 17.0}})
    assert best_epochs(record) == [1, 2, 2, 4, 4]


def test_patience_counts_from_the_end_of_the_schedule() -> None:
    """β settles in epoch 5, the best since is that one: a patience of 3 ends the run after epoch 8, not after epoch 4."""
    changes = {"objective.controller": {"kind": "warmup", "steps": 50}, "training.patience_epochs": 3}
    record = recorded([(20.0 + n, 1.0, 21.0 + n) for n in range(9)], **changes)
    assert [report.is_last for report in record.history] == [False] * 7 + [True] * 2


def test_patience_waits_for_the_learning_rate() -> None:
    """No epoch counts while the learning rate still rises."""
    changes = {"training.warmup_steps": 50, "training.patience_epochs": 3}
    record = recorded([(20.0 + n, 1.0, 21.0 + n) for n in range(9)], **changes)
    assert [report.is_last for report in record.history] == [False] * 6 + [True] * 3


def test_patience_waits_for_the_constraint() -> None:
    """A run that has never held its rate goes on to its end; one that has held it counts the epochs that hold it."""
    changes = {**_control(), "training.patience_epochs": 2}
    away, held = (20.0, 5.0, 1.0), (15.0, 16.0, 1.0)
    assert not any(report.is_last for report in recorded([away] * 9, **changes).history)
    record = recorded([away] * 5 + [held, held, away, held], **changes)
    assert [report.is_last for report in record.history] == [False] * 8 + [True]


def _control() -> dict[str, Any]:
    return {"objective.controller": {"kind": "control", "rate": 16.0}}
