"""Removal of noise."""

from __future__ import annotations

import torch

from vae.inference.coding import generator_of
from vae.inference.estimates import Estimate, WeightedMoments
from vae.inference.importance import weighted_draws
from vae.model import VAE
from vae.parts.terms import Inputs


@torch.no_grad()
def denoise(model: VAE, inputs: Inputs, *, num_samples: int = 32, seed: int = 0) -> Estimate:
    """Returns the mean and the spread of p(x|z), averaged over draws of the posterior q(z|noisy x).

    The mean over draws has a smaller squared error than the decoder's answer at the posterior's mean. The encoder must have
    learned what noise is: see `objective.corruption`. All draws count alike, so every one of them is effective.

    Args:
        model: A trained model.
        inputs: Noisy rows.
        num_samples: Number of draws of each row.
        seed: Seed of the draws.
    """
    moments = WeightedMoments(model.likelihood, len(inputs.x))
    generator = generator_of(inputs.x, seed, "denoise")
    for rows, terms in weighted_draws(model, inputs, num_samples=num_samples, generator=generator):
        # Not weighed by p(noisy x|z): the likelihood is of clean rows.
        moments.add(terms.outputs, torch.zeros_like(terms.log_likelihood), rows)
        del terms  # or its outputs would stay while the next draws are decoded
    return moments.estimate()
