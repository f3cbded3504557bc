"""How well a model does what people use it for, beside the simplest answer to the same question.

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
from vae.errors import DataError
from vae.inference.importance import LEAST_EFFECTIVE_DRAWS
from vae.inference.memory import rows_within
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
from vae.seeds import Stream, derive

HIDDEN_SHARE = 0.2
LEAST_ROWS_AT_ONCE = 8192
"""Decoded rows within the memory budget, from which on `fill_in` lets `inference.impute` improve its proposals."""


def denoising(model: VAE, inputs: Inputs, corruption: CorruptionConfig, *, seed: int = 0) -> dict[str, float]:
    """PSNR of denoised images, and of the noisy images themselves and their 3×3 median filter.

    Protocol: the corruption is drawn by the seed; the mean over 32 draws of the posterior; everything clamped to [0, 1].

    Args:
        model: Trained.
        inputs: Clean images [N,C,H,W] in [0, 1].
        corruption: What is done to them.
        seed: Of the noise and the draws.
    """
    generator = torch.Generator().manual_seed(derive(seed, Stream.EVALUATION, 1))
    noisy = corruption.corrupt(inputs.x, generator)
    clean = inference.denoise(model, inputs._replace(x=noisy), num_samples=32, seed=seed).mean
    answers = {"": clean, ".noisy": noisy, ".median": _median(noisy)}
    return {
        f"denoise_psnr_db{name}": psnr(inputs.x, found.clamp(0, 1)).mean().item() for name, found in answers.items()
    }


def _median(x_NCHW: Tensor) -> Tensor:
    """Each pixel's median over the 3×3 around it."""

    def of_one(x_CHW: Tensor) -> Tensor:
        windows = F.unfold(F.pad(x_CHW[None], (1, 1, 1, 1), "reflect")[0][:, None], 3)
        return windows.median(1).values.view(x_CHW.shape)

    return torch.stack([of_one(x_CHW) for x_CHW in x_NCHW])  # windows are nine times the image, their indices eighteen


class Filled(NamedTuple):
    """Entries that were hidden, and what they were taken for. Numbers of a table are standardised, categories codes; what
    was not hidden counts nowhere.
    """

    columns: tuple[Column, ...]
    """Of a table; none of images."""
    truth: Tensor
    """[N,*shape]"""
    hidden: Tensor
    """bool [N,*shape]"""
    model: Tensor
    """By the model, [N,*shape]"""
    simple: Tensor
    """By each column's mean, or its most frequent category, [N,*shape]"""
    effective_draws: Tensor
    """Effective number of draws that the model's answer for each row rests on, [N]"""

    def figures(self) -> dict[str, float]:
        """Returns `impute_rmse` over all hidden numbers and `impute_accuracy` over all hidden categories, each beside
        `.simple`; and of tables `impute_few_draws`, the share of rows with fewer than 10 effective draws.
        """
        found: dict[str, float] = {}
        if self.columns:
            few = self.effective_draws[self.hidden.any(1)] < LEAST_EFFECTIVE_DRAWS
            found["impute_few_draws"] = few.float().mean().item()
        for name, answer in {"": self.model, ".simple": self.simple}.items():
            if error := self._numbers(answer):
                found[f"impute_rmse{name}"] = error.mse**0.5
            if right := self._categories(answer):
                found[f"impute_accuracy{name}"] = right.accuracy
        return found

    def column_errors(self, answer: Tensor) -> list[float | None]:
        """Of each column of a table: of numbers the root mean squared error, of categories the share that is wrong; None
        where nothing was hidden.
        """
        found: list[float | None] = [None] * len(self.columns)
        if error := self._numbers(answer):
            for number, rmse in zip(self._numeric, error.rmse_per_column, strict=True):
                found[number] = rmse
        if right := self._categories(answer):
            for number, accuracy in zip(self._categorical, right.accuracy_per_column, strict=True):
                found[number] = None if accuracy is None else 1 - accuracy
        return found

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
    """Error of imputed entries, and of each column's mean or most frequent category; see `fill_in`."""
    return fill_in(model, rows, seed=seed).figures()


def fill_in(model: VAE, rows: Batch, *, seed: int = 0) -> Filled:
    """Hides entries and imputes them.

    Protocol: 20 % of the observed entries are hidden completely at random, besides those that are missing; 100 importance
    samples, and for rows of a table that need them the better proposal and more samples of `inference.impute`. Images, and
    tables of which fewer than `LEAST_ROWS_AT_ONCE` decoded rows fit the memory budget, have the first 100 alone: more would
    take minutes to hours. Numbers count in standard deviations of the training split, pixels in their range.

    Args:
        model: A model trained with missing entries.
        rows: Rows as the dataset holds them.
        seed: Seed of the hidden entries and of the draws.

    Raises:
        DataError: If there is no observed entry that can be hidden.
    """
    generator = torch.Generator().manual_seed(derive(seed, Stream.EVALUATION, 2))
    whole = model.inputs(rows.values, rows.labels, rows.attributes, rows.observed, generator=generator)
    there = torch.ones_like(whole.x, dtype=torch.bool) if whole.observed is None else whole.observed
    hidden = there & (torch.rand(whole.x.shape, generator=generator) < HIDDEN_SHARE)
    hidden &= ~(hidden == there).flatten(1).all(1).view(-1, *[1] * (hidden.ndim - 1))  # something stays of every row
    if not hidden.any():
        raise DataError(
            f"imputation is measured on entries that are hidden, and of {len(rows)} rows there are none to hide"
        )
    inputs = whole._replace(observed=there & ~hidden)
    is_quick = model.examples.columns is not None and rows_within(model) >= LEAST_ROWS_AT_ONCE
    imputed = inference.impute(model, inputs, num_samples=100, seed=seed, improve=is_quick)
    return Filled(
        columns=model.examples.columns or (),
        truth=whole.x,
        hidden=hidden,
        model=imputed.mean,
        simple=_centres(model, whole.x, there & ~hidden),
        effective_draws=imputed.effective_draws,
    )


def _centres(model: VAE, x: Tensor, observed: Tensor) -> Tensor:
    """Every entry as its column's mean, or its most frequent category, over what is observed of these rows."""
    mean = torch.where(observed, x, 0).sum(0) / observed.sum(0).clamp(min=1)
    for number, column in enumerate(model.examples.columns or ()):
        if column.categories:
            codes = x[:, number][observed[:, number]].long()
            mean[number] = torch.bincount(codes, minlength=1).argmax()
    return mean.expand_as(x)
