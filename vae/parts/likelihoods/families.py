"""Families: the density of one value, given its parameters. Those that are bounded or discrete; the others are in
`location_scale.py`.

Shapes: P parameters of a value, M components of a mixture, K categories; `...` is any shape of values. Parameters come as
[P,...], the first dimension theirs.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

GREY_LEVEL = 1 / 255
"""Distance of two neighbouring grey values of an 8-bit pixel, in the unit of [0, 1]: the floor of trained scales of pixels.

A pixel is known to one grey level, so a narrower density scores higher without predicting better. With this floor a
density is at most 255, and the density at all 256 grey values times 1/255 sums to at most 1 for a Gaussian or Student's t,
1.09 for a Laplace. So NLL + log 255 of a pixel is the cost of a discrete prediction, and a blank border earns nothing.

References:
    Theis, van den Oord & Bethge, A note on the evaluation of generative models (2016), section 3.1.
    https://arxiv.org/abs/1511.01844
"""


class Family(nn.Module, ABC):
    """The density (or the probability) of single values, elementwise and in nats."""

    num_params: int
    """P, numbers of the decoder for each value."""
    is_discrete: bool
    """Whether `log_prob` is of a probability; a density depends on the unit of x."""

    @abstractmethod
    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        """Log p(x), [...], of values [...] in the family's support and parameters [P,...]; 0 is in every support."""

    @abstractmethod
    def mean(self, params: Tensor) -> Tensor:
        """E[x], [...]."""

    @abstractmethod
    def std(self, params: Tensor) -> Tensor:
        """Standard deviation of x, [...]."""

    @abstractmethod
    def sample(self, params: Tensor, generator: torch.Generator) -> Tensor:
        """One draw of each value, [...]."""


class BernoulliFamily(Family):
    """x ∈ {0, 1}, from the logit of its probability of 1: finite where the probability would be rounded to 0 or 1."""

    num_params = 1
    is_discrete = True

    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        logits = params.squeeze(0)
        return -F.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none")

    def mean(self, params: Tensor) -> Tensor:
        return params[0].sigmoid()

    def std(self, params: Tensor) -> Tensor:
        return (params[0].sigmoid() * (-params[0]).sigmoid()).sqrt()

    def sample(self, params: Tensor, generator: torch.Generator) -> Tensor:
        probability = self.mean(params)
        return (uniform(probability, generator) < probability).to(probability.dtype)


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
        """By the inverse of the distribution function, on the side where it does not overflow."""
        logits = self._steepness(params)
        steepness = logits.abs().clamp_min(1e-6)
        falling = torch.log1p(uniform(steepness, generator) * torch.expm1(-steepness)) / -steepness
        return torch.where(logits > 0, 1 - falling, falling)

    @staticmethod
    def _steepness(params: Tensor) -> Tensor:
        """λ, [...]."""
        return held(params.squeeze(0), low=-1 / GREY_LEVEL, high=1 / GREY_LEVEL)

    @staticmethod
    def _half(logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Where |h| < ½, for the series; h², at most ¼; and |h|, at least ½."""
        h = logits.abs() / 2
        return h < 0.5, h.clamp_max(0.5).square(), h.clamp_min(0.5)


class CategoryFamily(Family):
    """x is a category's code, 0 … K−1, one logit for each.

    Codes have no mean: `mean` is the most probable code, the mode, and `std` the root of the probability of another one.
    """

    is_discrete = True

    def __init__(self, num_categories: int) -> None:
        super().__init__()
        self.num_params = num_categories

    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        codes = x.long().expand(params.shape[1:])
        return params.gather(0, codes[None])[0] - params.logsumexp(0)

    def probabilities(self, params: Tensor) -> Tensor:
        """Returns the probability of each category, [K,...]."""
        # Tables keep the parameters of a value together in memory, and softmax takes three times as long across memory.
        return params.movedim(0, -1).softmax(-1).movedim(-1, 0)

    def mean(self, params: Tensor) -> Tensor:
        """The most probable code, [...]."""
        return params.argmax(0).to(params.dtype)

    def std(self, params: Tensor) -> Tensor:
        """√(1 − largest probability), [...]: the root mean square of being wrong, which is 0 or 1."""
        return (-torch.expm1(params.amax(0) - params.logsumexp(0))).clamp(min=0).sqrt()

    def sample(self, params: Tensor, generator: torch.Generator) -> Tensor:
        return choose(params, generator).to(params.dtype)


class LevelFamily(CategoryFamily):
    """x ∈ {0, 1/255, …, 1} put into K levels of equal width, one logit for each; `log_prob` is of the level.

    A level's value is the mean of the grey values in it. Scores of different K are of different things.
    """

    def __init__(self, num_levels: int) -> None:
        super().__init__(num_levels)
        grey = torch.arange(256)
        members = F.one_hot(grey * num_levels // 256, num_levels).float()
        values = (members * grey[:, None]).sum(0) / (255 * members.sum(0))
        self.values_K: Tensor
        self.register_buffer("values_K", values, persistent=False)

    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        return super().log_prob(torch.floor((x * 255).round() * (self.num_params / 256)), params)

    def mean(self, params: Tensor) -> Tensor:
        return (params.softmax(0) * self._values(params)).sum(0)

    def std(self, params: Tensor) -> Tensor:
        probability, values = params.softmax(0), self._values(params)
        mean = (probability * values).sum(0)
        return (probability * (values - mean).square()).sum(0).sqrt()

    def sample(self, params: Tensor, generator: torch.Generator) -> Tensor:
        return self.values_K[choose(params, generator)].to(params.dtype)

    def _values(self, params: Tensor) -> Tensor:
        """[K,1,…], beside parameters [K,...]."""
        return self.values_K.to(params.dtype).view(-1, *(1 for _ in params.shape[1:]))


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
        logits, location, log_scale = self._parts(params)
        inverse_scale = torch.exp(-log_scale)
        width = inverse_scale / 255
        upper = (x - location) * inverse_scale + width / 2
        # Factors of 0 or 1: the lowest level has no lower end, the highest no upper one. `where` is slow on a CPU.
        has_upper, has_lower = (x < 254.5 / 255).to(x.dtype), (x > 0.5 / 255).to(x.dtype)
        below, above = F.logsigmoid(upper) * has_upper, F.logsigmoid(width - upper) * has_lower
        between = torch.log(-torch.expm1(-width)) * (has_upper * has_lower)
        return (logits.log_softmax(0) + below + above + between).logsumexp(0)

    def mean(self, params: Tensor) -> Tensor:
        """∫P(x > t)dt over [0, 1], where P(x > t) = Σ wσ((μ − t)/s): of x clipped to [0, 1] but not rounded.

        The exact sum over 256 levels, which costs as many passes, is this integral's midpoint rule: they are equal to 1e-5
        where s is a level or more, and never further apart than half a level, 0.002.
        """
        logits, location, log_scale = self._parts(params)
        scale = log_scale.exp()
        area = F.softplus(location / scale) - F.softplus((location - 1) / scale)
        return (logits.softmax(0) * scale * area).sum(0)

    def std(self, params: Tensor) -> Tensor:
        """As the mean, from E[x²] = ∫2t P(x > t)dt."""
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
        """Logits, locations in [0, 1] and log scales of the components, each [M,...]."""
        logits, location, raw_scale = params.chunk(3)
        return logits, location.sigmoid(), self.log_scale_floor + F.softplus(raw_scale + self.offset)


def held(value: Tensor, low: float, high: float = math.inf) -> Tensor:
    """Clamps a value to [low, high] and leaves its gradient, so that training can still move it back inside."""
    return value + (value.clamp(low, high) - value).detach()


def inverse_softplus(y: float) -> float:
    """X with log(1 + eˣ) = y > 0."""
    return y + math.log(-math.expm1(-y))


def integrated_softplus(y: Tensor) -> Tensor:
    """∫ log(1 + eᵗ) dt from −∞ to y, which is −Li₂(−eʸ).

    By the series of Li₂ in u = log(1 + e^{−|y|}) ≤ log 2, with Bernoulli's numbers, and its inversion for y > 0.
    """
    u = F.softplus(-y.abs())
    square = u.square()
    lower = u * (1 + u * (1 / 4 + u * (1 / 36 - square * (1 / 3600 - square * (1 / 211680 - square / 10886400)))))
    return torch.where(y > 0, y.square() / 2 + math.pi**2 / 6 - lower, lower)


def uniform(like: Tensor, generator: torch.Generator) -> Tensor:
    """Uniform in [0, 1), in the shape of `like`."""
    return torch.rand(like.shape, generator=generator, device=like.device, dtype=like.dtype)


def exponential(like: Tensor, generator: torch.Generator) -> Tensor:
    """Exponential of rate 1, above 0, in the shape of `like`."""
    noise = torch.empty(like.shape, device=like.device, dtype=like.dtype).exponential_(generator=generator)
    return noise.clamp_min_(torch.finfo(like.dtype).tiny)


def choose(logits: Tensor, generator: torch.Generator) -> Tensor:
    """Indices drawn from logits [K,...], int64 [...], by the Gumbel maximum."""
    return (logits - exponential(logits, generator).log()).argmax(0)
