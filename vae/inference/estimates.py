"""The mean and the spread of examples over weighted draws of the latent, some draws at a time.

Shapes: S draws, N rows, K categories; `shape` is an example's.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from vae.examples import ExampleSpec
from vae.likelihoods import Likelihood


class Estimate(NamedTuple):
    """What each value is taken for, and how sure that is."""

    mean: Tensor
    """[N,*shape]; of categories the most probable code."""
    std: Tensor
    """[N,*shape]; of categories √(1 − probability of that code)."""


class WeightedMoments:
    """E[x] and the standard deviation of x under Σ w p(x|z) / Σ w, in memory that does not grow with the draws.

    Args:
        likelihood: p(x|z).
        examples: Says which columns are categories.
    """

    def __init__(self, likelihood: Likelihood, examples: ExampleSpec) -> None:
        self.likelihood = likelihood
        columns = examples.columns or ()
        self.categorical = [number for number, column in enumerate(columns) if column.categories]
        self.num_categories = torch.tensor([len(columns[number].categories or ()) for number in self.categorical])
        self.largest: Tensor | None = None

    def add(self, outputs: Tensor, log_weight_SN: Tensor) -> None:
        """Takes in the decoder's outputs [S,N,*outputs_shape] of some draws."""
        mean, std = self.likelihood.mean(outputs), self.likelihood.std(outputs)
        largest_N = log_weight_SN.amax(0)
        if self.largest is None:
            self.largest = largest_N
            self.total = torch.zeros_like(largest_N)
            self.first, self.second = torch.zeros_like(mean[0]), torch.zeros_like(mean[0])
            count = int(self.num_categories.max()) if self.categorical else 0
            self.chances = mean.new_zeros(count, len(largest_N), len(self.categorical))
        before, self.largest = self.largest, torch.maximum(self.largest, largest_N)
        shrink_N, weight_SN = torch.exp(before - self.largest), torch.exp(log_weight_SN - self.largest)
        self.total = self.total * shrink_N + weight_SN.sum(0)
        self.first = _weighed(self.first, shrink_N) + torch.einsum("sn,sn...->n...", weight_SN, mean)
        square = mean.square() + std.square()
        self.second = _weighed(self.second, shrink_N) + torch.einsum("sn,sn...->n...", weight_SN, square)
        for code in range(len(self.chances)):
            chance_SNC = self._chance(code, outputs)
            self.chances[code] = _weighed(self.chances[code], shrink_N) + torch.einsum(
                "sn,snc->nc", weight_SN, chance_SNC
            )

    def estimate(self) -> Estimate:
        """Of all that was added."""
        first, second = (_weighed(moment, 1 / self.total) for moment in (self.first, self.second))
        std = (second - first.square()).clamp(min=0).sqrt()
        if self.categorical:
            largest_NC, code_NC = _weighed(self.chances, 1 / self.total, dim=1).max(0)
            first[:, self.categorical] = code_NC.to(first.dtype)
            std[:, self.categorical] = (1 - largest_NC).clamp(min=0).sqrt()
        return Estimate(first, std)

    def _chance(self, code: int, outputs: Tensor) -> Tensor:
        """p(x = code | z) of each categorical column, [S,N,C]; 0 where a column has no such code."""
        codes_D = outputs.new_zeros(self.first.shape[-1])
        codes_D[self.categorical] = self.num_categories.sub(1).clamp(max=code).to(codes_D)
        log_chance = self.likelihood.log_prob_entries(codes_D.expand_as(self.first), outputs)[..., self.categorical]
        return log_chance.exp() * (self.num_categories.to(outputs.device) > code)


def _weighed(values: Tensor, weight_N: Tensor, dim: int = 0) -> Tensor:
    """Values whose dimension `dim` is the rows', times one weight for each row."""
    return values * weight_N.view([-1 if number == dim else 1 for number in range(values.ndim)])
