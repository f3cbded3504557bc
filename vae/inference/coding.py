"""From examples to latents and back, new examples, and how likely one is."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from vae import importance
from vae.importance import Evidence
from vae.model import VAE, Inputs
from vae.posteriors import VectorQuantizedPosterior
from vae.seeds import Stream, derive

Output = Literal["mean", "sample"]
Sampler = Literal["prior", "aggregate"]


class Code(NamedTuple):
    """The posterior of each row."""

    mean: Tensor
    """[N,L]"""
    std: Tensor
    """[N,L]"""


@torch.no_grad()
def encode(model: VAE, inputs: Inputs) -> Code:
    """Mean and standard deviation of q(z|x).

    Grey pixels may go to the encoder as they are, which is the expectation of what it saw in training, so that the code is
    the same every time.
    """
    posterior = model.encode(inputs)
    return Code(posterior.mean, posterior.std())


@torch.no_grad()
def decode(
    model: VAE,
    z_NL: Tensor,
    condition_NK: Tensor | None = None,
    output: Output = "mean",
    seed: int = 0,
    log_beta_N1: Tensor | None = None,
) -> Tensor:
    """Examples at latents, [N,*shape]: the likelihood's mean, or a draw from it."""
    outputs = model.decode(z_NL[None], condition_NK, log_beta_N1)[0]
    if output == "mean":
        return model.likelihood.mean(outputs)
    return model.likelihood.sample(outputs, generator_of(z_NL, seed, "examples"))


def reconstruct(model: VAE, inputs: Inputs) -> Tensor:
    """Decodes the posterior mean of each row, [N,*shape]."""
    return decode(model, encode(model, inputs).mean, inputs.condition, log_beta_N1=inputs.log_beta)


@torch.no_grad()
def generate(
    model: VAE,
    num: int,
    condition_NK: Tensor | None = None,
    *,
    seed: int = 0,
    temperature: float = 1.0,
    output: Output = "mean",
    sampler: Sampler = "prior",
    log_beta_N1: Tensor | None = None,
) -> Tensor:
    """New examples, [num,*shape].

    Args:
        model: Trained.
        num: How many.
        condition_NK: What each is to be, for a conditional model.
        seed: Same seed, same examples, on any machine of one kind.
        temperature: Below 1 nearer to the typical example, see `vae.priors.Prior.sample`.
        output: The likelihood's mean, or a draw from it.
        sampler: Where latents come from: the prior, or the mixture that was fitted to the aggregate posterior of all
            conditions together.
        log_beta_N1: For a model with β gates.

    Raises:
        ConfigError: If the model has no such mixture.
    """
    like = next(model.parameters())
    noise_dim = model.prior.noise_dim if sampler == "prior" else 1 + model.config.latent_dim
    noise = torch.randn(num, noise_dim, generator=generator_of(like, seed, "latents"), device=like.device)
    if sampler == "aggregate":
        z_NL = model.aggregate_posterior().sample(noise, temperature)
    else:
        z_NL = model.sample_prior(noise, condition_NK, temperature)
    return decode(model, z_NL, condition_NK, output, seed, log_beta_N1)


@torch.no_grad()
def evidence(model: VAE, inputs: Inputs, *, num_samples: int = 100, seed: int = 0) -> Evidence:
    """Returns log p(x) of each row, of its observed entries, by importance sampling (Burda et al. 2016).

    Of a vector-quantised model, the bound: minus distortion and rate, of the row's one code.
    """
    if isinstance(model.posterior, VectorQuantizedPosterior):
        terms = model(inputs, inputs.x.new_zeros(1, len(inputs.x), 0))
        return Evidence(-(terms.distortion + terms.rate)[0], inputs.x.new_ones(len(inputs.x)))
    generator = generator_of(inputs.x, seed, "score")
    return importance.evidence(model, inputs, num_samples=num_samples, generator=generator)


def score(model: VAE, inputs: Inputs, *, num_samples: int = 100, seed: int = 0) -> Tensor:
    """Returns log p(x) of each row in nats, [N]; see `evidence`."""
    return evidence(model, inputs, num_samples=num_samples, seed=seed).nats


DRAWS = ("latents", "examples", "score", "pixels", "denoise", "impute", "resample")
"""What a caller's seed is for. The order is part of what a seed means: add at the end."""


def generator_of(like: Tensor, seed: int, draws: str) -> torch.Generator:
    """The source of one of a task's draws, on a tensor's device."""
    return torch.Generator(like.device).manual_seed(derive(seed, Stream.GENERATION, DRAWS.index(draws)))
