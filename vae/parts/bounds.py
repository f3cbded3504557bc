"""Objectives: from per-example terms to the one number that is minimised. The only place that reduces over a batch.

Shapes: S samples, B batch, L latent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import assert_never

import torch
from torch import Tensor

from vae.config import Capacity, Ciwae, Elbo, FreeBits, Iwae, ObjectiveConfig
from vae.model import Terms
from vae.parts.ranks import gather


@dataclass(frozen=True)
class Losses:
    """Means over the batch, in nats per example."""

    loss: Tensor
    """What is minimised."""
    distortion: Tensor
    rate: Tensor


def bound_loss(terms: Terms, config: ObjectiveConfig, beta: float | Tensor, capacity: float | Tensor = 0.0) -> Losses:
    r"""The negative bound with β, without regularisers, in nats per example.

    Args:
        terms: Of one or more draws per example.
        config: Says which bound, and what is made of the rate.
        beta: Weight of the rate, one for all or one for each example [B]; 1 gives the bound itself.
        capacity: Where a capacity controller pulls the rate to, in nats.

    References:
        Higgins et al., β-VAE (2017), eq. 4. https://openreview.net/forum?id=Sy2fzU9gl
        Burda, Grosse & Salakhutdinov, Importance Weighted Autoencoders (2016), eq. 8. https://arxiv.org/abs/1509.00519
    """
    # The mean over the batch alone, so that β keeps its meaning at every batch size, image size and world size.
    distortion, rate = terms.distortion.mean(), terms.rate.mean()
    match config.bound:
        case Elbo():
            loss = distortion + _weighted_rate(terms, config, beta, capacity, rate)
        case Iwae():
            loss = -importance_weighted(terms, beta).mean()
        case Ciwae(mix=mix):
            elbo = distortion + _weighted_rate(terms, config, beta, capacity, rate)
            loss = mix * elbo - (1 - mix) * importance_weighted(terms, beta).mean()
        case _:
            assert_never(config.bound)
    if terms.draw.penalty is not None:
        loss = loss + terms.draw.penalty.mean()
    return Losses(loss, distortion, rate)


def _weighted_rate(
    terms: Terms, config: ObjectiveConfig, beta: float | Tensor, capacity: float | Tensor, rate: Tensor
) -> Tensor:
    match config.controller:
        case Capacity():
            return beta * (gather(terms.rate.mean(0)).mean() - capacity).abs()
        case FreeBits(nats=floor):
            kl = terms.kl
            assert kl is not None, "the configuration refuses parts without a KL per dimension"
            # Of the batch's mean: clamping each example would take the gradient of those below from the rest.
            return beta * gather(kl.mean(0)).mean(0).clamp(min=floor).sum()
    if isinstance(beta, Tensor) and beta.ndim:
        return (beta * terms.rate).mean()
    return beta * rate


def importance_weighted(terms: Terms, beta: float | Tensor = 1.0) -> Tensor:
    """Log 1/S Σ w of each example, [B], with the ratio of prior to posterior to the power of β."""
    log_weight_SB = terms.log_likelihood + beta * (terms.prior.log_prob(terms.draw) - terms.draw.log_prob())
    return torch.logsumexp(log_weight_SB, dim=0) - math.log(len(log_weight_SB))
