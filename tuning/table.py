"""The table of a search: its columns, its trials in order, the chosen trial and the front."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tuning.frontier import Trial, pareto

BETA, ARCHITECTURE = "objective.beta", "model.encoder"


@dataclass(frozen=True)
class Row:
    """A trial of the table."""

    trial: Trial
    """The trial."""
    is_chosen: bool
    """Whether the rule chose the trial."""
    is_on_front: bool
    """Whether no other trial is better in both rate and distortion."""


@dataclass(frozen=True)
class SearchTable:
    """The trials of a search as every table shows them."""

    trials: Sequence[Trial]
    """Trials as the search returned them."""
    chosen: str | None = None
    """Id of the chosen trial; None marks none."""

    @property
    def parameters(self) -> list[str]:
        """Parameters that the search varied, the architecture and β first."""
        names = {name for trial in self.trials for name in trial.parameters}
        return [name for name in (ARCHITECTURE, BETA) if name in names] + sorted(names - {ARCHITECTURE, BETA})

    @property
    def rows(self) -> list[Row]:
        """Trials ordered by architecture, then β, then the other parameters."""
        scored = [trial for trial in self.trials if is_scored(trial)]
        front = {trial.trial_id for trial in pareto(scored)}
        ordered = sorted(self.trials, key=lambda trial: list(self._order(trial)))
        return [Row(trial, trial.trial_id == self.chosen, trial.trial_id in front) for trial in ordered]

    def _order(self, trial: Trial) -> Iterator[tuple[int, float, str]]:
        for value in map(trial.parameters.get, self.parameters):
            yield (0, float(value), "") if isinstance(value, int | float) else (1, 0.0, str(value))


def is_scored(trial: Trial) -> bool:
    """Returns whether the trial has a finite rate and distortion."""
    return trial.rate is not None and trial.distortion is not None and math.isfinite(trial.rate + trial.distortion)
