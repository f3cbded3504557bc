"""The density of a column that a curve bends, and a point mass beside a density.

Shapes: P parameters of a value, G columns; `...` is any shape of values, whose last dimension is of the columns.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from vae.data.schema import Column
from vae.data.transforms.curves import Curves
from vae.parts.likelihoods.likelihood import Family, NumberFamily, uniform


class CurvedFamily(Family):
    """Density of a column's standard deviations u, from one of x = curve(u): p(u) = p(x) · dx/du.

    `mean` is the x of E[u], and `std` is that of u: an expectation of x would be none of the column's own values. Both are
    sums over nodes of the density, with u not beyond the data, as no generated value is.

    Args:
        family: Density of x.
        curves: Curves of the columns.
        columns: The columns, with their extremes.
    """

    is_discrete = False

    def __init__(self, family: NumberFamily, curves: Curves, columns: Sequence[Column]) -> None:
        super().__init__()
        self.family, self.curves = family, curves.float()
        self.num_params = family.num_params
        extremes = [(one.smallest, one.largest) for one in columns]
        bounds = [
            (
                -torch.inf if low is None else (low - column.mean) / column.std,
                torch.inf if high is None else (high - column.mean) / column.std,
            )
            for column, (low, high) in zip(columns, extremes, strict=True)
        ]
        self.bounds_2G: Tensor
        self.register_buffer("bounds_2G", torch.tensor(bounds).T.contiguous(), persistent=False)

    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        return self.family.log_prob(x, params) + self.curves.log_slope(x)

    def mean(self, params: Tensor) -> Tensor:
        return self.from_moment(self.moments(params)[0])

    def std(self, params: Tensor) -> Tensor:
        first, second = self.moments(params)
        return (second - first.square()).clamp(min=0).sqrt()

    def sample(self, params: Tensor, generator: torch.Generator) -> Tensor:
        return self.family.sample(params, generator)

    def moments(self, params: Tensor) -> tuple[Tensor, Tensor]:
        total, first, second = (torch.zeros_like(params[0]) for _ in range(3))
        low_G, high_G = self.bounds_2G
        for x, weight in self.family.nodes(params):
            u = self.curves.inverse(x).clamp(low_G, high_G)
            total, first, second = total + weight, first + weight * u, second + weight * u.square()
        return first / total, second / total

    def from_moment(self, first: Tensor) -> Tensor:
        return self.curves(first)


class PointMassFamily(Family):
    """The probability of one value, such as an amount of 0, and a density of all others.

    `log_prob` of the value is of its probability, which has no unit: a model with a point mass and one without it score
    different things.

    Args:
        family: Density of the others.
        columns: The columns; each curve says where its mass is.
    """

    is_discrete = False

    def __init__(self, family: CurvedFamily, columns: Sequence[Column]) -> None:
        super().__init__()
        self.family = family
        self.num_params = 1 + family.num_params
        masses = [(x, (value - one.mean) / one.std) for one in columns for value, x in [_mass(one)]]
        self.masses_2G: Tensor
        self.register_buffer("masses_2G", torch.tensor(masses).T.contiguous(), persistent=False)

    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        others = F.logsigmoid(-params[0]) + self.family.log_prob(x, params[1:])
        return torch.where(x == self.masses_2G[0], F.logsigmoid(params[0]), others)

    def mean(self, params: Tensor) -> Tensor:
        return self.from_moment(self.moments(params)[0])

    def std(self, params: Tensor) -> Tensor:
        first, second = self.moments(params)
        return (second - first.square()).clamp(min=0).sqrt()

    def sample(self, params: Tensor, generator: torch.Generator) -> Tensor:
        is_mass = uniform(params[0], generator) < params[0].sigmoid()
        return torch.where(is_mass, self.masses_2G[0], self.family.sample(params[1:], generator))

    def moments(self, params: Tensor) -> tuple[Tensor, Tensor]:
        share, mass_u = params[0].sigmoid(), self.masses_2G[1]
        first, second = self.family.moments(params[1:])
        return first + share * (mass_u - first), second + share * (mass_u.square() - second)

    def from_moment(self, first: Tensor) -> Tensor:
        return self.family.from_moment(first)


def _mass(column: Column) -> tuple[float, float]:
    assert column.curve is not None, "masses stand beside curves"
    assert column.curve.mass is not None, "columns with a mass are grouped together"
    return column.curve.mass
