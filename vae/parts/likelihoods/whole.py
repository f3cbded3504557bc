"""Families of the whole numbers of a table: Poisson counts, and truth values.

x is the number in standard deviations of its column from 0. Its probability is given as a density over the cell of the line
around it, whose width is 1, so that its score is in the unit of other numbers: nats per standard deviation.

Shapes: G columns; `...` is any shape of values, whose last dimension is of the columns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from vae.data.schema import Column
from vae.parts.likelihoods.likelihood import Family, inverse_softplus, uniform


class WholeFamily(Family):
    """Probabilities of whole numbers from 0, as densities over cells of the width 1.

    Args:
        columns: The columns, with their means and standard deviations.
    """

    num_params = 1
    is_discrete = False

    def __init__(self, columns: Sequence[Column]) -> None:
        super().__init__()
        scales = [(column.std, max(column.mean, 1e-3)) for column in columns]
        self.scales_2G: Tensor
        self.register_buffer("scales_2G", torch.tensor(scales).T.contiguous(), persistent=False)

    def number(self, x: Tensor) -> Tensor:
        """Returns the whole number of x, [...]."""
        return (x * self.scales_2G[0]).round().clamp(min=0)


class CountFamily(WholeFamily):
    """Poisson, of the rate that the decoder gives as a multiple of the column's mean."""

    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        rate, count = self._rate(params), self.number(x)
        return count * rate.log() - rate - torch.lgamma(count + 1) + self.scales_2G[0].log()

    def mean(self, params: Tensor) -> Tensor:
        return self._rate(params) / self.scales_2G[0]

    def std(self, params: Tensor) -> Tensor:
        return self._rate(params).sqrt() / self.scales_2G[0]

    def sample(self, params: Tensor, generator: torch.Generator) -> Tensor:
        return torch.poisson(self._rate(params), generator=generator) / self.scales_2G[0]

    def _rate(self, params: Tensor) -> Tensor:
        return self.scales_2G[1] * F.softplus(params.squeeze(0) + inverse_softplus(1.0)).clamp(min=math.exp(-12))


class TruthFamily(WholeFamily):
    """Bernoulli, of the logit that the decoder gives."""

    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        logits, truth = params.squeeze(0), self.number(x).clamp(max=1)
        return self.scales_2G[0].log() - F.binary_cross_entropy_with_logits(
            logits, truth.expand_as(logits), reduction="none"
        )

    def mean(self, params: Tensor) -> Tensor:
        return params[0].sigmoid() / self.scales_2G[0]

    def std(self, params: Tensor) -> Tensor:
        return (params[0].sigmoid() * (-params[0]).sigmoid()).sqrt() / self.scales_2G[0]

    def sample(self, params: Tensor, generator: torch.Generator) -> Tensor:
        return (uniform(params[0], generator) < params[0].sigmoid()).to(params.dtype) / self.scales_2G[0]
