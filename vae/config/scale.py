"""The scale of a dataset under a likelihood: the weights of the rate at which its dimensions collapse.

A decoder that ignores its latent models each value by itself. From there a latent dimension is worth its rate only if it
explains a direction in which the values vary by more than β times the likelihood's noise. For linear Gaussian models this
is exact: the eigenvalues of the covariance, in units of the noise, are the β at which dimension after dimension collapses.

Shapes: N rows, D values of an example, K directions.

References:
    Lucas, Tucker, Grosse & Norouzi, Don't Blame the ELBO! A Linear VAE Perspective on Posterior Collapse (2019), section 4.
    https://arxiv.org/abs/1911.02469
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from vae.config import RunConfig
from vae.data.batches import Share
from vae.data.parquet import Dataset
from vae.data.statistics import example_spec
from vae.data.transforms import transform_of

MOST_ROWS = 4_000
"""Rows of the training split, which ingest has shuffled, that are looked at."""
DIRECTIONS = 32
HOLLOW_DIRECTIONS, HOLLOW_ROWS = 4, 1_000
"""Largest directions, and rows, that hollowness is measured in."""
FARTHEST = 4.0
"""Standard deviations from its mean that a value counts as at most, where the latent decides how far it may lie."""


@dataclass(frozen=True)
class Scale:
    """Scale of a dataset's values under a likelihood."""

    critical_betas: tuple[float, ...]
    """The β above which each further dimension collapses, the largest first; 32 at most."""
    marginal_nats: float
    """Nats per example of a decoder that ignores its latent: the distortion of a collapsed model."""
    total_variance: float = 0.0
    """Variance of an example's values in units of the noise, in all: their number, unless σ is fixed."""
    hollowness: float = 1.0
    """Ratio of two distances to the nearest row: from normal draws of the data's covariance, and from the rows."""

    @property
    def critical_beta(self) -> float:
        """The β above which every dimension collapses."""
        return self.critical_betas[0]

    def held_by(self, directions: int) -> float:
        """Returns the share of the variance that lies in so many of the largest directions."""
        return sum(self.critical_betas[:directions]) / self.total_variance if self.total_variance else 1.0

    def worth(self, beta: float) -> float:
        """Returns the rate at a β above 0 of a linear-Gaussian model with a dimension for each direction, in nats."""
        return sum(0.5 * math.log(critical / beta) for critical in self.critical_betas if critical > beta)

    def beta_at(self, rate: float, latent_dim: int) -> float:
        """Returns the β at which a linear-Gaussian model of the data has a rate above 0, in nats.

        Its rate is the largest of Σ_{i≤k} ½ log(critical β_i / β) over k, so its β is the largest of those of each k.
        """
        found, logs = 0.0, 0.0
        for count, critical in enumerate(self.critical_betas[:latent_dim], start=1):
            if critical <= 0:
                break
            logs += math.log(critical)
            found = max(found, math.exp((logs - 2 * rate) / count))
        return found


@torch.no_grad()
def scale_of(config: RunConfig, dataset: Dataset) -> Scale:
    """Measures the scale of a dataset under a run's likelihood.

    Args:
        config: The run, which says the likelihood and what is hidden.
        dataset: Images or a table.
    """
    values = _values(config, dataset)
    there, is_number = values.there, values.is_number
    count = there.sum(0).clamp(min=1)
    mean = (values.x * there).sum(0) / count
    deviation = (values.x - mean) * there
    variance = deviation.square().sum(0) / count
    noise, own, _ = config.model.likelihood.collapsed_decoder(mean, variance)
    noise = torch.where(is_number, noise, mean)  # the Fisher information of a category's probabilities p is diag(1/p)
    nats = torch.where(is_number, _nats_of_numbers(config, values), 0.0)
    keep = variance > 1e-6
    if int(keep.sum()) < 2:
        return Scale((0.0,), float(nats.sum()) + values.category_nats)
    hollowness = _hollowness(deviation)
    y, own = deviation[:, keep] / noise[keep].sqrt(), own[keep] / noise[keep]
    counts = count[keep]
    if config.model.likelihood.decodes_scale:
        y = torch.cat([y, _spread_statistic(y, there[:, keep])[:, is_number[keep]]], 1)
        own = F.pad(own, (0, y.shape[1] - len(own)))
        counts = torch.cat([counts, count[keep & is_number]])
    total_variance = float((y.square().sum(0) / counts + own).sum())
    marginal_nats = float((nats * there.float().mean(0)).sum()) + values.category_nats
    return Scale(_eigenvalues(y, own), marginal_nats, total_variance, hollowness)


def _nats_of_numbers(config: RunConfig, values: _Values) -> Tensor:
    """Returns the nats of each column's numbers where the latent is ignored, [D]; of categories they mean nothing.

    −log p(u) = −log p(x) − log dx/du for x = curve(u). Entries at a point mass have a probability, the others a density.
    """
    dense = values.there & ~values.log_slope.isnan()
    count, num_dense = values.there.sum(0).clamp(min=1), dense.sum(0)
    weight = dense / num_dense.clamp(min=1)
    mean = (values.x * weight).sum(0)
    variance = ((values.x - mean).square() * weight).sum(0)
    _, _, nats = config.model.likelihood.collapsed_decoder(mean, variance)
    share = num_dense / count
    nats = share * (nats - (values.log_slope.nan_to_num(0.0) * weight).sum(0))
    return nats + torch.special.entr(share) + torch.special.entr(1 - share)


class _Values(NamedTuple):
    """The values of some training rows; a categorical column is one column of zeros and ones for each category."""

    x: Tensor
    """[N,D]"""
    there: Tensor
    """Whether each value is observed, bool [N,D]."""
    is_number: Tensor
    """Whether each column holds numbers or pixels, not a category, bool [D]."""
    log_slope: Tensor
    """log dx/du of each value's curve, [N,D]; NaN at a point mass."""
    category_nats: float
    """Sum of the entropies of the categorical columns, per example."""


def _values(config: RunConfig, dataset: Dataset) -> _Values:
    """Reads the first rows of the training split without what the run hides."""
    policy = config.model.likelihood.binarization_policy
    share = Share.of(dataset, "train", binarization=policy, missing=config.data.missing)
    rows = share.load(0, min(MOST_ROWS, share.num_rows))
    transform = transform_of(example_spec(dataset, config.data.missing, config.data.transform))
    x, observed = transform.prepare(rows.values)  # grey: a binarisation's draws would be noise of the estimate
    log_slope = transform.log_slopes(x)
    x, there = transform.as_numbers(x, rows.observed if observed is None else observed)
    columns = enumerate(transform.examples.columns or ())
    codes = (rows.values[:, number] for number, column in columns if column.categories)
    nats = sum(_entropy(codes_N[~codes_N.isnan()].long(), len(rows)) for codes_N in codes)
    return _Values(x, there, transform.is_number(), log_slope, nats)


def _entropy(codes_M: Tensor, num_rows: int) -> float:
    """Returns the entropy of the observed codes of a column, in nats per row."""
    share_K = torch.bincount(codes_M).double() / max(len(codes_M), 1)
    return float(torch.special.entr(share_K).sum()) * len(codes_M) / max(num_rows, 1)


def _spread_statistic(y_ND: Tensor, there_ND: Tensor) -> Tensor:
    """Returns what log σ of a standardised normal value learns from it, in units of its noise: (y² − 1) / √2, [N,D].

    A value counts as `FARTHEST` at most: a pixel that is rarely on would outweigh all others.
    """
    return (y_ND.square().clamp(max=FARTHEST**2) - 1) * there_ND / 2**0.5


def _eigenvalues(y_ND: Tensor, own_D: Tensor) -> tuple[float, ...]:
    """Returns the largest eigenvalues of the covariance, without what chance adds.

    Directions are learned on one half of the rows and their variance is measured on the other.
    """
    learn, test = y_ND[0::2], y_ND[1::2]
    directions = min(DIRECTIONS, *learn.shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        _, _, v_DK = torch.pca_lowrank(learn, directions, center=False, niter=4)
    found = (test @ v_DK).square().mean(0) + (own_D[:, None] * v_DK.square()).sum(0)
    return tuple(sorted(found.tolist(), reverse=True))


def _hollowness(deviation_ND: Tensor) -> float:
    """Returns the ratio of two medians of distances to the nearest row: of normal draws, and of the rows themselves.

    Both lie in the plane of the largest directions, and the draws have the rows' covariance there. Normal data has 1; the
    more the rows lie along curved sheets or in clumps, the more of the plane between them is empty.
    """
    rows_ND = deviation_ND[:HOLLOW_ROWS]
    directions = min(HOLLOW_DIRECTIONS, *rows_ND.shape)
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        _, sizes_K, v_DK = torch.pca_lowrank(rows_ND, directions, center=False, niter=4)
    rows_NK = rows_ND @ v_DK
    draws_MK = torch.randn(2 * len(rows_NK), directions, generator=generator) * sizes_K / len(rows_NK) ** 0.5
    between_NN = torch.cdist(rows_NK, rows_NK)
    between_NN.fill_diagonal_(torch.inf)
    own = between_NN.min(1).values.median()
    return float(torch.cdist(draws_MK, rows_NK).min(1).values.median() / own) if own > 0 else torch.inf
