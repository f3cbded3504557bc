"""The mean and the spread of examples over weighted draws of the latent, some draws at a time.

Shapes: S draws, N rows, K categories, C columns of a group with K categories each; `shape` is an example's.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from vae.parts.likelihoods.categorical import CategoryFamily
from vae.parts.likelihoods.likelihood import Family, Likelihood
from vae.parts.likelihoods.mixed import TableLikelihood


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
        self.num_rows = num_rows
        self.sums: list[Tensor] = []
        """Σ w times each of `_expectations`, [N,...]."""

    def add(self, outputs: Tensor, log_weight_SN: Tensor, rows: slice = slice(None)) -> None:
        """Adds the decoder's outputs [S,n,*outputs_shape] of some draws of some rows, and the draws' log weights [S,n]."""
        expectations = self._expectations(outputs)
        if not self.sums:
            self.largest = log_weight_SN.new_full((self.num_rows,), -torch.inf)
            self.total, self.squares = torch.zeros_like(self.largest), torch.zeros_like(self.largest)
            self.sums = [each.new_zeros(self.num_rows, *each.shape[2:]) for each in expectations]
        largest_N = torch.maximum(self.largest[rows], log_weight_SN.amax(0))
        shrink_N, weight_SN = torch.exp(self.largest[rows] - largest_N), torch.exp(log_weight_SN - largest_N)
        self.largest[rows] = largest_N
        self.total[rows] = self.total[rows] * shrink_N + weight_SN.sum(0)
        self.squares[rows] = self.squares[rows] * shrink_N.square() + weight_SN.square().sum(0)
        for so_far, each in zip(self.sums, expectations, strict=True):
            so_far[rows] = _weighed(so_far[rows], shrink_N) + torch.einsum("sn,sn...->n...", weight_SN, each)

    def _expectations(self, outputs: Tensor) -> list[Tensor]:
        """Returns two moments of the numbers given z, [S,n,*shape] each, and p(x|z) [S,n,K,C] of each group of codes."""
        if not isinstance(self.likelihood, TableLikelihood):
            mean = self.likelihood.mean(outputs)
            return [mean, mean.square() + self.likelihood.std(outputs).square()]
        mean = outputs.new_zeros(*outputs.shape[:2], len(self.likelihood.order_D))
        square, chances = torch.zeros_like(mean), []
        for columns, family, params in self.likelihood.by_family(outputs):
            if isinstance(family, CategoryFamily):
                chances.append(family.probabilities(params).movedim(0, 2))
            else:
                mean[..., columns], square[..., columns] = family.moments(params)
        return [mean, square, *chances]

    def estimate(self) -> Estimate:
        """Returns the estimate from everything that was added."""
        first, second, *chances = (_weighed(each, 1 / self.total) for each in self.sums)
        std = (second - first.square()).clamp(min=0).sqrt()
        for columns, family in self._numeric:
            first[:, columns] = family.from_moment(first[:, columns])
        for columns, chance_NKC in zip(self._categorical, chances, strict=True):
            largest_NC, code_NC = chance_NKC.max(1)
            first[:, columns] = code_NC.to(first.dtype)
            std[:, columns] = (1 - largest_NC).clamp(min=0).sqrt()
        return Estimate(first, std, self.total.square() / self.squares)

    @property
    def _groups(self) -> list[tuple[list[int], Family]]:
        """Columns of each group of a table, with their family."""
        return list(self.likelihood.groups) if isinstance(self.likelihood, TableLikelihood) else []

    @property
    def _categorical(self) -> list[list[int]]:
        """Columns of each group of categorical columns."""
        return [columns for columns, family in self._groups if isinstance(family, CategoryFamily)]

    @property
    def _numeric(self) -> list[tuple[list[int], Family]]:
        """Columns of each group of numeric columns, with their family."""
        return [(columns, family) for columns, family in self._groups if not isinstance(family, CategoryFamily)]


def _weighed(values: Tensor, weight_N: Tensor) -> Tensor:
    """Returns values [N,...] times one weight for each row."""
    return values * weight_N.view(-1, *[1] * (values.ndim - 1))
