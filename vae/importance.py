"""Self-normalised importance sampling with the posterior as the proposal."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vae.model import VAE


@torch.no_grad()
def log_likelihood(
    model: VAE,
    x_BCHW: Tensor,
    labels_B: Tensor | None,
    *,
    num_samples: int,
    generator: torch.Generator,
    max_rows: int = 8192,
) -> Tensor:
    r"""Estimates log p(x) by importance sampling, in nats for each example, [B].

    Streams log-sum-exp over chunks of draws, so memory does not grow with `num_samples`.

    Args:
        model: In evaluation mode.
        x_BCHW: Examples in [0, 1].
        labels_B: Class indices, for a conditional model.
        num_samples: Draws per example. The estimate is a lower bound in expectation and tightens as it grows.
        generator: Source of the draws, on the device of `x`.
        max_rows: Latents decoded at once.

    References:
        Burda, Grosse & Salakhutdinov, Importance Weighted Autoencoders (2016), section 3. https://arxiv.org/abs/1509.00519
    """
    batch = len(x_BCHW)
    chunk = max(1, max_rows // batch)
    total = torch.full((batch,), -torch.inf, device=x_BCHW.device)
    for start in range(0, num_samples, chunk):
        draws = min(chunk, num_samples - start)
        noise = torch.randn(draws, batch, model.noise_dim, generator=generator, device=x_BCHW.device)
        log_weight_SB = model(x_BCHW, noise, labels_B).log_weight
        total = torch.logaddexp(total, log_weight_SB.logsumexp(0))
    return total - math.log(num_samples)
