"""The family of ordered categories.

Shapes: K categories; `...` is any shape of values.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from vae.parts.likelihoods.categorical import CategoryFamily
from vae.parts.likelihoods.likelihood import inverse_softplus


class OrdinalFamily(CategoryFamily):
    """x is a category's code, 0 … K−1, and P(x ≤ k) = σ(θ_k): cumulative logits, with rising thresholds from the decoder.

    The first parameter is θ_0, the others are the distances of the next ones before the softplus.

    References:
        McCullagh, Regression Models for Ordinal Data (1980). Nazábal et al., Handling Incomplete Heterogeneous Data using
        VAEs (2020), section 2.4. https://arxiv.org/abs/1807.03653
    """

    def __init__(self, num_categories: int) -> None:
        super().__init__(num_categories)
        self.num_params = num_categories - 1

    def logits(self, params: Tensor) -> Tensor:
        """Returns the logarithms of the probabilities, [K,...]."""
        steps = F.softplus(params[1:] + inverse_softplus(1.0)) + 1e-4
        thresholds = torch.cat([params[:1], params[:1] + steps.cumsum(0)])
        # log(σ(b) − σ(a)) = log σ(b) + log σ(−a) + log(1 − e^{a−b})
        below, above = F.logsigmoid(thresholds), F.logsigmoid(-thresholds)
        between = below[1:] + above[:-1] + torch.log(-torch.expm1(-steps))
        return torch.cat([below[:1], between, above[-1:]])

    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        return super().log_prob(x, self.logits(params))

    def probabilities(self, params: Tensor) -> Tensor:
        return super().probabilities(self.logits(params))

    def mean(self, params: Tensor) -> Tensor:
        return super().mean(self.logits(params))

    def std(self, params: Tensor) -> Tensor:
        return super().std(self.logits(params))

    def sample(self, params: Tensor, generator: torch.Generator) -> Tensor:
        return super().sample(self.logits(params), generator)
