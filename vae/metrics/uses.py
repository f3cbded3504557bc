"""Metrics of denoising and imputation, each beside the simplest answer to the same question.

Shapes: N rows, C channels, H height, W width, D columns.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from vae import inference
from vae.data.batches import Batch
from vae.data.schema import Column
from vae.data.transforms import transform_of
from vae.draws import RowDraws
from vae.errors import DataError
from vae.inference.importance import LEAST_EFFECTIVE_DRAWS
from vae.inference.memory import affordable_rows, rows_within
from vae.metrics.imputation import (
    Array,
    CategoricalImputation,
    Mask,
    NumericImputation,
    imputation_accuracy,
    imputation_rmse,
)
from vae.metrics.reconstruction import psnr
from vae.model import VAE
from vae.parts.corruptions import CorruptionConfig
from vae.parts.terms import Inputs
from vae.seeds import Stream

HIDDEN_SHARE = 0.2
NUM_SAMPLES = 100
"""Importance samples of each row whose hidden entries are filled in."""
LEAST_ROWS_AT_ONCE = 8192
"""Minimum number of decoded rows in the memory budget for which `fill_in` improves the proposals of `inference.impute`."""


def denoising(model: VAE, inputs: Inputs, corruption: CorruptionConfig, *, seed: int = 0) -> dict[str, float]:
    """Returns the PSNR of denoised images, of the noisy images, and of their 3×3 median filter, in decibels.

    Protocol: the seed decides the corruption; the answer is the mean over 32 draws of the posterior; all images are
    clamped to
    [0, 1].

    Args:
        model: A trained model.
        inputs: Clean images [N,C,H,W] in [0, 1].
        corruption: Corruption of the images.
        seed: Seed of the noise and of the draws.
    """
    noisy = corruption.corrupt(inputs.x, RowDraws(seed, Stream.EVALUATION, 1))
    clean = inference.denoise(model, inputs._replace(x=noisy), num_samples=32, seed=seed).mean
    answers = {"": clean, ".noisy": noisy, ".median": _median(noisy)}
    return {
        f"denoise_psnr_db{name}": psnr(inputs.x, answer.clamp(0, 1)).mean().item() for name, answer in answers.items()
    }


def _median(x_NCHW: Tensor) -> Tensor:
    """Returns each pixel's median over the 3×3 pixels around it."""

    def of_one(x_CHW: Tensor) -> Tensor:
        windows = F.unfold(F.pad(x_CHW[None], (1, 1, 1, 1), "reflect")[0][:, None], 3)
        return windows.median(1).values.view(x_CHW.shape)

    return torch.stack([of_one(x_CHW) for x_CHW in x_NCHW])  # windows are nine times the image, their indices eighteen


class Filled(NamedTuple):
    """Hidden entries with the answers to them; numbers of a table are standardised, categories are codes.

    Entries that were not hidden count nowhere.
    """

    columns: tuple[Column, ...]
    """Columns of a table; empty for images."""
    truth: Tensor
    """True values, [N,*shape]."""
    hidden: Tensor
    """Whether each entry was hidden, bool [N,*shape]."""
    model: Tensor
    """The model's answer, [N,*shape]."""
    simple: Tensor
    """Simplest answer: each column's mean, or its most frequent category, [N,*shape]."""
    effective_draws: Tensor
    """Effective number of draws behind the model's answer for each row, [N]."""

    def figures(self) -> dict[str, float]:
        """Returns `impute_rmse` over all hidden numbers and `impute_accuracy` over all hidden categories.

        Each is followed by the metric of the simplest answer, `….simple`. For tables `impute_few_draws` is the share of
        rows with fewer than 10 effective draws.
        """
        figures: dict[str, float] = {}
        if self.columns:
            few = self.effective_draws[self.hidden.any(1)] < LEAST_EFFECTIVE_DRAWS
            figures["impute_few_draws"] = few.float().mean().item()
        for name, answer in {"": self.model, ".simple": self.simple}.items():
            if error := self._numbers(answer):
                figures[f"impute_rmse{name}"] = error.mse**0.5
            if right := self._categories(answer):
                figures[f"impute_accuracy{name}"] = right.accuracy
        return figures

    def column_errors(self, answer: Tensor) -> list[float | None]:
        """Returns the error of each column of a table; None for a column without hidden entries.

        The error of numbers is the root mean squared error, that of categories the share of wrong ones.
        """
        errors: list[float | None] = [None] * len(self.columns)
        if error := self._numbers(answer):
            for number, rmse in zip(self._numeric, error.rmse_per_column, strict=True):
                errors[number] = rmse
        if right := self._categories(answer):
            for number, accuracy in zip(self._categorical, right.accuracy_per_column, strict=True):
                errors[number] = None if accuracy is None else 1 - accuracy
        return errors

    def _numbers(self, answer: Tensor) -> NumericImputation | None:
        truth, filled, hidden = self._part(answer, self._numeric)
        return imputation_rmse(truth, filled, hidden) if hidden.any() else None

    def _categories(self, answer: Tensor) -> CategoricalImputation | None:
        truth, filled, hidden = self._part(answer, self._categorical)
        return imputation_accuracy(truth, filled, hidden) if hidden.any() else None

    def _part(self, answer: Tensor, chosen: list[int]) -> tuple[Array, Array, Mask]:
        truth, filled, hidden = (part.flatten(1)[:, chosen] for part in (self.truth, answer, self.hidden))
        return truth.double().numpy(), filled.double().numpy(), hidden.numpy()

    @property
    def _categorical(self) -> list[int]:
        return [number for number, column in enumerate(self.columns) if column.categories]

    @property
    def _numeric(self) -> list[int]:
        categorical = self._categorical
        return [number for number in range(self.truth[0].numel()) if number not in categorical]


def imputation(model: VAE, rows: Batch, *, seed: int = 0) -> dict[str, float]:
    """Returns the error of imputed entries, and of each column's mean or most frequent category; see `fill_in`."""
    return fill_in(model, rows, seed=seed).figures()


def fill_in(model: VAE, rows: Batch, *, seed: int = 0) -> Filled:
    """Hides entries and imputes them.

    Protocol: 20 % of the observed entries are hidden completely at random. The answer is the mean over 100 importance
    samples;
    rows of a table that need it get the better proposal and more samples of `inference.impute`, unless fewer than
    `LEAST_ROWS_AT_ONCE` decoded rows fit the memory budget: for those, and for images, more would take minutes to hours.
    Numbers count in standard deviations of the training split, pixels in their range. Of a table with many categories only
    the first rows count, as many as `affordable_rows` says.

    Args:
        model: A model trained with missing entries.
        rows: The rows, as the dataset holds them.
        seed: Seed of the hidden entries and of the draws.

    Raises:
        DataError: If no observed entry can be hidden.
    """
    draws = RowDraws(seed, Stream.EVALUATION, 2)
    rows = rows.take(slice(affordable_rows(model, NUM_SAMPLES, len(rows))))
    whole = model.inputs(rows.values, rows.labels, rows.attributes, rows.observed, draws=draws)
    observed = torch.ones_like(whole.x, dtype=torch.bool) if whole.observed is None else whole.observed
    hidden = observed & (draws.uniform(*whole.x.shape) < HIDDEN_SHARE)
    hidden &= ~(hidden == observed).flatten(1).all(1).view(-1, *[1] * (hidden.ndim - 1))  # something stays of every row
    if not hidden.any():
        raise DataError(
            f"imputation is measured on hidden entries, and none of the entries of {len(rows)} rows can be hidden"
        )
    inputs = whole._replace(observed=observed & ~hidden)
    is_quick = transform_of(model.examples).refines_imputation and rows_within(model) >= LEAST_ROWS_AT_ONCE
    imputed = inference.impute(model, inputs, num_samples=NUM_SAMPLES, seed=seed, improve=is_quick)
    unit = transform_of(model.examples).standardised
    return Filled(
        columns=model.examples.columns or (),
        truth=unit(whole.x),
        hidden=hidden,
        model=unit(imputed.mean),
        simple=_centres(model, unit(whole.x), observed & ~hidden),
        effective_draws=imputed.effective_draws,
    )


def _centres(model: VAE, x: Tensor, observed: Tensor) -> Tensor:
    """Returns each column's mean, or its most frequent category, over the observed entries, for every entry."""
    mean = torch.where(observed, x, 0).sum(0) / observed.sum(0).clamp(min=1)
    for number, column in enumerate(model.examples.columns or ()):
        if column.categories:
            codes = x[:, number][observed[:, number]].long()
            mean[number] = torch.bincount(codes, minlength=1).argmax()
    return mean.expand_as(x)
