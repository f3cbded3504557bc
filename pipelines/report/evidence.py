"""What a report is made of, and what follows from it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from pipelines.flows.requests import Projection
from pipelines.report.costs import Stage
from tuning.frontier import Trial
from vae.config import RunConfig
from vae.data.batches import Batch
from vae.data.conditions import write_condition
from vae.data.manifest import Manifest, SplitName
from vae.metrics.likelihood import Bound, NegativeLogLikelihood
from vae.model import VAE, Inputs
from vae.training.verdict import Finding

# Colours and cursor moves, which the logs of Ray's workers are full of.
TERMINAL_CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """Everything a report is made of. What is None or empty is left out of the page, which says so."""

    config: RunConfig
    dataset: Manifest | None
    """None where it could not be opened."""
    name: str
    """Of the registered model, or what it would be called."""
    model: VAE | None = None
    """In evaluation mode; None for a run that trained none."""
    why_no_model: str = "there is no trained model"
    model_note: str | None = None
    """A sentence on which weights the model has, or why there are none, where they are not those a run ended with."""
    stage: Literal["training", "search", "promotion"] = "promotion"
    """What the report is of."""
    split: SplitName = "test"
    """Which split the rows and the figures are of: a training is looked at on `validation`, so that the test split is left
    to the promotion."""
    rows: Batch | None = None
    """Fixed rows of the split on the model's device, pixels as they are and not binarised. The pictures show the first of
    them, the latent scatter all."""
    history: Sequence[Mapping[str, Any]] = ()
    """Fields of `vae.training.loop.EpochReport`, one mapping for each epoch."""
    bound: Bound | None = None
    """On the split."""
    nll: NegativeLogLikelihood | None = None
    """On the split."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Of the model's uses on the split, as `vae.metrics.suite.measure` names them."""
    findings: Sequence[Finding] = ()
    """The verdict on the run; empty for a sound run, and for one that trained no model."""
    trials: Sequence[Trial] = ()
    """Of the search that chose the configuration."""
    chosen_trial: str | None = None
    rule: str = "bound"
    """By which the trial was chosen: see `tuning.frontier.score_of`."""
    projection: Projection = "pca"
    """How the latent scatter is laid out in the plane."""
    stages: Sequence[Stage] = ()
    """How long each took."""
    version: str | None = None
    run_id: str | None = None
    """MLflow's."""
    failure: str | None = None
    """What a failed run said; None for one that did not fail."""
    is_over: bool = True
    """False of a run that still runs, was stopped or was killed."""

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
    def has_finished(self) -> bool:
        """Whether the run came to its end, and well."""
        return self.is_over and self.failure is None

    @property
    def failure_text(self) -> str:
        """What a failed run said, without the codes by which terminals colour it."""
        return TERMINAL_CODES.sub("", self.failure or "").strip() or "no reason was given"

    @property
    def cannot_run(self) -> str | None:
        """Why the model cannot be looked at through the rows; None where it can."""
        if self.model is None:
            return self.why_no_model
        if not self.is_finite:
            return "the model's weights are not finite numbers"
        if not self.num_rows:
            return f"no {self.split} rows were given"
        assert self.rows is not None, "it has been counted"
        told = self.config.model.condition
        if "class" in told and self.rows.labels is None:
            return f"the model is conditional and the {self.split} rows have no labels"
        if set(told) - {"class"} and self.rows.attributes is None:
            return f"the model is conditional and the {self.split} rows have no attributes"
        return None

    @property
    def is_finite(self) -> bool:
        """Whether every weight of the model is a number."""
        return self.model is None or all(bool(value.isfinite().all()) for value in self.model.state_dict().values())

    @property
    def num_rows(self) -> int:
        """Rows that were given."""
        return 0 if self.rows is None else len(self.rows)

    @property
    def is_table(self) -> bool:
        """Whether an example is a row of a table, which is no picture."""
        return self.dataset is not None and self.dataset.example.kind == "table"

    @property
    def manifest(self) -> Manifest:
        """The dataset, of evidence that has rows of it."""
        assert self.dataset is not None, "rows are of a dataset"
        return self.dataset

    @property
    def labels(self) -> list[int] | None:
        """Class index of each row."""
        return None if self.rows is None or self.rows.labels is None else self.rows.labels.tolist()

    def inputs(self, which: slice) -> Inputs:
        """Some of the rows as the model takes them; grey pixels stay grey."""
        assert self.model is not None, "callers ask `cannot_run` first"
        assert self.rows is not None, "callers ask `cannot_run` first"
        rows = self.rows.take(which)
        if self.is_table:
            return self.model.inputs(rows.values, rows.labels, rows.attributes, generator=torch.Generator())
        condition_NK = self.model.condition(rows.labels, rows.attributes)
        return Inputs(rows.values.float() / 255, rows.observed, None, condition_NK)

    def conditions(self, most: int) -> list[str]:
        """What the model is told of the first rows, as `predict` takes it; empty for a model without a condition."""
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
