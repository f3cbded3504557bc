"""Progress of a search from what is new of its trials.

A trial of Ray Tune is a stack of lanes, or one model; each lane has events of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vae import progress

if TYPE_CHECKING:
    from tuning.frontier import Trial


@dataclass(frozen=True)
class Stack:
    """A trial of Ray Tune, with the last event of each of its lanes."""

    trial_id: str
    """Id of the trial."""
    lanes: tuple[Trial, ...]
    """Lanes of the trial."""

    @property
    def parameters(self) -> dict[str, Any]:
        """Parameters that all lanes have in common."""
        first, *others = (lane.parameters for lane in self.lanes)
        return {name: value for name, value in first.items() if all(other.get(name) == value for other in others)}

    @property
    def num_alive(self) -> int:
        """Number of lanes that still train."""
        return sum(lane.status == "running" for lane in self.lanes)

    @property
    def status(self) -> str:
        """`running` while a lane is; then the best status of any lane."""
        statuses = {lane.status for lane in self.lanes}
        return next(one for one in ("running", "finished", "stopped", "failed") if one in statuses)

    @property
    def epochs(self) -> int:
        """Epochs of the foremost lane."""
        return self._foremost.epochs

    @property
    def negative_bound(self) -> float | None:
        """Lowest negative bound of the lanes, in nats per example; None before the first epoch."""
        return min((lane.negative_bound for lane in self.lanes if lane.negative_bound is not None), default=None)

    @property
    def steps_per_second(self) -> float | None:
        """Steps per second of the whole stack, whose lanes step together; None before the first epoch."""
        return self._foremost.steps_per_second

    @property
    def _foremost(self) -> Trial:
        return max(self.lanes, key=lambda lane: lane.epochs)


class SearchProgress:
    """The trials of a search, kept up by what is new of their lanes.

    Args:
        num_trials: Number of trials of the search.
        epochs: Largest number of epochs that a trial may train.
    """

    def __init__(self, num_trials: int, epochs: int) -> None:
        self.num_trials, self.epochs = num_trials, epochs
        self._stacks: dict[str, dict[str, Trial]] = {}

    def take(self, lane: Trial) -> None:
        """Takes in what is new of a lane."""
        self._stacks.setdefault(lane.trial_id.partition(".")[0], {})[lane.trial_id] = lane

    @property
    def stacks(self) -> list[Stack]:
        """Trials that have begun, in that order."""
        return [Stack(trial_id, tuple(lanes.values())) for trial_id, lanes in self._stacks.items()]

    def report(self) -> None:
        """Reports the epochs done of those of all trials; a trial that has ended has none left."""
        stacks = self.stacks
        running = [stack for stack in stacks if stack.status == "running"]
        ended, total = len(stacks) - len(running), max(self.num_trials, len(stacks))
        done = ended * self.epochs + sum(stack.epochs for stack in running)
        note = f"{ended} of {total} trials done, {len(running)} running"
        progress.report("trials", done, total * self.epochs, "epochs", note)
