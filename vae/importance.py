"""Self-normalised importance sampling with the posterior as the proposal."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from vae.errors import ConfigError
from vae.model import VAE, Inputs, Terms
from vae.posteriors import VectorQuantizedPosterior


def weighted_draws(
    model: VAE, inputs: Inputs, *, num_samples: int, generator: torch.Generator, max_rows: int = 8192
) -> Iterator[Terms]:
    """Draws from the posterior with what the model says of them, some at a time: [s,B] each, `num_samples` in all.

    Of a vector-quantised model one: its posterior is a single code.

    The posterior is inferred once. Memory does not grow with the number of draws.

    Args:
        model: In evaluation mode.
        inputs: A batch.
        num_samples: Draws per example.
        generator: Source of the draws, on the inputs' device.
        max_rows: Latents decoded at once.
    """
    if isinstance(model.posterior, VectorQuantizedPosterior):
        num_samples = 1
    batch = len(inputs.x)
    chunk = max(1, max_rows // batch)
    posterior, prior = model.encode(inputs), model.prior_of(inputs.condition)
    for start in range(0, num_samples, chunk):
        draws = min(chunk, num_samples - start)
        noise = torch.randn(draws, batch, model.noise_dim, generator=generator, device=inputs.x.device)
        yield model.terms(inputs, posterior, prior, noise)


@torch.no_grad()
def log_likelihood(
    model: VAE, inputs: Inputs, *, num_samples: int, generator: torch.Generator, max_rows: int = 8192
) -> Tensor:
    r"""Estimates log p(x) by importance sampling, in nats for each example, [B].

    Of an example with missing entries it is log p(x_observed). A lower bound in expectation, tighter with more draws; the
    arguments are those of `weighted_draws`.

    Raises:
        ConfigError: If the model is vector-quantised, and so has one latent for an example and nothing to average.

    References:
        Burda, Grosse & Salakhutdinov, Importance Weighted Autoencoders (2016), section 3. https://arxiv.org/abs/1509.00519
    """
    if isinstance(model.posterior, VectorQuantizedPosterior):
        raise ConfigError(
            "importance sampling needs a posterior to draw from, and a vector_quantized one is a single code; its bound is "
            "the distortion plus the rate of that code"
        )
    total = torch.full((len(inputs.x),), -torch.inf, device=inputs.x.device)
    for terms in weighted_draws(model, inputs, num_samples=num_samples, generator=generator, max_rows=max_rows):
        total = torch.logaddexp(total, terms.log_weight.logsumexp(0))
        del terms  # or its outputs would stay while the next draws are decoded
    return total - math.log(num_samples)
