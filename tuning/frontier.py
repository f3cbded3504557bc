"""What a search found: the trade between rate and distortion, and the trial to go on with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vae.errors import ClusterError


@dataclass(frozen=True)
class Trial:
    """One trial at its last epoch. Distortion, rate and bound are of the validation split, in nats per example.

    Not at the epoch of the lowest bound: for a small β that is one of the first, long before its trade is reached.
    """

    trial_id: str
    parameters: dict[str, Any]
    """What the search drew: dotted field to value, or to its label."""
    status: str
    """`finished`, `stopped` early by the scheduler, `running`, or `failed`."""
    epochs: int
    distortion: float | None = None
    rate: float | None = None
    negative_bound: float | None = None
    """Of the bound the trial was trained for, at β = 1, whatever β it was trained with."""
    active_units: int | None = None
    error: str | None = None


def select(trials: Sequence[Trial]) -> Trial:
    """The trial with the lowest bound at β = 1. Scoring by the loss it was trained with would drive β to 0.

    Raises:
        ClusterError: If no trial came to a result; says what the failed ones said.
    """
    # A trial that failed after a good epoch would fail again when it is trained to the end.
    scored = [trial for trial in trials if trial.negative_bound is not None and trial.status != "failed"]
    if not scored:
        reasons = sorted({trial.error or "no epoch was finished" for trial in trials})
        raise ClusterError(f"none of the {len(trials)} trials came to a result: {'; '.join(reasons)}")
    return min(scored, key=lambda trial: (trial.negative_bound, trial.trial_id))


def pareto(trials: Sequence[Trial]) -> list[Trial]:
    """The trials that no other beats in both rate and distortion, by increasing rate."""
    front: list[Trial] = []
    lowest = float("inf")
    for trial in sorted(
        (t for t in trials if t.rate is not None and t.distortion is not None),
        key=lambda t: (t.rate, t.distortion),
    ):
        assert trial.distortion is not None
        if trial.distortion < lowest:
            lowest = trial.distortion
            front.append(trial)
    return front
