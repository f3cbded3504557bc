"""Families of x = μ + s·ε, with ε of a standard density: normal, Laplace, Student's t.

Shapes: P parameters of a value; `...` is any shape of values. Parameters come as [P,...]: the location, the raw scale, and
the other parameters of the standard density.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vae.parts.likelihoods.likelihood import NumberFamily, held, inverse_softplus

Location = Callable[[Tensor], Tensor]

LOG_SIGMA_FLOOR = -6.0
"""Lower bound of the logarithm of every trained scale: without one, constant values make the density unbounded (Rybkin et
al. 2021, section 4)."""


def anywhere(raw: Tensor) -> Tensor:
    """Returns a location on the whole line, for numbers of a table."""
    return raw


def in_unit_interval(raw: Tensor) -> Tensor:
    """Returns a location in [0, 1], for pixels."""
    return raw.sigmoid()


class FixedScale(nn.Module):
    """One scale for all values, not trained."""

    num_params = 0

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.raw: Tensor
        self.register_buffer("raw", torch.tensor(math.log(scale)))

    def forward(self, raw: Sequence[Tensor]) -> Tensor:
        """Returns log s, a scalar."""
        return self.raw


class LearnedScale(nn.Module):
    """One scale for all values, a trained parameter.

    Args:
        initial: Scale before training, above e⁻⁶.
        log_floor: Lower bound of the scale's logarithm in the density. The parameter itself is bounded by −6.

    References:
        Rybkin, Daniilidis & Levine, Simple and effective VAE training with calibrated decoders (2021).
        https://arxiv.org/abs/2006.13202
    """

    num_params = 0

    def __init__(self, initial: float, log_floor: float = LOG_SIGMA_FLOOR) -> None:
        super().__init__()
        self.log_floor = log_floor
        self.raw = nn.Parameter(torch.tensor(inverse_softplus(math.log(initial) - LOG_SIGMA_FLOOR)))

    def forward(self, raw: Sequence[Tensor]) -> Tensor:
        """Returns log s, a scalar."""
        return held(LOG_SIGMA_FLOOR + F.softplus(self.raw), low=self.log_floor)


class DecodedScale(nn.Module):
    """A scale for each value, from the decoder.

    Args:
        initial: Scale for an output of 0 from the decoder, above e⁻⁶.
        log_floor: Lower bound of the scale's logarithm, −6 or above.
    """

    num_params = 1

    def __init__(self, initial: float, log_floor: float = LOG_SIGMA_FLOOR) -> None:
        super().__init__()
        self.log_floor = log_floor
        self.offset = inverse_softplus(math.log(initial) - LOG_SIGMA_FLOOR)

    def forward(self, raw: Sequence[Tensor]) -> Tensor:
        """Returns log s, [...]."""
        return held(LOG_SIGMA_FLOOR + F.softplus(raw[1] + self.offset), low=self.log_floor)


class LocationScaleFamily(NumberFamily):
    """Density of x = μ + s·ε.

    Args:
        location: Function from a raw parameter to μ.
        scale: Module from the parameters to log s.
    """

    is_discrete = False
    num_nodes: ClassVar[int] = 16
    """Number of nodes of an expectation on either side of the location."""
    farthest_node: ClassVar[float] = 30.0
    """Distance of the last nodes from the location, in scales."""

    def __init__(self, location: Location, scale: FixedScale | LearnedScale | DecodedScale) -> None:
        super().__init__()
        self.location = location
        self.log_scale = scale
        self.num_params = 1 + scale.num_params

    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        raw = self._raw(params)
        log_scale = self.log_scale(raw)
        return self.standard_log_prob((x - self.location(raw[0])) * torch.exp(-log_scale), raw) - log_scale

    def mean(self, params: Tensor) -> Tensor:
        return self.location(params[0])

    def std(self, params: Tensor) -> Tensor:
        raw = self._raw(params)
        return (self.log_scale(raw).exp() * self.standard_std(raw)).expand_as(raw[0])

    def sample(self, params: Tensor, generator: torch.Generator) -> Tensor:
        raw = self._raw(params)
        return self.location(raw[0]) + self.log_scale(raw).exp() * self.standard_sample(raw, generator)

    def nodes(self, params: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        raw = self._raw(params)
        location, scale = self.location(raw[0]), self.log_scale(raw).exp()
        bend = math.log(self.farthest_node)
        for place in range(-self.num_nodes, self.num_nodes + 1):
            angle = bend * place / self.num_nodes
            noise = location.new_tensor(self.farthest_node * math.sinh(angle) / math.sinh(bend))
            width = math.cosh(angle)
            yield location + scale * noise, width * self.standard_log_prob(noise, raw).exp()

    def _raw(self, params: Tensor) -> Sequence[Tensor]:
        """Returns the P parameters, each [...]; not by indices, whose gradients are each as large as all parameters."""
        return (params.squeeze(0),) if self.num_params == 1 else params.unbind()

    @abstractmethod
    def standard_log_prob(self, noise: Tensor, raw: Sequence[Tensor]) -> Tensor:
        """Returns the log density of ε, [...]."""

    @abstractmethod
    def standard_std(self, raw: Sequence[Tensor]) -> Tensor | float:
        """Returns the standard deviation of ε."""

    @abstractmethod
    def standard_sample(self, raw: Sequence[Tensor], generator: torch.Generator) -> Tensor:
        """Draws ε, [...]."""
