"""How well a model does what people use it for, beside the simplest answer to the same question.

Shapes: N rows, C channels, H height, W width, D columns.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from vae import inference
from vae.config import Corruption
from vae.data.batches import Batch
from vae.data.corruption import corrupt
from vae.errors import DataError
from vae.metrics.imputation import imputation_accuracy, imputation_rmse
from vae.metrics.reconstruction import psnr
from vae.model import VAE, Inputs
from vae.seeds import Stream, derive

HIDDEN_SHARE = 0.2


def denoising(model: VAE, inputs: Inputs, corruption: Corruption, *, seed: int = 0) -> dict[str, float]:
    """PSNR of denoised images, and of the noisy images themselves and their 3×3 median filter.

    Protocol: the corruption is drawn by the seed; the mean over 32 draws of the posterior; everything clamped to [0, 1].

    Args:
        model: Trained.
        inputs: Clean images [N,C,H,W] in [0, 1].
        corruption: What is done to them.
        seed: Of the noise and the draws.
    """
    generator = torch.Generator().manual_seed(derive(seed, Stream.EVALUATION, 1))
    noisy = corrupt(inputs.x, corruption, generator)
    clean = inference.denoise(model, inputs._replace(x=noisy), num_samples=32, seed=seed).mean
    answers = {"": clean, ".noisy": noisy, ".median": _median(noisy)}
    return {
        f"denoise_psnr_db{name}": psnr(inputs.x, found.clamp(0, 1)).mean().item() for name, found in answers.items()
    }


def _median(x_NCHW: Tensor) -> Tensor:
    """Each pixel's median over the 3×3 around it."""
    windows = F.unfold(F.pad(x_NCHW, (1, 1, 1, 1), "reflect").flatten(0, 1)[:, None], 3)
    return windows.median(1).values.view(x_NCHW.shape)


def imputation(model: VAE, rows: Batch, *, seed: int = 0) -> dict[str, float]:
    """Error of imputed entries, and of each column's mean or most frequent category.

    Protocol: 20 % of the entries that are there are hidden completely at random, on top of what is missing; 100 importance
    samples. Numbers count in standard deviations of the training split, pixels in their range.

    Args:
        model: Trained with missing entries.
        rows: As the dataset holds them.
        seed: Of what is hidden, and of the draws.

    Raises:
        DataError: If nothing is there to hide.
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
    found = inference.impute(model, inputs, num_samples=100, seed=seed).mean
    simple = _centres(model, whole.x, there & ~hidden)
    categorical = [n for n, column in enumerate(model.examples.columns or ()) if column.categories]
    numeric = [n for n in range(whole.x.flatten(1).shape[1]) if n not in categorical]
    figures: dict[str, float] = {}
    for name, answer in {"": found, ".simple": simple}.items():
        truth, filled, mask = (part.flatten(1).numpy() for part in (whole.x, answer, hidden))
        if mask[:, numeric].any():
            error = imputation_rmse(
                truth[:, numeric].astype(np.float64), filled[:, numeric].astype(np.float64), mask[:, numeric]
            )
            figures[f"impute_rmse{name}"] = error.mse**0.5
        if mask[:, categorical].any():
            right = imputation_accuracy(
                truth[:, categorical].astype(np.float64),
                filled[:, categorical].astype(np.float64),
                mask[:, categorical],
            )
            figures[f"impute_accuracy{name}"] = right.accuracy
    return figures


def _centres(model: VAE, x: Tensor, observed: Tensor) -> Tensor:
    """Every entry as its column's mean, or its most frequent category, over what is observed of these rows."""
    mean = torch.where(observed, x, 0).sum(0) / observed.sum(0).clamp(min=1)
    for number, column in enumerate(model.examples.columns or ()):
        if column.categories:
            codes = x[:, number][observed[:, number]].long()
            mean[number] = torch.bincount(codes, minlength=1).argmax()
    return mean.expand_as(x)
