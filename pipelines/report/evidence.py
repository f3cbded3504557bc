"""Everything that a report is made of, and what follows from it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pipelines.report.costs import Stage
from pipelines.report.kinds import Kind, kind_named
from pipelines.stages.fields import Projection
from tuning.frontier import Trial
from vae.config import RunConfig
from vae.data.batches import Batch
from vae.data.conditions import write_condition
from vae.data.manifest import Manifest, SplitName
from vae.data.transforms import transform_of
from vae.metrics.likelihood import Bound, NegativeLogLikelihood
from vae.model import VAE
from vae.parts.terms import Inputs
from vae.training.verdict import Finding

# Colours and cursor moves, which the logs of Ray's workers are full of.
TERMINAL_CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class LeftOut(Exception):  # noqa: N818  named for what happened
    """A figure that the evidence does not suffice for. The message is the reason; an empty one is not reported."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """Everything that a report is made of. The page leaves out what is None or empty, and says so."""

    config: RunConfig
    """Configuration of the run."""
    dataset: Manifest | None
    """Manifest of the dataset; None if it could not be opened."""
    name: str
    """Name of the registered model, or the name it would get."""
    model: VAE | None = None
    """Trained model in evaluation mode; None for a run that trained none."""
    why_no_model: str = "there is no trained model"
    """Reason why `model` is None."""
    model_note: str | None = None
    """Sentence on which weights the model has, or why there are none; None for the weights that a finished run keeps."""
    stage: Literal["training", "search", "promotion"] = "promotion"
    """Kind of run that the report is about."""
    split: SplitName = "test"
    """Split of the rows and the scores. A training is judged on `validation`; the test split is for the promotion."""
    rows: Batch | None = None
    """Fixed rows of the split on the model's device, pixels not binarised. The pictures show the first, the scatter all."""
    history: Sequence[Mapping[str, Any]] = ()
    """One mapping for each epoch, with the fields of `EpochReport`."""
    bound: Bound | None = None
    """Negative ELBO on the split."""
    nll: NegativeLogLikelihood | None = None
    """Negative log-likelihood on the split."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Metrics of the model's uses on the split, by the names of `vae.metrics.suite.measure`."""
    findings: Sequence[Finding] = ()
    """Verdict on the run; empty for a sound run, and for one that trained no model."""
    notes: Sequence[str] = ()
    """Facts about the data that a reader should know; see `vae.data.fitting.worth_knowing`."""
    trials: Sequence[Trial] = ()
    """Trials of the search that chose the configuration."""
    chosen_trial: str | None = None
    """Id of the chosen trial; None without a search."""
    rule: str = "bound"
    """Rule by which the trial was chosen: see `tuning.frontier.score_of`."""
    projection: Projection = "pca"
    """Layout of the latent scatter in the plane."""
    stages: Sequence[Stage] = ()
    """Duration of each stage of the run."""
    version: str | None = None
    """Version of the registered model; None before it is registered."""
    run_id: str | None = None
    """Id of the MLflow run."""
    failure: str | None = None
    """Message of a failed run; None for one that did not fail."""
    is_over: bool = True
    """False for a run that still runs, was stopped or was killed."""

    @property
    def best(self) -> Mapping[str, Any] | None:
        """Epoch whose weights are kept, by the record of the last epoch."""
        if not self.history:
            return None
        kept = self.history[-1]["best_epoch"]
        return next(epoch for epoch in self.history if epoch["epoch"] == kept)

    @property
    def chosen(self) -> Trial | None:
        """Chosen trial; None without a search."""
        return next((trial for trial in self.trials if trial.trial_id == self.chosen_trial), None)

    @property
    def has_finished(self) -> bool:
        """True for a run that came to its end without failing."""
        return self.is_over and self.failure is None

    @property
    def failure_text(self) -> str:
        """Message of a failed run, without the codes by which terminals colour it."""
        return TERMINAL_CODES.sub("", self.failure or "").strip() or "no reason was given"

    @property
    def cannot_run(self) -> str | None:
        """Reason why the model cannot be shown the rows; None if it can."""
        if self.model is None:
            return self.why_no_model
        if not self.is_finite:
            return "the model's weights are not finite numbers"
        if self.rows is None or not self.num_rows:
            return f"no {self.split} rows were given"
        condition = set(self.config.model.condition)
        if "class" in condition and self.rows.labels is None:
            return f"the model is conditional and the {self.split} rows have no labels"
        if condition - {"class"} and self.rows.attributes is None:
            return f"the model is conditional and the {self.split} rows have no attributes"
        return None

    @property
    def condition(self) -> list[str]:
        """Names of what encoder and decoder are given of an example; empty for an unconditional model."""
        return ["the class" if name == "class" else name for name in self.config.model.condition]

    def runnable(self) -> VAE:
        """Returns the model.

        Raises:
            LeftOut: If it cannot be shown the rows.
        """
        if self.cannot_run:
            raise LeftOut(self.cannot_run)
        assert self.model is not None, "a model that can run"
        return self.model

    @property
    def is_finite(self) -> bool:
        """True if every weight of the model is a finite number."""
        return self.model is None or all(bool(value.isfinite().all()) for value in self.model.state_dict().values())

    @property
    def num_parameters(self) -> int | None:
        """Number of weights of the model; None without a model."""
        return None if self.model is None else sum(p.numel() for p in self.model.parameters())

    @property
    def num_rows(self) -> int:
        """Number of rows."""
        return 0 if self.rows is None else len(self.rows)

    @property
    def kind(self) -> Kind:
        """Kind of the examples; that of images if the dataset could not be opened."""
        return kind_named("image" if self.dataset is None else self.dataset.example.kind)

    @property
    def manifest(self) -> Manifest:
        """Manifest of the dataset, of evidence that has rows."""
        assert self.dataset is not None, "rows belong to a dataset"
        return self.dataset

    @property
    def labels(self) -> list[int] | None:
        """Class index of each row; None for rows without labels."""
        return None if self.rows is None or self.rows.labels is None else self.rows.labels.tolist()

    def inputs(self, which: slice) -> Inputs:
        """Returns some of the rows as the model takes them; grey pixels stay grey."""
        assert self.model is not None, "callers have a model that can run"
        assert self.rows is not None, "callers have a model that can run"
        rows = self.rows.take(which)
        x, observed = transform_of(self.model.examples).prepare(rows.values)
        condition_NK = self.model.condition(rows.labels, rows.attributes)
        return Inputs(x, rows.observed if observed is None else observed, None, condition_NK)

    def conditions(self, most: int) -> list[str]:
        """Returns the conditions of the first rows, as `predict` takes them; empty for an unconditional model."""
        if self.model is None or self.rows is None or not self.model.conditions:
            return []
        rows, columns = self.rows.take(slice(most)), []
        for column in self.model.conditions:
            by_class = column.name == "class"
            values = rows.labels if by_class else rows.attributes
            assert values is not None, "callers have a model that can run"
            columns.append((values if by_class else values[:, self.model.examples.attributes.index(column)]).tolist())
        return [write_condition(self.model.conditions, values) for values in zip(*columns, strict=True)]
