"""Encoding, decoding, generation and scoring."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from vae.draws import RowDraws
from vae.inference import importance
from vae.inference.importance import Evidence
from vae.inference.memory import chunks
from vae.model import VAE
from vae.parts.terms import Inputs
from vae.seeds import Stream, derive

Output = Literal["mean", "sample"]
Sampler = Literal["prior", "aggregate"]


class Code(NamedTuple):
    """Posterior of each row."""

    mean: Tensor
    """[N,L]"""
    std: Tensor
    """[N,L]"""


@torch.no_grad()
def encode(model: VAE, inputs: Inputs) -> Code:
    """Returns the mean and standard deviation of q(z|x), computed for as many rows at once as fit the memory budget.

    Grey pixels may go to the encoder as they are, which is the expectation of what it saw in training, so that the code is
    the same every time.
    """
    posteriors = [model.encode(inputs.take(rows)) for rows in chunks(model, len(inputs.x))]
    return Code(*(torch.cat(parts) for parts in zip(*((p.mean, p.std()) for p in posteriors), strict=True)))


@torch.no_grad()
def decode(
    model: VAE,
    z_NL: Tensor,
    condition_NK: Tensor | None = None,
    output: Output = "mean",
    seed: int = 0,
    log_beta_N1: Tensor | None = None,
) -> Tensor:
    """Returns examples at latents, [N,*shape]: the likelihood's mean, or a draw from it.

    Decodes as many latents at once as fit the memory budget; beside those, only the examples stay in memory.
    """
    generator = generator_of(z_NL, seed, "examples")
    examples = z_NL.new_empty(len(z_NL), *model.examples.shape)
    for rows in chunks(model, len(z_NL)):
        condition, log_beta = (None if told is None else told[rows] for told in (condition_NK, log_beta_N1))
        outputs = model.decode(z_NL[None, rows], condition, log_beta)[0]
        likelihood = model.likelihood
        examples[rows] = likelihood.mean(outputs) if output == "mean" else likelihood.sample(outputs, generator)
    return examples


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
    """Generates new examples, [num,*shape].

    Args:
        model: A trained model.
        num: Number of examples.
        condition_NK: Condition of each example, for a conditional model.
        seed: Seed of the draws; the same examples on any machine of one kind.
        temperature: Below 1 nearer to the typical example, see `vae.parts.priors.Prior.sample`.
        output: The likelihood's mean, or a draw from it.
        sampler: Source of the latents: the prior, or the mixture that was fitted to the aggregate posterior of all
            conditions together.
        log_beta_N1: Log β, for a model with β gates.

    Raises:
        ConfigError: If the model lacks the mixture.
    """
    z_NL = sample_latents(model, num, condition_NK, seed=seed, temperature=temperature, sampler=sampler)
    return decode(model, z_NL, condition_NK, output, seed, log_beta_N1)


@torch.no_grad()
def sample_latents(
    model: VAE,
    num: int,
    condition_NK: Tensor | None = None,
    *,
    seed: int = 0,
    temperature: float = 1.0,
    sampler: Sampler = "prior",
) -> Tensor:
    """Returns the latents that `generate` decodes, [num,L]; the arguments are the same."""
    like = next(model.parameters())
    noise_dim = model.prior.noise_dim if sampler == "prior" else 1 + model.config.latent_dim
    noise = torch.randn(num, noise_dim, generator=generator_of(like, seed, "latents"), device=like.device)
    if sampler == "aggregate":
        return model.aggregate_posterior().sample(noise, temperature)
    return model.sample_prior(noise, condition_NK, temperature)


@torch.no_grad()
def evidence(model: VAE, inputs: Inputs, *, num_samples: int = 100, seed: int = 0) -> Evidence:
    """Returns log p(x) of each row, of its observed entries, by importance sampling (Burda et al. 2016).

    Of a vector-quantised model, the bound: minus distortion and rate, of the row's one code.
    """
    if model.has_codes:
        terms = model(inputs, inputs.x.new_zeros(1, len(inputs.x), 0))
        return Evidence(-(terms.distortion + terms.rate)[0], inputs.x.new_ones(len(inputs.x)))
    return importance.evidence(model, inputs, num_samples=num_samples, draws=draws_of(inputs.x, seed, "score"))


def score(model: VAE, inputs: Inputs, *, num_samples: int = 100, seed: int = 0) -> Tensor:
    """Returns log p(x) of each row in nats, [N]; see `evidence`."""
    return evidence(model, inputs, num_samples=num_samples, seed=seed).nats


DRAWS = ("latents", "examples", "score", "pixels", "denoise", "impute", "resample", "complete")
"""Purposes of a caller's seed. Their order is part of what a seed means: add at the end."""


def draws_of(like: Tensor, seed: int, draws: str) -> RowDraws:
    """Returns the source of one of a task's draws that belong to their rows, on a tensor's device."""
    return RowDraws(seed, Stream.GENERATION, DRAWS.index(draws), device=like.device)


def generator_of(like: Tensor, seed: int, draws: str) -> torch.Generator:
    """Returns the source of one of a task's draws, on a tensor's device."""
    return torch.Generator(like.device).manual_seed(derive(seed, Stream.GENERATION, DRAWS.index(draws)))
