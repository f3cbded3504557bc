"""One step: from a batch and what is drawn for it to the loss.

Shapes: S samples, B batch, L latent, N noise.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vae.config import ObjectiveConfig
from vae.data.batches import Batch
from vae.model import VAE
from vae.parts.bounds.bound import Losses, bound_loss
from vae.parts.regularizers.adversary import Discriminator
from vae.parts.regularizers.regularizer import penalty
from vae.parts.terms import Inputs, Terms


class Draws(NamedTuple):
    """A batch as the model takes it, and everything that is drawn for a step on it."""

    inputs: Inputs
    noise: Tensor
    """Of the posterior, [S,B,N]"""
    reference: Tensor | None
    """Of the prior, [B,N], where a regulariser compares with it."""


def present(model: VAE, objective: ObjectiveConfig, batch: Batch, generator: torch.Generator) -> Inputs:
    """A batch as the model takes it at a training step, from a generator on the batch's device."""
    inputs = model.inputs(batch.values, batch.labels, batch.attributes, batch.observed, generator=generator)
    if objective.corruption is not None:
        inputs = inputs._replace(seen=objective.corruption.corrupt(inputs.x, generator))
    return inputs


def draw(model: VAE, objective: ObjectiveConfig, inputs: Inputs, generator: torch.Generator) -> Draws:
    """What a training step draws for a batch, from a generator on its device."""
    count, device = len(inputs.x), inputs.x.device
    noise = torch.randn(objective.bound.samples, count, model.noise_dim, generator=generator, device=device)
    log_beta = objective.controller.draw_log_beta(count, generator)
    if log_beta is not None:
        inputs = inputs._replace(log_beta=log_beta)
    reference = None
    if any(regularizer.compares_with_prior for regularizer in objective.regularizers):
        reference = torch.randn(count, model.prior.noise_dim, generator=generator, device=device)
    return Draws(inputs, noise, reference)


class StepResult(NamedTuple):
    """What a step came to."""

    loss: Tensor
    """With gradient."""
    parts: Tensor
    """[distortion, rate], without gradient, in nats per example."""
    z: Tensor
    """A draw for each example, without gradient, [B,L]."""


class Step(nn.Module):
    """One forward pass to the loss: what is wrapped for several ranks, and compiled.

    Args:
        model: What is trained.
        objective: What is minimised.
        num_examples: Of the training split.
        discriminator: Of an adversarial regulariser. It is not part of this module: it has an optimiser of its own.
    """

    def __init__(
        self,
        model: VAE,
        objective: ObjectiveConfig,
        num_examples: int = 0,
        discriminator: Discriminator | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.objective = objective
        self.num_examples = num_examples
        self.discriminator = discriminator

    def forward(self, draws: Draws, beta: Tensor, capacity: Tensor) -> StepResult:
        """Returns the loss at a weight β of the rate."""
        terms = self.model(draws.inputs, draws.noise)
        losses = self.losses(terms, draws, beta, capacity)
        parts = torch.stack([losses.distortion.detach(), losses.rate.detach()])
        return StepResult(losses.loss, parts, terms.z[0].detach())

    def losses(self, terms: Terms, draws: Draws, beta: Tensor, capacity: Tensor) -> Losses:
        """Returns the bound at a weight β of the rate plus all regularisers, as means over the batch."""
        inputs = draws.inputs
        if self.objective.controller.gates_beta:
            assert inputs.log_beta is not None, "drawn for every example"
            beta = beta * inputs.log_beta.squeeze(-1).exp()
        losses = bound_loss(terms, self.objective, beta, capacity)
        loss = losses.loss
        reference_BL = None
        if draws.reference is not None:
            reference_BL = self.model.sample_prior(draws.reference, inputs.condition).detach()
        for regularizer in self.objective.regularizers:
            if regularizer.has_optimizer:
                assert self.discriminator is not None, "made with the run"
                loss = loss + self.discriminator.penalty(terms.z[0])
            else:
                loss = loss + penalty(regularizer, terms, reference_BL, self.num_examples)
        return replace(losses, loss=loss)
