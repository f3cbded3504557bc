"""Tune: a search over a space of configurations on one dataset."""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field, model_validator

from pipelines.stages.fields import ModelRequest, is_absent
from pipelines.stages.promote import Judged, PendingPromotion, PromoteResult
from pipelines.stages.train import Choice, TrainedModel
from tuning.frontier import Trial
from tuning.space import SearchConfig, around
from vae.config import RunConfig, override, suiting

BASE = "base."
"""Prefix of the fields of a search's base configuration."""


class TuneRequest(ModelRequest):
    """Search a space of configurations on one dataset."""

    search: SearchConfig | None = None
    """Space to search, and how; None searches around the preset."""

    @model_validator(mode="after")
    def _changes_are_accepted(self) -> Self:
        self.search_around(suiting.first_fitting({} if self.search else self._base_changes(), self.preset))
        return self

    def search_around(self, base: RunConfig) -> SearchConfig:
        """Returns the search: the request's, or one around a base that suits the dataset, with the changes."""
        if self.search is not None:
            return override(self.search, self.changes, "changes")
        further = {name: value for name, value in self.changes.items() if not name.startswith(BASE)}
        changed = override(base, self._base_changes(), "changes to the default for this dataset")
        return override(around(changed), further, "changes")

    def _base_changes(self) -> dict[str, Any]:
        return {name.removeprefix(BASE): value for name, value in self.changes.items() if name.startswith(BASE)}


class TuneResult(Judged):
    """A finished search."""

    run: str
    """Name of the search."""
    mlflow_run_id: str
    """Id of the search's run in MLflow."""
    dataset: str
    """URI of the dataset's folder."""
    trials: tuple[Trial, ...]
    """All trials."""
    pareto: tuple[str, ...]
    """Ids of the trials on the rate-distortion front."""
    best: Trial
    """Chosen trial."""
    config: RunConfig
    """Configuration of the chosen trial."""
    search: SearchConfig
    """Search that was done."""
    select: str
    """Rule by which the trial was chosen: see `tuning.frontier.score_of`."""
    search_seconds: float
    """Duration of the search in seconds."""
    chosen: Choice | None = None
    """Default base configuration that was chosen; None if the request names a search."""
    promotion: PromoteResult | PendingPromotion | None = Field(default=None, exclude_if=is_absent)
    """Promotion that followed; None if the request names no alias."""


class SearchedModel(TrainedModel):
    """Best model so far of a search, with the facts of its trial."""

    trials: tuple[Trial, ...]
    """All trials so far."""
    chosen_trial: str
    """Id of the chosen trial."""
    select: str
    """Rule by which the trial was chosen: see `tuning.frontier.score_of`."""
