"""The continuous Bernoulli likelihood."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from vae.parts.likelihoods.likelihood import GREY_LEVEL, Family, PixelLikelihoodPart, Support, held, uniform


class ContinuousBernoulli(PixelLikelihoodPart):
    """p(x|z) over [0, 1], the Bernoulli's shape with its normaliser (Loaiza-Ganem & Cunningham 2019)."""

    support: ClassVar[Support] = "unit interval"
    has_grey_floor: ClassVar[bool] = True

    kind: Literal["continuous_bernoulli"] = "continuous_bernoulli"

    @property
    def summary(self) -> str:
        return "continuous Bernoulli"

    @property
    def learns_noise(self) -> bool:
        return False

    def family(self) -> Family:
        return ContinuousBernoulliFamily()


class ContinuousBernoulliFamily(Family):
    """x ∈ [0, 1] with density ∝ e^{λx}, the Bernoulli's shape with its normaliser.

    The density falls or rises by a factor of e over 1/|λ|, its scale, which is at least one grey level: |λ| ≤ 255.

    With h = λ/2 the density is exp(λ(x − ½)) · h / sinh h. Its moments follow from A(h) = log(sinh h / h): the mean is
    ½ + A'(h)/2, the variance A''(h)/4. Near 0, where x is uniform, A and its derivatives are Taylor series.

    References:
        Loaiza-Ganem & Cunningham, The continuous Bernoulli (2019), section 3. https://arxiv.org/abs/1907.06845
    """

    num_params = 1
    is_discrete = False

    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        logits = self._steepness(params)
        h = logits.abs() / 2
        # h is split in min(h, ½) and max(h, ½), by the one function whose gradient is fast on a CPU. Where the series moves
        # the exact form stays as at ½, where they are equal, and the other way round.
        beyond = F.relu(h - 0.5)
        square, far = (h - beyond).square(), 0.5 + beyond
        series = square * (1 / 6 - square * (1 / 180 - square * (1 / 2835 - square * (1 / 37800 - square / 467775))))
        exact = far + torch.log((1 - torch.exp(-2 * far)) / (2 * far))
        return logits * (x - 0.5) - series - (exact - math.log(2 * math.sinh(0.5)))

    def mean(self, params: Tensor) -> Tensor:
        logits = self._steepness(params)
        near, square, h = self._half(logits)
        series = logits.abs() / 2 * (1 / 3 - square * (1 / 45 - square * (2 / 945 - square / 4725)))
        return 0.5 + 0.5 * logits.sign() * torch.where(near, series, 1 / torch.tanh(h) - 1 / h)

    def std(self, params: Tensor) -> Tensor:
        near, square, h = self._half(self._steepness(params))
        series = 1 / 3 - square * (1 / 15 - square * (2 / 189 - square / 675))
        exact = h.reciprocal().square() - 4 * torch.exp(-2 * h) / torch.expm1(-2 * h).square()
        return 0.5 * torch.where(near, series, exact).sqrt()

    def sample(self, params: Tensor, generator: torch.Generator) -> Tensor:
        """Inverts the distribution function, on the side that does not overflow."""
        logits = self._steepness(params)
        steepness = logits.abs().clamp_min(1e-6)
        falling = torch.log1p(uniform(steepness, generator) * torch.expm1(-steepness)) / -steepness
        return torch.where(logits > 0, 1 - falling, falling)

    @staticmethod
    def _steepness(params: Tensor) -> Tensor:
        """Returns λ, [...]."""
        return held(params.squeeze(0), low=-1 / GREY_LEVEL, high=1 / GREY_LEVEL)

    @staticmethod
    def _half(logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns whether |h| < ½, for the series; h², at most ¼; and |h|, at least ½."""
        h = logits.abs() / 2
        return h < 0.5, h.clamp_max(0.5).square(), h.clamp_min(0.5)
