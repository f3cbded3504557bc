"""Repair of rows: noise removed, and missing entries filled in from the observed ones.

References:
    Mattei & Frellsen, MIWAE: Deep Generative Modelling and Imputation of Incomplete Data Sets (2019), section 3.
    https://arxiv.org/abs/1812.02633
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from vae.draws import RowDraws
from vae.inference.coding import draws_of, generator_of
from vae.inference.estimates import Estimate, WeightedMoments
from vae.inference.importance import LEAST_EFFECTIVE_DRAWS, better_proposals, weighted_draws
from vae.inference.memory import rows_within
from vae.inference.proposals import StudentTProposal
from vae.model import VAE
from vae.parts.terms import Inputs

ENOUGH_EFFECTIVE_DRAWS = 50.0
"""Effective draws below which a row gets a better proposal: from 50 on, an estimated mean has a squared error at most 2 %
above that of the exact conditional mean."""
IMPROVING_SAMPLES = 500
"""Draws of a row in each round that improves its proposal; more if `num_samples` is, and at most five times that."""


class Imputations(NamedTuple):
    """Several whole rows for each row."""

    values: Tensor
    """Imputed rows [N,count,*shape]; observed entries are the same in all."""
    effective_draws: Tensor
    """Effective number of draws that the latents were chosen from, [N]; below 10 the imputations are unreliable."""


@torch.no_grad()
def impute(model: VAE, inputs: Inputs, *, num_samples: int = 1000, seed: int = 0, improve: bool = True) -> Estimate:
    """Returns one value for every missing entry: the conditional mean E[x|x_observed], of categories the conditional mode.

    By self-normalised importance sampling, Σ w E[x|z] / Σ w with w = p(x_observed|z) p(z) / q(z|x_observed) (eq. 12).
    Observed entries stay, with a standard deviation of 0. A row with fewer than `ENOUGH_EFFECTIVE_DRAWS`
    effective draws is estimated again with a proposal that is fitted to it, by up to seven rounds of
    max(num_samples, min(500, 5 · num_samples)) more draws.

    Args:
        model: A model trained with missing entries.
        inputs: Rows with their observed entries.
        num_samples: Number of draws of each row.
        seed: Seed of the draws.
        improve: Whether rows with few effective draws get a better proposal and more draws.
    """
    draws = draws_of(inputs.x, seed, "impute")
    found = _estimate(model, inputs, num_samples, draws)
    if improve:
        more = _improving(num_samples)
        for rows, proposal in _better(model, inputs, found.effective_draws, 1, more, draws):
            found = found.replace(rows, _estimate(model, inputs.take(rows), more, draws, proposal))
    if inputs.observed is None:
        return found._replace(mean=inputs.x, std=torch.zeros_like(found.std))
    return found._replace(
        mean=torch.where(inputs.observed, inputs.x, found.mean), std=found.std.masked_fill(inputs.observed, 0)
    )


def _improving(num_samples: int) -> int:
    """Returns the number of draws in each round that improves a proposal, and of the estimate from it."""
    return max(num_samples, min(IMPROVING_SAMPLES, 5 * num_samples))


def _better(
    model: VAE, inputs: Inputs, effective_N: Tensor, count: int, num_samples: int, draws: RowDraws
) -> Iterator[tuple[Tensor, StudentTProposal]]:
    """Yields the rows that have missing entries and too few effective draws for `count` imputations, with proposals."""
    if inputs.observed is None:
        return
    enough = max(LEAST_EFFECTIVE_DRAWS, min(max(ENOUGH_EFFECTIVE_DRAWS, count), num_samples / 5))
    wanting_N = effective_N.masked_fill(inputs.observed.flatten(1).all(1), torch.inf)
    yield from better_proposals(model, inputs, wanting_N, enough, num_samples=num_samples, draws=draws)


def _estimate(
    model: VAE,
    inputs: Inputs,
    num_samples: int,
    draws: RowDraws,
    proposal: StudentTProposal | None = None,
) -> Estimate:
    moments = WeightedMoments(model.likelihood, len(inputs.x))
    for rows, terms in weighted_draws(model, inputs, num_samples=num_samples, draws=draws, proposal=proposal):
        part = inputs.take(rows)
        moments.add(model.likelihood.given(terms.outputs, part.x, part.observed), terms.log_weight, rows)
        del terms  # or its outputs would stay while the next draws are decoded
    return moments.estimate()


@torch.no_grad()
def impute_many(model: VAE, inputs: Inputs, count: int, *, num_samples: int = 1000, seed: int = 0) -> Imputations:
    """Returns `count` whole rows for each row, drawn from p(x_missing|x_observed): multiple imputations.

    By sampling importance resampling: `count` of the latents, drawn again by their weights, and for each a draw of the
    likelihood (section 3.2). The arguments are those of `impute`. Rows with few effective draws get better proposals as
    there, and so do rows with fewer than `count`: their imputations would repeat the same latents, and vary too little.
    """
    draws, choosing = draws_of(inputs.x, seed, "impute"), generator_of(inputs.x, seed, "resample")
    completing = generator_of(inputs.x, seed, "complete")
    z_CNL, effective_N = _resampled(model, inputs, count, num_samples, draws, choosing)
    more = _improving(num_samples)
    for rows, proposal in _better(model, inputs, effective_N, count, more, draws):
        better = _resampled(model, inputs.take(rows), count, more, draws, choosing, proposal)
        rows = rows[improved := better[1] > effective_N[rows]]
        z_CNL[:, rows], effective_N[rows] = better[0][:, improved], better[1][improved]
    drawn = [
        torch.stack([_draw(model, inputs.take(rows), z_NL, completing) for z_NL in z_CNL[:, rows]], dim=1)
        for rows in torch.arange(len(inputs.x), device=z_CNL.device).split(rows_within(model))
    ]
    return Imputations(torch.cat(drawn), effective_N)


def _resampled(
    model: VAE,
    inputs: Inputs,
    count: int,
    num_samples: int,
    draws: RowDraws,
    choosing: torch.Generator,
    proposal: StudentTProposal | None = None,
) -> tuple[Tensor, Tensor]:
    """Returns `count` latents of each row [C,N,L], chosen by weight, and the row's effective draws [N]."""
    z_CNL = inputs.x.new_zeros(count, len(inputs.x), model.config.latent_dim)
    total_N = torch.full((len(inputs.x),), -torch.inf, device=inputs.x.device)
    square_N = total_N.clone()
    # Each of the `count` places holds one of the latents so far, with the chance that its weight has among them.
    for rows, terms in weighted_draws(model, inputs, num_samples=num_samples, draws=draws, proposal=proposal):
        here_N = terms.log_weight.logsumexp(0)
        total_N[rows] = torch.logaddexp(total_N[rows], here_N)
        square_N[rows] = torch.logaddexp(square_N[rows], (2 * terms.log_weight).logsumexp(0))
        chance_NS = (terms.log_weight - here_N).exp().T
        index_CN = torch.multinomial(chance_NS, count, replacement=True, generator=choosing).T
        candidate_CNL = terms.z[index_CN, torch.arange(len(here_N), device=index_CN.device)]
        uniform_CN = torch.rand(index_CN.shape, generator=choosing, device=inputs.x.device)
        replaced_CN = uniform_CN < (here_N - total_N[rows]).exp()
        z_CNL[:, rows] = torch.where(replaced_CN[..., None], candidate_CNL, z_CNL[:, rows])
        del terms  # or its outputs would stay while the next draws are decoded
    return z_CNL, torch.exp(2 * total_N - square_N)


def _draw(model: VAE, inputs: Inputs, z_NL: Tensor, generator: torch.Generator) -> Tensor:
    """Returns a draw of p(x|z) [N,*shape] for the missing entries, beside the observed ones."""
    outputs = model.decode(z_NL[None], inputs.condition, inputs.log_beta)[0]
    if inputs.observed is None:
        return inputs.x.clone()
    return model.likelihood.complete(outputs, inputs.x, inputs.observed, generator)


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
    draws = draws_of(inputs.x, seed, "denoise")
    for rows, terms in weighted_draws(model, inputs, num_samples=num_samples, draws=draws):
        # Not weighed by p(noisy x|z): the likelihood is of clean rows.
        moments.add(model.likelihood.given(terms.outputs), torch.zeros_like(terms.log_likelihood), rows)
        del terms  # or its outputs would stay while the next draws are decoded
    return moments.estimate()
