"""What a report is made of, and what follows from it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from tuning.frontier import Trial
from vae.conditions import write_condition
from vae.config import RunConfig
from vae.data.batches import Batch
from vae.data.manifest import Manifest
from vae.metrics.likelihood import Bound, NegativeLogLikelihood
from vae.model import VAE, Inputs

# Colours and cursor moves, which the logs of Ray's workers are full of.
TERMINAL_CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Everything a report is made of. What is None or empty is left out of the page, which says so."""

    config: RunConfig
    dataset: Manifest
    name: str
    """Of the registered model, or what it would be called."""
    model: VAE | None = None
    """In evaluation mode; None for a run that trained none."""
    rows: Batch | None = None
    """Fixed test rows on the model's device, pixels as they are and not binarised. The pictures show the first of them, the
    latent scatter all."""
    history: Sequence[Mapping[str, Any]] = ()
    """Fields of `vae.training.EpochReport`, one mapping for each epoch."""
    bound: Bound | None = None
    """On the test split."""
    nll: NegativeLogLikelihood | None = None
    """On the test split."""
    trials: Sequence[Trial] = ()
    """Of the search that chose the configuration."""
    chosen_trial: str | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Wall-clock seconds of each stage."""
    version: str | None = None
    run_id: str | None = None
    """MLflow's."""
    failure: str | None = None
    """What a failed run said; None for one that finished."""

    @property
    def best(self) -> Mapping[str, Any] | None:
        """The epoch whose weights are kept, as the last epoch tells."""
        if not self.history:
            return None
        kept = self.history[-1]["best_epoch"]
        return next(epoch for epoch in self.history if epoch["epoch"] == kept)

    @property
    def chosen(self) -> Trial | None:
        """The trial that was chosen."""
        return next((trial for trial in self.trials if trial.trial_id == self.chosen_trial), None)

    @property
    def failure_text(self) -> str:
        """What a failed run said, without the codes by which terminals colour it."""
        return TERMINAL_CODES.sub("", self.failure or "").strip() or "no reason was given"

    @property
    def cannot_run(self) -> str | None:
        """Why the model cannot be looked at through the test rows; None where it can."""
        if self.model is None:
            return "there is no trained model"
        if not all(bool(value.isfinite().all()) for value in self.model.state_dict().values()):
            return "the model's weights are not finite numbers"
        if not self.num_rows:
            return "no test rows were given"
        assert self.rows is not None, "it has been counted"
        told = self.config.model.condition
        if "class" in told and self.rows.labels is None:
            return "the model is conditional and the test rows have no labels"
        if set(told) - {"class"} and self.rows.attributes is None:
            return "the model is conditional and the test rows have no attributes"
        return None

    @property
    def num_rows(self) -> int:
        """Test rows that were given."""
        return 0 if self.rows is None else len(self.rows)

    @property
    def is_table(self) -> bool:
        """Whether an example is a row of a table, which is no picture."""
        return self.dataset.example.kind == "table"

    @property
    def labels(self) -> list[int] | None:
        """Class index of each test row."""
        return None if self.rows is None or self.rows.labels is None else self.rows.labels.tolist()

    def inputs(self, most: int) -> Inputs:
        """The first test rows as the model takes them; grey pixels stay grey."""
        assert self.model is not None, "callers ask `cannot_run` first"
        assert self.rows is not None, "callers ask `cannot_run` first"
        rows = self.rows.take(slice(most))
        if self.is_table:
            return self.model.inputs(rows.values, rows.labels, rows.attributes, generator=torch.Generator())
        condition_NK = self.model.condition(rows.labels, rows.attributes)
        return Inputs(rows.values.float() / 255, rows.observed, None, condition_NK)

    def conditions(self, most: int) -> list[str]:
        """What the model is told of the first test rows, as `predict` takes it; empty for a model without a condition."""
        if self.model is None or self.rows is None or not self.model.conditions:
            return []
        rows, told = self.rows.take(slice(most)), []
        for column in self.model.conditions:
            by_class = column.name == "class"
            values = rows.labels if by_class else rows.attributes
            assert values is not None, "callers ask `cannot_run` first"
            told.append(values if by_class else values[:, self.model.examples.attributes.index(column)])
        return [
            write_condition(self.model.conditions, values) for values in zip(*(v.tolist() for v in told), strict=True)
        ]
