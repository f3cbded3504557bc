"""Measurements at the end of an epoch on the validation split: the bound at β = 1, and the trained objective.

Shapes: B batch, L latent, N noise.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from vae.config import ObjectiveConfig
from vae.data.batches import Batch, InOrder
from vae.draws import RowDraws
from vae.metrics.likelihood import Bound, Sums, batch_sums, inputs_of
from vae.model import VAE
from vae.parts.terms import Inputs
from vae.seeds import Stream
from vae.training.step import Step, StepInputs, draw


class Validated(NamedTuple):
    """Means over the validation split, in nats per example."""

    bound: Bound
    """Bound that the model is trained for, at β = 1 and on clean examples."""
    objective: float
    """Loss as it is trained, with β, regularisers and corruption; it chooses among the epochs of one run."""


def validated(vector: Tensor) -> Validated:
    """Returns the means from the sums of `batch_vector` over all batches and ranks."""
    count, total = vector[-2:].tolist()
    return Validated(Sums(vector[:-2]).bound(), total / max(count, 1.0))


def draw_validation(model: VAE, objective: ObjectiveConfig, batch: Batch, draws: RowDraws) -> tuple[Inputs, StepInputs]:
    """Returns a batch as it is, and the inputs of a training step on it, from one source of draws."""
    clean = inputs_of(model, batch, draws)
    inputs = draw(model, objective, clean, draws)
    if objective.corruption is not None:
        corrupted = inputs.inputs._replace(seen=objective.corruption.corrupt(clean.x, draws))
        inputs = inputs._replace(inputs=corrupted)
    return clean, inputs


def drawn_batches(
    model: VAE, objective: ObjectiveConfig, batches: InOrder, seed: int
) -> Iterator[tuple[Inputs, StepInputs]]:
    """Yields the result of `draw_validation` for each batch, on noise that derives from (seed, row of the split).

    Two epochs are thus compared on the same noise, and so are runs on different numbers of ranks.
    """
    first, device = batches.share.start, batches.share.device
    for batch in batches:
        yield draw_validation(model, objective, batch, RowDraws(seed, Stream.VALIDATION, first=first, device=device))
        first += len(batch)


def batch_vector(step: Step, clean: Inputs, inputs: StepInputs, beta: Tensor, capacity: Tensor) -> Tensor:
    """Returns the vector of `Sums` of a batch, then the number of examples and the sum of their objective, float64.

    Args:
        step: The step of the model to validate, in evaluation mode.
        clean: The batch as it is.
        inputs: The same batch as the objective presents it to the model, with its noise.
        beta: β at the end of its schedule.
        capacity: Capacity at the end of its schedule, in nats.
    """
    objective = step.objective
    terms = step.model(clean, inputs.noise)
    sums = batch_sums(terms, objective.bound)
    if objective.corruption is not None or objective.controller.gates_beta:
        terms = step.model(inputs.inputs, inputs.noise)
    count = len(clean.x)
    if objective.regularizers and count < 2:  # a regulariser compares the examples of a batch
        return torch.cat([sums, sums.new_zeros(2)])
    losses = step.losses(terms, inputs, beta, capacity)
    value = losses.loss
    if terms.draw.codes is not None:
        # The prior learns from codes without gradient: its rate moves neither encoder nor decoder, and rises as more
        # codes are used. In the paper it is the constant log K (van den Oord et al. 2017, section 3.1).
        value = value - beta * losses.rate
    return torch.cat([sums, torch.stack([sums.new_full((), count), count * value.double()])])


@torch.no_grad()
def validation_vector(step: Step, batches: InOrder, seed: int, beta: Tensor, capacity: Tensor) -> Tensor:
    """Returns the sum of `batch_vector` over this rank's validation batches.

    The noise is that of `drawn_batches`. z is sampled as often as the bound states, never replaced by the posterior mean,
    which would give no bound.
    """
    model = step.model.eval()
    total: Tensor | None = None
    for clean, inputs in drawn_batches(model, step.objective, batches, seed):
        vector = batch_vector(step, clean, inputs, beta, capacity)
        total = vector if total is None else total + vector
    if total is None:  # fewer rows than ranks
        total = torch.zeros(Sums.width(model.config.latent_dim) + 2, dtype=torch.float64, device=beta.device)
    return total
