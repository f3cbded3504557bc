"""The categorical likelihood over levels of grey, and the family of categories.

Shapes: K categories; `...` is any shape of values.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from vae.parts.likelihoods.likelihood import Family, PixelLikelihoodPart, Support, choose, level_nats


class Categorical(PixelLikelihoodPart):
    """p(x|z) over equally spaced levels of each pixel, one logit for each."""

    support: ClassVar[Support] = "grey levels"

    kind: Literal["categorical"] = "categorical"
    levels: Annotated[int, Field(ge=2, le=256)] = 16
    """Number of levels, of equal width, into which a pixel's 256 values are put."""

    @property
    def summary(self) -> str:
        return f"categorical over {self.levels} levels"

    @property
    def learns_noise(self) -> bool:
        return False

    @property
    def targets(self) -> str:
        return f"probability of {self.levels} levels of each pixel"

    @property
    def protocol(self) -> str:
        return f"{self.kind}{self.levels}"

    def collapsed_decoder(self, mean_D: Tensor, variance_D: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return level_nats(variance_D, self.levels)

    def family(self) -> Family:
        return LevelFamily(self.levels)


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
        """Returns the most probable code, [...]."""
        return params.argmax(0).to(params.dtype)

    def std(self, params: Tensor) -> Tensor:
        """Returns √(1 − largest probability), [...]: the root mean square of being wrong, which is 0 or 1."""
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
        """Returns the levels' values as [K,1,…], to fit parameters [K,...]."""
        return self.values_K.to(params.dtype).view(-1, *(1 for _ in params.shape[1:]))
