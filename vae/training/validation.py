"""The measurements at the end of an epoch: the bound at β = 1, and the trained objective, on the validation split.

Shapes: B batch, L latent, N noise.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from vae.config import ObjectiveConfig
from vae.data.batches import Batch
from vae.metrics.likelihood import Bound, Sums, batch_sums, inputs_of
from vae.model import VAE
from vae.parts.ranks import alone
from vae.parts.terms import Inputs
from vae.seeds import Stream, derive
from vae.training.step import Draws, Step, draw


class Validated(NamedTuple):
    """Means over the validation split, in nats per example."""

    bound: Bound
    """The bound that is trained for, at β = 1 and on clean examples."""
    objective: float
    """The loss as it is trained: with β, regularisers and corruption. It chooses among the epochs of one run."""


def validated(vector: Tensor) -> Validated:
    """Returns the means from the sums of `batch_vector` over all batches and ranks."""
    count, total = vector[-2:].tolist()
    return Validated(Sums(vector[:-2]).bound(), total / max(count, 1.0))


def draw_validation(
    model: VAE, objective: ObjectiveConfig, batch: Batch, generator: torch.Generator
) -> tuple[Inputs, Draws]:
    """Returns a batch as it is, and everything that a training step on it would draw, from one generator."""
    clean = inputs_of(model, batch, generator)
    draws = draw(model, objective, clean, generator)
    if objective.corruption is not None:
        corrupted = draws.inputs._replace(seen=objective.corruption.corrupt(clean.x, generator))
        draws = draws._replace(inputs=corrupted)
    return clean, draws


def batch_vector(step: Step, clean: Inputs, draws: Draws, beta: Tensor, capacity: Tensor) -> Tensor:
    """Returns the vector of `Sums` of a batch, then the number of examples and the sum of their objective, float64.

    Args:
        step: The step of the model to validate, in evaluation mode.
        clean: The batch.
        draws: The same batch as the objective shows it to the model, and what is drawn for it.
        beta: β once its schedule has ended.
        capacity: The capacity once it has risen, in nats.
    """
    objective = step.objective
    terms = step.model(clean, draws.noise)
    sums = batch_sums(terms, objective.bound)
    if objective.corruption is not None or objective.controller.gates_beta:
        terms = step.model(draws.inputs, draws.noise)
    count = len(clean.x)
    if objective.regularizers and count < 2:  # a regulariser compares the examples of a batch
        return torch.cat([sums, sums.new_zeros(2)])
    losses = step.losses(terms, draws, beta, capacity)
    value = losses.loss
    if terms.draw.codes is not None:
        # The prior learns from codes without gradient: its rate moves neither encoder nor decoder, and rises as more
        # codes are used. In the paper it is the constant log K (van den Oord et al. 2017, section 3.1).
        value = value - beta * losses.rate
    return torch.cat([sums, torch.stack([sums.new_full((), count), count * value.double()])])


@torch.no_grad()
def validation_vector(
    step: Step, batches: Iterable[Batch], seed: int, rank: int, beta: Tensor, capacity: Tensor
) -> Tensor:
    """Returns the sum of `batch_vector` over this rank's validation batches.

    Draws derive from (seed, rank, batch), so that two epochs are compared on the same noise. z is sampled as often as the
    bound says, never the posterior mean, which would be no bound.
    """
    model = step.model.eval()
    generator = torch.Generator(beta.device)
    total: Tensor | None = None
    with alone():
        for number, batch in enumerate(batches):
            generator.manual_seed(derive(seed, Stream.VALIDATION, rank, number))
            clean, draws = draw_validation(model, step.objective, batch, generator)
            vector = batch_vector(step, clean, draws, beta, capacity)
            total = vector if total is None else total + vector
    if total is None:  # fewer rows than ranks
        total = torch.zeros(Sums.width(model.config.latent_dim) + 2, dtype=torch.float64, device=beta.device)
    return total
