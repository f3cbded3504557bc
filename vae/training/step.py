"""A training step: from a batch and the noise drawn for it to the loss.

Shapes: S samples, B batch, L latent, N noise.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vae.config import ObjectiveConfig
from vae.data.batches import Batch
from vae.draws import RowDraws
from vae.model import VAE
from vae.parts.bounds.bound import Losses, bound_loss
from vae.parts.regularizers.adversary import Discriminator
from vae.parts.regularizers.regularizer import penalty
from vae.parts.terms import Inputs, Terms


class StepInputs(NamedTuple):
    """A batch as the model takes it, and all noise that is drawn for a step on it."""

    inputs: Inputs
    noise: Tensor
    """Noise of the posterior, [S,B,N]."""
    reference: Tensor | None
    """Noise of the prior, [B,N], for a regulariser that compares with the prior; else None."""


def present(model: VAE, objective: ObjectiveConfig, batch: Batch, draws: RowDraws) -> Inputs:
    """Returns a batch as the model takes it at a training step; the draws are on the batch's device."""
    inputs = model.inputs(batch.values, batch.labels, batch.attributes, batch.observed, draws=draws)
    if objective.corruption is not None:
        inputs = inputs._replace(seen=objective.corruption.corrupt(inputs.x, draws))
    return inputs


def draw(model: VAE, objective: ObjectiveConfig, inputs: Inputs, draws: RowDraws) -> StepInputs:
    """Draws the noise of a training step on a batch, for each seed of the draws; they are on the batch's device."""
    count = len(inputs.x)
    noise = draws.normal(count, objective.bound.samples, model.noise_dim).transpose(-3, -2).contiguous()
    log_beta = objective.controller.draw_log_beta(count, draws)
    if log_beta is not None:
        inputs = inputs._replace(log_beta=log_beta)
    reference = None
    if any(regularizer.compares_with_prior for regularizer in objective.regularizers):
        reference = draws.normal(count, model.prior.noise_dim)
    return StepInputs(inputs, noise, reference)


class StepResult(NamedTuple):
    """Result of a step."""

    loss: Tensor
    """Loss with gradient, a scalar."""
    parts: Tensor
    """Distortion and rate, [2], without gradient, in nats per example."""
    z: Tensor
    """One draw for each example, without gradient, [B,L]."""


class Step(nn.Module):
    """One forward pass to the loss, as a module that can be wrapped for several ranks and compiled.

    Args:
        model: The model that is trained.
        objective: The objective that is minimised.
        num_examples: Number of examples in the training split.
        discriminator: Discriminator of an adversarial regulariser. It has an optimiser of its own, and so is no submodule.
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

    def forward(self, inputs: StepInputs, beta: Tensor, capacity: Tensor) -> StepResult:
        """Returns the loss at a weight β of the rate."""
        terms = self.model(inputs.inputs, inputs.noise)
        losses = self.losses(terms, inputs, beta, capacity)
        parts = torch.stack([losses.distortion.detach(), losses.rate.detach()])
        return StepResult(losses.loss, parts, terms.z[0].detach())

    def losses(self, terms: Terms, step_inputs: StepInputs, beta: Tensor, capacity: Tensor) -> Losses:
        """Returns the bound at a weight β of the rate plus all regularisers, as means over the batch."""
        inputs = step_inputs.inputs
        if self.objective.controller.gates_beta:
            assert inputs.log_beta is not None, "drawn for every example"
            beta = beta * inputs.log_beta.squeeze(-1).exp()
        losses = bound_loss(terms, self.objective, beta, capacity)
        loss = losses.loss
        reference_BL = None
        if step_inputs.reference is not None:
            reference_BL = self.model.sample_prior(step_inputs.reference, inputs.condition).detach()
        for regularizer in self.objective.regularizers:
            if regularizer.has_optimizer:
                assert self.discriminator is not None, "made with the run"
                loss = loss + self.discriminator.penalty(terms.z[0])
            else:
                loss = loss + penalty(regularizer, terms, reference_BL, self.num_examples)
        return replace(losses, loss=loss)
