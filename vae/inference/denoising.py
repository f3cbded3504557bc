"""From noisy rows to clean ones."""

from __future__ import annotations

import torch

from vae.importance import weighted_draws
from vae.inference.coding import generator_of
from vae.inference.estimates import Estimate, WeightedMoments
from vae.model import VAE, Inputs


@torch.no_grad()
def denoise(model: VAE, inputs: Inputs, *, num_samples: int = 32, seed: int = 0) -> Estimate:
    """E[x|z] and the spread of x, averaged over draws of the posterior that the noisy row gives.

    The mean over draws has a smaller squared error than the decoder's answer at the posterior's mean. What was noise the
    encoder must have learned: see `objective.corruption`.

    Args:
        model: Trained.
        inputs: Noisy rows.
        num_samples: Draws for each row.
        seed: Of the draws.
    """
    moments = WeightedMoments(model.likelihood, model.examples)
    for terms in weighted_draws(
        model, inputs, num_samples=num_samples, generator=generator_of(inputs.x, seed, "denoise")
    ):
        # Not weighed by p(noisy x|z): the likelihood is of clean rows.
        moments.add(terms.outputs, torch.zeros_like(terms.log_likelihood))
    return moments.estimate()
