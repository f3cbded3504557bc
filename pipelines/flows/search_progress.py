"""Progress of a search from the events of its job, for the terminal and for Prefect.

A trial of Ray Tune is a stack of lanes, or one model; each lane has events of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import Any

from pipelines.cluster.runs import Event
from pipelines.stages.tune import SearchPlan
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
    def seconds_per_epoch(self) -> float | None:
        """Seconds per epoch, validation included; None before the first epoch."""
        lane = self._foremost
        return lane.steps / lane.epochs / lane.steps_per_second if lane.epochs and lane.steps_per_second else None

    @property
    def _foremost(self) -> Trial:
        return max(self.lanes, key=lambda lane: lane.epochs)


class SearchProgress:
    """Progress of a search, kept up by its events."""

    def __init__(self) -> None:
        self.plan: SearchPlan | None = None
        self._stacks: dict[str, dict[str, Trial]] = {}

    def take(self, event: Event) -> None:
        """Takes in an event; events of other kinds change nothing."""
        match event.kind:
            case "search":
                self.plan = SearchPlan(**event.fields)
            case "trial":
                lane = Trial(**event.fields)
                self._stacks.setdefault(lane.trial_id.partition(".")[0], {})[lane.trial_id] = lane

    @property
    def stacks(self) -> list[Stack]:
        """Trials that have begun, in that order."""
        return [Stack(trial_id, tuple(lanes.values())) for trial_id, lanes in self._stacks.items()]

    @property
    def num_running(self) -> int:
        """Number of trials that train."""
        return sum(stack.status == "running" for stack in self.stacks)

    @property
    def num_to_come(self) -> int:
        """Number of trials that have not begun; 0 before the search is planned."""
        return max(0, self.plan.trials - len(self._stacks)) if self.plan else 0

    @property
    def share(self) -> float:
        """Share of all trials' epochs that are done, from 0 to 1; a trial that has ended has none left."""
        if self.plan is None:
            return 0.0
        done = sum(s.epochs / self.plan.epochs if s.status == "running" else 1.0 for s in self.stacks)
        return done / max(self.plan.trials, len(self._stacks))

    def seconds_left_of(self, stack: Stack) -> float | None:
        """Returns the seconds until a trial ends at its own speed; None if that is unknown or the trial has ended."""
        if self.plan is None or stack.seconds_per_epoch is None or stack.status != "running":
            return None
        return (self.plan.epochs - stack.epochs) * stack.seconds_per_epoch

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the search ends if no trial is stopped early; None before the first epoch.

        Trials to come are taken to be as long as the known ones.
        """
        durations = [stack.seconds_per_epoch for stack in self.stacks if stack.seconds_per_epoch is not None]
        if self.plan is None or not durations:
            return None
        whole = self.plan.epochs * fmean(durations)
        remaining = [self.seconds_left_of(stack) for stack in self.stacks if stack.status == "running"]
        running = [whole if seconds is None else seconds for seconds in remaining]
        return max([*running, (sum(running) + self.num_to_come * whole) / self.plan.at_once])
