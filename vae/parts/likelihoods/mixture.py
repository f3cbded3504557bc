"""Families of numbers whose density has several modes: mixtures of logistics, and their masses of whole numbers.

Shapes: M components of a mixture, P parameters of a value, G columns; `...` is any shape of values, whose last dimension
is of the columns where there are curves.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from vae.data.schema import Column
from vae.data.transforms.curves import Curves
from vae.parts.likelihoods.curved import CurvedFamily
from vae.parts.likelihoods.likelihood import NumberFamily, choose, exponential, inverse_softplus

COMPONENTS = 5
"""Logistics in the mixture of a number."""
LOG_SCALE_FLOOR = math.log(0.01)
"""Lower bound of the logarithm of a scale, in the unit of x: values that many entries share would make the density
unbounded."""
NODES = tuple(1.5 * place for place in range(-6, 7))
"""Scales from a component's location to the nodes of an expectation."""


class MixtureFamily(NumberFamily):
    """Density of x by a mixture of logistics, which start side by side over the standard normal.

    References:
        Salimans, Karpathy, Chen & Kingma, PixelCNN++ (2017), section 2.1. https://arxiv.org/abs/1701.05517
    """

    is_discrete = False

    def __init__(self, num_components: int = COMPONENTS) -> None:
        super().__init__()
        self.num_params = 3 * num_components
        self.offset = inverse_softplus(-math.log(num_components) - LOG_SCALE_FLOOR)
        shares = (torch.arange(num_components) + 0.5) / num_components
        self.start_M: Tensor
        self.register_buffer("start_M", torch.special.ndtri(shares), persistent=False)

    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        logits, location, log_scale = self._parts(params)
        noise = (x - location) * torch.exp(-log_scale)
        log_density = F.logsigmoid(noise) + F.logsigmoid(-noise) - log_scale
        return (logits.log_softmax(0) + log_density).logsumexp(0)

    def log_mass(self, low: Tensor, high: Tensor, params: Tensor) -> Tensor:
        """Returns the logarithm of the probability between two values of x, [...] each.

        It is σ(b) − σ(a) = σ(b) σ(−a) (1 − e^{a−b}) for the ends a and b in scales from a component's location.
        """
        logits, location, log_scale = self._parts(params)
        inverse_scale = torch.exp(-log_scale)
        below, above = F.logsigmoid((high - location) * inverse_scale), F.logsigmoid((location - low) * inverse_scale)
        between = torch.log(-torch.expm1(-(high - low) * inverse_scale))
        return (logits.log_softmax(0) + below + above + between).logsumexp(0)

    def mean(self, params: Tensor) -> Tensor:
        logits, location, _ = self._parts(params)
        return (logits.softmax(0) * location).sum(0)

    def std(self, params: Tensor) -> Tensor:
        logits, location, log_scale = self._parts(params)
        share = logits.softmax(0)
        apart = location - (share * location).sum(0)
        return (share * (apart.square() + (2 * log_scale).exp() * (math.pi**2 / 3))).sum(0).sqrt()

    def sample(self, params: Tensor, generator: torch.Generator) -> Tensor:
        logits, location, log_scale = self._parts(params)
        component = choose(logits, generator)[None]
        location, log_scale = location.gather(0, component)[0], log_scale.gather(0, component)[0]
        noise = torch.log(exponential(location, generator) / exponential(location, generator))
        return location + log_scale.exp() * noise

    def nodes(self, params: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        logits, location, log_scale = self._parts(params)
        for share, middle, scale in zip(logits.softmax(0), location, log_scale.exp(), strict=True):
            for noise in NODES:
                weight = 1 / (2 * math.cosh(noise / 2)) ** 2
                yield middle + scale * noise, weight * share

    def _parts(self, params: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns logits, locations and log scales of the components, each [M,...]."""
        logits, location, raw_scale = params.chunk(3)
        start = self.start_M.to(params.dtype).view(-1, *(1 for _ in params.shape[1:]))
        return logits, start + location, LOG_SCALE_FLOOR + F.softplus(raw_scale + self.offset)


class WholeMixtureFamily(CurvedFamily):
    """Probability of whole numbers that a curve bends, as a density over cells of the line whose width is 1.

    A mixture of logistics has the mass of a number's cell. So a number that many entries share costs no more than its
    probability, and the score stays in the unit of other numbers.

    Args:
        family: Mixture of x.
        curves: Curves of the columns.
        columns: The columns, with their means and standard deviations.
    """

    family: MixtureFamily

    def __init__(self, family: MixtureFamily, curves: Curves, columns: Sequence[Column]) -> None:
        super().__init__(family, curves, columns)
        self.scales_2G: Tensor
        scales = [(column.mean, column.std) for column in columns]
        self.register_buffer("scales_2G", torch.tensor(scales).T.contiguous(), persistent=False)

    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        number, half = self._number(x), 0.5 / self.scales_2G[1]
        low, high = self._bent(number, -half), self._bent(number, half)
        return self.family.log_mass(low, high, params) + self.scales_2G[1].log()

    def sample(self, params: Tensor, generator: torch.Generator) -> Tensor:
        return self._bent(self._number(super().sample(params, generator)), torch.zeros_like(self.scales_2G[1]))

    def _number(self, x: Tensor) -> Tensor:
        """Returns the whole number of x, [...]."""
        mean_G, std_G = self.scales_2G
        return (mean_G + self.curves.inverse(x) * std_G).round()

    def _bent(self, number: Tensor, apart_G: Tensor) -> Tensor:
        """Returns the x of a whole number, moved by a part of a standard deviation, [...]."""
        mean_G, std_G = self.scales_2G
        return self.curves((number - mean_G) / std_G + apart_G)
