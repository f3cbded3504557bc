"""The mean and the spread of examples over weighted draws of the latent, some draws at a time.

Shapes: S draws, N rows, K categories, C columns of a group with K categories each; `shape` is an example's.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from vae.likelihoods import Likelihood, TableLikelihood


class Estimate(NamedTuple):
    """The expected value of every entry, and how certain it is."""

    mean: Tensor
    """Expected value [N,*shape]; of categories the most probable code."""
    std: Tensor
    """Standard deviation [N,*shape]; of categories √(1 − probability of that code)."""
    effective_draws: Tensor
    """Effective number of draws (Σw)²/Σw² that a row's estimates rest on, [N]; below 10 they are unreliable."""

    def replace(self, rows: Tensor, better: Estimate) -> Estimate:
        """Returns the estimate with the rows of these numbers from `better`, where that has more effective draws."""
        rows = rows[improved := better.effective_draws > self.effective_draws[rows]]
        return Estimate(*(old.index_copy(0, rows, new[improved]) for old, new in zip(self, better, strict=True)))


class WeightedMoments:
    """E[x] and the standard deviation of x under Σ w p(x|z) / Σ w, in memory that does not grow with the draws.

    Args:
        likelihood: p(x|z).
        num_rows: N, number of rows.
    """

    def __init__(self, likelihood: Likelihood, num_rows: int) -> None:
        self.likelihood = likelihood
        self.groups = likelihood.categorical if isinstance(likelihood, TableLikelihood) else []
        self.num_rows = num_rows
        self.largest: Tensor | None = None

    def add(self, outputs: Tensor, log_weight_SN: Tensor, rows: slice = slice(None)) -> None:
        """Adds the decoder's outputs [S,n,*outputs_shape] of some draws of some rows, and the draws' log weights [S,n]."""
        mean, std = self.likelihood.mean(outputs), self.likelihood.std(outputs)
        chances = []
        if isinstance(self.likelihood, TableLikelihood):
            chances = [*self.likelihood.category_probabilities(outputs)]
        if self.largest is None:
            self._begin(mean, chances)
        assert self.largest is not None, "it has begun"
        largest_N = torch.maximum(self.largest[rows], log_weight_SN.amax(0))
        shrink_N, weight_SN = torch.exp(self.largest[rows] - largest_N), torch.exp(log_weight_SN - largest_N)
        self.largest[rows] = largest_N
        self.total[rows] = self.total[rows] * shrink_N + weight_SN.sum(0)
        self.squares[rows] = self.squares[rows] * shrink_N.square() + weight_SN.square().sum(0)
        for moment, value in ((self.first, mean), (self.second, mean.square() + std.square())):
            moment[rows] = _weighed(moment[rows], shrink_N) + torch.einsum("sn,sn...->n...", weight_SN, value)
        for chance_NKC, chance_KSNC in zip(self.chances, chances, strict=True):
            added = torch.einsum("sn,ksnc->nkc", weight_SN, chance_KSNC)
            chance_NKC[rows] = _weighed(chance_NKC[rows], shrink_N) + added

    def _begin(self, mean: Tensor, chances: list[Tensor]) -> None:
        self.largest = mean.new_full((self.num_rows,), -torch.inf)
        self.total, self.squares = torch.zeros_like(self.largest), torch.zeros_like(self.largest)
        self.first, self.second = (mean.new_zeros(self.num_rows, *mean.shape[2:]) for _ in range(2))
        self.chances = [part.new_zeros(self.num_rows, len(part), part.shape[-1]) for part in chances]

    def estimate(self) -> Estimate:
        """Returns the estimate from everything that was added."""
        first, second = (_weighed(moment, 1 / self.total) for moment in (self.first, self.second))
        std = (second - first.square()).clamp(min=0).sqrt()
        for columns, chance_NKC in zip(self.groups, self.chances, strict=True):
            largest_NC, code_NC = _weighed(chance_NKC, 1 / self.total).max(1)
            first[:, columns] = code_NC.to(first.dtype)
            std[:, columns] = (1 - largest_NC).clamp(min=0).sqrt()
        return Estimate(first, std, self.total.square() / self.squares)


def _weighed(values: Tensor, weight_N: Tensor) -> Tensor:
    """Returns values [N,...] times one weight for each row."""
    return values * weight_N.view(-1, *[1] * (values.ndim - 1))
