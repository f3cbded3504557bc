"""The likelihood of a mixture of discretised logistics.

Shapes: M components of a mixture; `...` is any shape of values.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from vae.parts.likelihoods.likelihood import (
    INITIAL_SCALE,
    Family,
    PixelLikelihoodPart,
    Support,
    choose,
    exponential,
    inverse_softplus,
    level_nats,
)
from vae.parts.part import Positive

FAR = 1e5
"""Distance of the missing end of an outer level from the location, in scales."""


class DiscretizedLogistic(PixelLikelihoodPart):
    """p(x|z) over 256 levels by a mixture of logistics for each value (Salimans et al. 2017, not autoregressive)."""

    support: ClassVar[Support] = "grey levels"

    kind: Literal["discretized_logistic"] = "discretized_logistic"
    components: Positive = 5
    """Number of logistics in the mixture of each value."""

    @property
    def summary(self) -> str:
        return f"mixture of {self.components} discretised logistics"

    @property
    def targets(self) -> str:
        return "probability of the 256 levels of each pixel"

    def collapsed_decoder(self, mean_D: Tensor, variance_D: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return level_nats(variance_D, 256)

    def family(self) -> Family:
        return DiscretizedLogisticFamily(self.components, INITIAL_SCALE)


class DiscretizedLogisticFamily(Family):
    """x ∈ {0, 1/255, …, 1} by a mixture of logistics: each level has the mass of its width, the outer two their tails too.

    A level [a, b] (in scales from the location) has the mass σ(b) − σ(a) = σ(b) σ(−a) (1 − e^{a−b}), and a − b is known, so
    that its logarithm is exact wherever it lies. Log scales have a floor, as in the paper.

    References:
        Salimans, Karpathy, Chen & Kingma, PixelCNN++ (2017), section 2.1; not autoregressive here.
        https://arxiv.org/abs/1701.05517
    """

    is_discrete = True
    log_scale_floor = -7 - math.log(2)
    """The paper's −7, for pixels in [−1, 1], in the unit of [0, 1]."""

    def __init__(self, num_components: int, initial_scale: float) -> None:
        super().__init__()
        self.num_params = 3 * num_components
        self.offset = inverse_softplus(math.log(initial_scale) - self.log_scale_floor)

    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        logits, location, raw_scale = params.chunk(3)
        # e^{-softplus(y)} is σ(−y).
        inverse_scale = torch.sigmoid(-raw_scale - self.offset) * math.exp(-self.log_scale_floor)
        width = inverse_scale / 255
        # The lowest level has no lower end, the highest no upper one: it lies far away. `where` is slow on a CPU.
        no_upper, no_lower = (x > 254.5 / 255).to(x.dtype) * FAR, (x < 0.5 / 255).to(x.dtype) * FAR
        upper = (x - location.sigmoid()) * inverse_scale + width / 2
        lower = width - upper + no_lower
        upper = upper + no_upper
        # σ(t) is σ(|t|) e^{min(t, 0)}. One logarithm for each value costs less than three for each component.
        mass = upper.abs().sigmoid() * lower.abs().sigmoid() * -torch.expm1(-width - (no_upper + no_lower))
        log_weight = logits + upper.clamp(max=0) + lower.clamp(max=0)
        highest = log_weight.detach().amax(0)
        return highest + ((log_weight - highest).exp() * mass).sum(0).log() - logits.logsumexp(0)

    def mean(self, params: Tensor) -> Tensor:
        """Returns ∫P(x > t)dt over [0, 1], where P(x > t) = Σ wσ((μ − t)/s): of x clipped to [0, 1] but not rounded.

        The exact sum over 256 levels, which costs as many passes, is this integral's midpoint rule: they are equal to 1e-5
        where s is a level or more, and never further apart than half a level, 0.002.
        """
        logits, location, log_scale = self._parts(params)
        scale = log_scale.exp()
        area = F.softplus(location / scale) - F.softplus((location - 1) / scale)
        return (logits.softmax(0) * scale * area).sum(0)

    def std(self, params: Tensor) -> Tensor:
        """Returns the standard deviation as the mean is found, from E[x²] = ∫2t P(x > t)dt."""
        logits, location, log_scale = self._parts(params)
        scale = log_scale.exp()
        to_0, to_1 = location / scale, (location - 1) / scale
        area = scale * (integrated_softplus(to_0) - integrated_softplus(to_1)) - F.softplus(to_1)
        square = (logits.softmax(0) * 2 * scale * area).sum(0)
        return (square - self.mean(params).square()).clamp_min(0).sqrt()

    def sample(self, params: Tensor, generator: torch.Generator) -> Tensor:
        logits, location, log_scale = self._parts(params)
        component = choose(logits, generator)[None]
        location, log_scale = location.gather(0, component)[0], log_scale.gather(0, component)[0]
        noise = torch.log(exponential(location, generator) / exponential(location, generator))
        return ((location + log_scale.exp() * noise).clamp(0, 1) * 255).round() / 255

    def _parts(self, params: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns logits, locations in [0, 1] and log scales of the components, each [M,...]."""
        logits, location, raw_scale = params.chunk(3)
        return logits, location.sigmoid(), self.log_scale_floor + F.softplus(raw_scale + self.offset)


def integrated_softplus(y: Tensor) -> Tensor:
    """Returns ∫ log(1 + eᵗ) dt from −∞ to y, which is −Li₂(−eʸ).

    By the series of Li₂ in u = log(1 + e^{−|y|}) ≤ log 2, with Bernoulli's numbers, and its inversion for y > 0.
    """
    u = F.softplus(-y.abs())
    square = u.square()
    lower = u * (1 + u * (1 / 4 + u * (1 / 36 - square * (1 / 3600 - square * (1 / 211680 - square / 10886400)))))
    return torch.where(y > 0, y.square() / 2 + math.pi**2 / 6 - lower, lower)
