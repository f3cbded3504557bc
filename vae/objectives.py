"""Objectives: from per-example terms to the one number that is minimised. The only place that reduces over a batch."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from vae.model import Terms


@dataclass(frozen=True)
class Losses:
    """Means over the batch, in nats per example."""

    loss: Tensor
    """What is minimised."""
    distortion: Tensor
    rate: Tensor


def elbo_loss(terms: Terms, beta: float | Tensor) -> Losses:
    r"""Negative β-ELBO: distortion + β · rate, in nats per example.

    Args:
        terms: Of one or more draws per example; the distortion is averaged over them.
        beta: Weight of the rate; 1 gives the negative evidence lower bound.

    References:
        Higgins et al., β-VAE (2017), eq. 4. https://openreview.net/forum?id=Sy2fzU9gl
    """
    # The mean over the batch alone, so that β keeps its meaning at every batch size, image size and world size.
    distortion, rate = terms.distortion.mean(), terms.rate.mean()
    return Losses(loss=distortion + beta * rate, distortion=distortion, rate=rate)
