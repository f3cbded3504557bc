"""Self-normalised importance sampling with the posterior, or a better proposal, as the distribution of the draws.

Shapes: S draws, B rows, L latent.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from vae.draws import RowDraws
from vae.errors import ConfigError
from vae.inference.memory import BUDGET_BYTES, draws_within
from vae.inference.proposals import StudentTProposal, effective_draws, fit_proposal
from vae.model import VAE
from vae.parts.terms import Inputs, Terms

LEAST_EFFECTIVE_DRAWS = 10.0
"""Effective draws below which an estimate counts as unreliable."""
MOST_ROUNDS = 6
"""Most times that a proposal is fitted to the draws of the one before."""


def weighted_draws(
    model: VAE,
    inputs: Inputs,
    *,
    num_samples: int,
    draws: RowDraws,
    proposal: StudentTProposal | None = None,
    max_rows: int | None = None,
) -> Iterator[tuple[slice, Terms]]:
    """Yields draws of the latent, with what the model says of them, in pieces that fit the memory budget.

    The pieces of the rows `slice` come one after the other: [s,b] each, `num_samples` draws of each row in all. A
    vector-quantised model gives one draw, because its posterior is a single code. Each belongs to its row and its
    number, whatever the size of the pieces.

    Args:
        model: The model, in evaluation mode.
        inputs: A batch of any number of rows.
        num_samples: Number of draws of each row.
        draws: Source of the draws, on the inputs' device.
        proposal: Distribution to draw from; None for the posterior q(z|x).
        max_rows: Most rows encoded, or latents decoded, at once; None for `memory.draws_within`.
    """
    if model.has_codes:
        num_samples = 1
    batch = len(inputs.x)
    most = draws_within(model) if max_rows is None else max_rows
    noise_dim = model.noise_dim if proposal is None else proposal.noise_dim
    source = draws.next()
    for first in range(0, batch, most):
        places = range(first, min(first + most, batch))
        rows = slice(places.start, places.stop)
        part = inputs.take(rows)
        prior = model.prior_of(part.condition)
        posterior = model.encode(part) if proposal is None else proposal.take(rows)
        at_once = max(1, most // len(part.x))
        for drawn in range(0, num_samples, at_once):
            samples = range(drawn, min(drawn + at_once, num_samples))
            yield rows, model.terms(part, posterior, prior, source.normal_samples(samples, places, noise_dim))


class Evidence(NamedTuple):
    """The estimate of log p(x) of each row."""

    nats: Tensor
    """Estimate of log p(x), [B]; a lower bound in expectation."""
    effective_draws: Tensor
    """Effective number of draws that the estimate rests on, [B]."""


@torch.no_grad()
def evidence(
    model: VAE,
    inputs: Inputs,
    *,
    num_samples: int,
    draws: RowDraws,
    proposal: StudentTProposal | None = None,
    max_rows: int | None = None,
) -> Evidence:
    r"""Estimates log p(x) by importance sampling, in nats for each row.

    Of a row with missing entries it is log p(x_observed). A lower bound in expectation, tighter with more draws; the
    arguments are those of `weighted_draws`.

    Raises:
        ConfigError: If the model is vector-quantised, and so has one latent for an example and nothing to average.

    References:
        Burda, Grosse & Salakhutdinov, Importance Weighted Autoencoders (2016), section 3. https://arxiv.org/abs/1509.00519
    """
    if model.has_codes:
        raise ConfigError(
            "importance sampling needs a posterior to draw from, and a vector_quantized one is a single code; its bound is "
            "the distortion plus the rate of that code"
        )
    first = torch.full((len(inputs.x),), -torch.inf, device=inputs.x.device)
    second = first.clone()
    weighted = weighted_draws(model, inputs, num_samples=num_samples, draws=draws, proposal=proposal, max_rows=max_rows)
    for rows, terms in weighted:
        first[rows] = torch.logaddexp(first[rows], terms.log_weight.logsumexp(0))
        second[rows] = torch.logaddexp(second[rows], (2 * terms.log_weight).logsumexp(0))
        del terms  # or its outputs would stay while the next draws are decoded
    return Evidence(first - math.log(num_samples), torch.exp(2 * first - second))


def log_likelihood(
    model: VAE, inputs: Inputs, *, num_samples: int, draws: RowDraws, max_rows: int | None = None
) -> Tensor:
    """Estimates log p(x) in nats for each row, [B]: `evidence` with the posterior as the proposal."""
    return evidence(model, inputs, num_samples=num_samples, draws=draws, max_rows=max_rows).nats


@torch.no_grad()
def better_proposals(
    model: VAE, inputs: Inputs, effective_B: Tensor, enough: float, *, num_samples: int, draws: RowDraws
) -> Iterator[tuple[Tensor, StudentTProposal]]:
    """Yields fitted proposals for the rows with too few effective draws, some rows at a time.

    The first round draws from the posterior. Each round fits a Student-t to its weighted draws, and the next one draws from
    that, until a round has enough effective draws. An estimate needs fresh draws from the last fit: given the proposal, it
    is then unbiased for p(x), and its logarithm a lower bound in expectation.

    Args:
        model: The model, in evaluation mode.
        inputs: A batch.
        effective_B: Number of effective draws of each row so far.
        enough: Number of effective draws that a row needs.
        num_samples: Number of draws of each row in a round.
        draws: Source of the draws.

    Yields:
        The numbers of some rows, and a proposal for each of them.
    """
    if model.has_codes:
        return
    poor = (effective_B < enough).nonzero().flatten()
    # In float64, with the deviations from the mean beside the draws.
    row_bytes = 4 * 8 * num_samples * model.config.latent_dim
    for rows in poor.split(max(1, BUDGET_BYTES // row_bytes)) if len(poor) else ():
        proposal = None
        for number in range(MOST_ROUNDS):
            z_SBL, log_weight_SB = _collected(model, inputs.take(rows), num_samples, draws, proposal)
            proposal = fit_proposal(z_SBL, log_weight_SB)
            ready = effective_draws(log_weight_SB) >= enough
            if number == MOST_ROUNDS - 1:
                ready[:] = True
            if ready.any():
                yield rows[ready], proposal.take(ready)
            if ready.all():
                break
            rows, proposal = rows[~ready], proposal.take(~ready)


def _collected(
    model: VAE, inputs: Inputs, num_samples: int, draws: RowDraws, proposal: StudentTProposal | None
) -> tuple[Tensor, Tensor]:
    """Returns all draws [S,B,L] and their log weights [S,B]."""
    z: dict[int, list[Tensor]] = {}
    log_weight: dict[int, list[Tensor]] = {}
    for rows, terms in weighted_draws(model, inputs, num_samples=num_samples, draws=draws, proposal=proposal):
        z.setdefault(rows.start, []).append(terms.z)
        log_weight.setdefault(rows.start, []).append(terms.log_weight)
        del terms  # as above
    return _joined(z), _joined(log_weight)


def _joined(pieces: dict[int, list[Tensor]]) -> Tensor:
    """Returns [S,B,...] of the pieces of every slice of rows."""
    return torch.cat([torch.cat(draws) for draws in pieces.values()], dim=1)
