"""What a report is made of, and what follows from it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tuning.frontier import Trial
from vae.config import RunConfig
from vae.data.manifest import Manifest
from vae.metrics.likelihood import Bound, ImportanceSampledNLL
from vae.model import VAE

# Colours and cursor moves, which the logs of Ray's workers are full of.
TERMINAL_CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def _no_pixels() -> NDArray[np.uint8]:
    return np.zeros((0, 1, 1, 1), np.uint8)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Everything a report is made of. What is None or empty is left out of the page, which says so.

    Shapes: N rows, C channels, H height, W width.
    """

    config: RunConfig
    dataset: Manifest
    name: str
    """Of the registered model, or what it would be called."""
    model: VAE | None = None
    """In evaluation mode; None for a run that trained none."""
    pixels: NDArray[np.uint8] = field(default_factory=_no_pixels)
    """Fixed test rows, [N,C,H,W]. The pictures show the first of them, the latent scatter all."""
    labels: NDArray[np.int64] | None = None
    """Class indices of the rows, [N]."""
    history: Sequence[Mapping[str, Any]] = ()
    """Fields of `vae.training.EpochReport`, one mapping for each epoch."""
    bound: Bound | None = None
    """On the test split."""
    nll: ImportanceSampledNLL | None = None
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
        if not len(self.pixels):
            return "no test rows were given"
        if self.model.num_classes and self.labels is None:
            return "the model is conditional and the test rows have no labels"
        return None

    def rows(self, most: int) -> tuple[Tensor, Tensor | None]:
        """The first test rows, float32 [N,C,H,W] in [0, 1], and their class indices [N], on the model's device."""
        assert self.model is not None, "callers ask `cannot_run` first"
        device = next(self.model.parameters()).device
        x_NCHW = torch.from_numpy(self.pixels[:most].astype(np.float32) / 255).to(device)
        labels_N = None if self.labels is None else torch.from_numpy(self.labels[:most].astype(np.int64)).to(device)
        return x_NCHW, labels_N
