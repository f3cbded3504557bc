"""How far a search is, from the events that its job tells: for the terminal, and for Prefect's UI.

A trial here is one of Ray Tune's: a stack of lanes, or one model. Each lane tells of itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import Any

from pipelines.cluster.runs import Event
from tuning.frontier import Trial


@dataclass(frozen=True)
class SearchPlan:
    """What a search is going to do, told before its first trial."""

    trials: int
    at_once: int
    """Trials that the cluster has room for."""
    epochs: int
    """The longest that a trial may train."""
    lanes: int
    """Of each trial; 1 where a trial is one model."""


@dataclass(frozen=True)
class Stack:
    """A trial and its lanes, as they told last."""

    trial_id: str
    lanes: tuple[Trial, ...]

    @property
    def parameters(self) -> dict[str, Any]:
        """What its lanes have in common."""
        first, *others = (lane.parameters for lane in self.lanes)
        return {name: value for name, value in first.items() if all(other.get(name) == value for other in others)}

    @property
    def num_alive(self) -> int:
        """Lanes that still train."""
        return sum(lane.status == "running" for lane in self.lanes)

    @property
    def status(self) -> str:
        """`running` while a lane is; else the best that became of one."""
        return next(
            status
            for status in ("running", "finished", "stopped", "failed")
            if any(lane.status == status for lane in self.lanes)
        )

    @property
    def epochs(self) -> int:
        """Of its foremost lane."""
        return self._foremost.epochs

    @property
    def negative_bound(self) -> float | None:
        """The lowest of its lanes, in nats per example."""
        return min((lane.negative_bound for lane in self.lanes if lane.negative_bound is not None), default=None)

    @property
    def steps_per_second(self) -> float | None:
        """Of the whole stack: its lanes take their steps together. None before the first epoch."""
        return self._foremost.steps_per_second

    @property
    def seconds_per_epoch(self) -> float | None:
        """Validation included; None before the first epoch."""
        lane = self._foremost
        return lane.steps / lane.epochs / lane.steps_per_second if lane.epochs and lane.steps_per_second else None

    @property
    def _foremost(self) -> Trial:
        return max(self.lanes, key=lambda lane: lane.epochs)


class SearchProgress:
    """Takes in a search's events, and tells how far it is."""

    def __init__(self) -> None:
        self.plan: SearchPlan | None = None
        self._stacks: dict[str, dict[str, Trial]] = {}

    def take(self, event: Event) -> None:
        """Takes in an event; those of other kinds change nothing."""
        match event.kind:
            case "search":
                self.plan = SearchPlan(**event.fields)
            case "trial":
                lane = Trial(**event.fields)
                self._stacks.setdefault(lane.trial_id.partition(".")[0], {})[lane.trial_id] = lane

    @property
    def stacks(self) -> list[Stack]:
        """In the order in which they began."""
        return [Stack(trial_id, tuple(lanes.values())) for trial_id, lanes in self._stacks.items()]

    @property
    def num_running(self) -> int:
        return sum(stack.status == "running" for stack in self.stacks)

    @property
    def num_to_come(self) -> int:
        return max(0, self.plan.trials - len(self._stacks)) if self.plan else 0

    @property
    def share(self) -> float:
        """Of the epochs of all trials, from 0 to 1. A trial that has ended has none left, wherever it ended."""
        if self.plan is None:
            return 0.0
        done = sum(s.epochs / self.plan.epochs if s.status == "running" else 1.0 for s in self.stacks)
        return done / max(self.plan.trials, len(self._stacks))

    def seconds_left_of(self, stack: Stack) -> float | None:
        """If it is not stopped early, at its own speed; None where that is not known, or it has ended."""
        if self.plan is None or stack.seconds_per_epoch is None or stack.status != "running":
            return None
        return (self.plan.epochs - stack.epochs) * stack.seconds_per_epoch

    @property
    def seconds_left(self) -> float | None:
        """Of the search, if no trial is stopped early: those to come are as long as those known. None before an epoch."""
        known = [stack.seconds_per_epoch for stack in self.stacks if stack.seconds_per_epoch is not None]
        if self.plan is None or not known:
            return None
        whole = self.plan.epochs * fmean(known)
        left = [self.seconds_left_of(stack) for stack in self.stacks if stack.status == "running"]
        running = [whole if seconds is None else seconds for seconds in left]
        return max([*running, (sum(running) + self.num_to_come * whole) / self.plan.at_once])
