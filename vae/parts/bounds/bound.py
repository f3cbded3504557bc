"""The base of bounds: from per-example terms to the number that is minimised, the only place that reduces over a batch.

Shapes: S samples, B batch.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from vae.parts.part import Part
from vae.parts.terms import Beta, Terms

if TYPE_CHECKING:
    from vae.config.model import ModelConfig
    from vae.config.objective import ObjectiveConfig


class BoundPart(Part):
    """A lower bound of log p(x), at β = 1."""

    weighs_draws: ClassVar[bool] = True
    """Whether the bound weighs several draws of the posterior by their importance."""
    has_rate: ClassVar[bool] = True
    """Whether the rate is a term of its own, which a controller can change."""
    samples: int
    """Draws of z for each example."""

    @abstractmethod
    def loss(self, terms: Terms, beta: Beta, weighted_elbo: Callable[[], Tensor]) -> Tensor:
        """Returns the negative bound, a scalar in nats per example.

        Args:
            terms: Terms of a batch.
            beta: Weight of the rate.
            weighted_elbo: Function that returns the distortion plus the controller's weighted rate.
        """

    @abstractmethod
    def in_words(self, rate: str) -> str:
        """Returns the loss as text, from the controller's text for the weighted rate."""

    def check_objective(self, model: ModelConfig, objective: ObjectiveConfig, batch_size: int) -> None:
        """Raises ValueError if the bound does not fit the model."""
        if self.weighs_draws and model.posterior.has_codes:
            raise ValueError(
                f"objective.bound: {self.kind} weighs draws of the posterior, and a {model.posterior.kind} one is a "
                "single code; use elbo"
            )


@dataclass(frozen=True)
class Losses:
    """Means over the batch, in nats per example."""

    loss: Tensor
    """Number that is minimised."""
    distortion: Tensor
    rate: Tensor


def bound_loss(terms: Terms, objective: ObjectiveConfig, beta: Beta, capacity: Beta = 0.0) -> Losses:
    r"""Returns the negative bound with β, without regularisers, in nats per example.

    Args:
        terms: Terms of one or more draws for each example.
        objective: The bound and the controller.
        beta: Weight of the rate, one for all or one for each example [B]; 1 gives the bound itself.
        capacity: Rate in nats towards which a capacity controller pulls.

    References:
        Higgins et al., β-VAE (2017), eq. 4. https://openreview.net/forum?id=Sy2fzU9gl
    """
    # The mean over the batch alone, so that β keeps its meaning at every batch size, image size and world size.
    distortion, rate = terms.distortion.mean(), terms.rate.mean()
    loss = objective.bound.loss(
        terms, beta, lambda: distortion + objective.controller.weighted_rate(terms, rate, beta, capacity)
    )
    if terms.draw.penalty is not None:
        loss = loss + terms.draw.penalty.mean()
    return Losses(loss, distortion, rate)


def importance_weighted(terms: Terms, beta: Beta = 1.0) -> Tensor:
    """Returns log 1/S Σ w of each example, [B], with the ratio of prior to posterior to the power of β.

    References:
        Burda, Grosse & Salakhutdinov, Importance Weighted Autoencoders (2016), eq. 8. https://arxiv.org/abs/1509.00519
    """
    log_weight_SB = terms.log_likelihood + beta * (terms.prior.log_prob(terms.draw) - terms.draw.log_prob())
    return torch.logsumexp(log_weight_SB, dim=0) - math.log(len(log_weight_SB))
