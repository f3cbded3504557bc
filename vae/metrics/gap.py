"""Generation gap: the extra distance from the data of samples from the prior, compared with reconstructions.

Shapes: N rows, M others, S draws, D numbers of an example, L latent.

References:
    Székely & Rizzo, Energy Statistics: A Class of Statistics Based on Distances (2013), equation 6.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vae import inference
from vae.data.transforms import transform_of
from vae.inference.memory import BUDGET_BYTES, affordable_rows, chunks
from vae.model import VAE
from vae.parts.terms import Inputs
from vae.seeds import Stream, derive

DRAWS = 4
"""Number of samples, and of draws from the posterior, for each row."""
MOST_ROWS = 500
"""Maximum number of rows that a gap is measured on; fewer if examples are large."""
FEWEST_ROWS = 100
"""Minimum number of rows that a gap is measured on, however many categories a table has."""
COPIES = 4
"""Number of copies of a decoded draw that are in memory at once."""


def rows_within_budget(num_values: int) -> int:
    """Returns the number of rows to measure the gap on within `BUDGET_BYTES`, 2 at least, by the values of a row."""
    row_bytes = torch.float32.itemsize * num_values * DRAWS * COPIES
    return min(MOST_ROWS, max(2, BUDGET_BYTES // row_bytes))


def rows_to_measure(model: VAE) -> int:
    """Returns the number of rows to measure the gap of a model on: fewer if its table has many categories."""
    most = rows_within_budget(model.examples.num_values)
    return min(most, max(FEWEST_ROWS, affordable_rows(model, 2 * DRAWS, most)))


@torch.no_grad()
def generation_gap(model: VAE, inputs: Inputs, seed: int = 0) -> float:
    """Returns how much farther samples lie from rows than reconstructions do, in units of the rows' mean distance.

    Both distances are energy distances. Samples and reconstructions are means of the likelihood, decoded from draws of the
    prior and of each row's posterior. Samples have the conditions and the missing entries of the rows. The gap is 0 if the
    posteriors together fill the prior; 1 is the mean distance of two rows.

    Args:
        model: A model whose latent does not consist of codes.
        inputs: Two rows or more.
        seed: Seed of the draws.
    """
    like = inputs.x
    drawn = inputs.take(torch.arange(len(like), device=like.device).repeat(DRAWS))
    generator = torch.Generator(like.device).manual_seed(derive(seed, Stream.GENERATION))
    noise_SNL = torch.randn(1, len(drawn.x), model.noise_dim, generator=generator, device=like.device)
    z_NL = torch.cat([_latents(model, drawn.take(rows), noise_SNL[:, rows]) for rows in chunks(model, len(drawn.x))])
    again = inference.decode(model, z_NL, drawn.condition, log_beta_N1=drawn.log_beta)
    made = inference.generate(model, len(drawn.x), drawn.condition, seed=seed, log_beta_N1=drawn.log_beta)
    rows_ND = numbers(model, like, inputs.observed)
    reconstructed_MD, sampled_MD = (numbers(model, part, drawn.observed) for part in (again, made))
    gap = energy_distance(sampled_MD, rows_ND) - energy_distance(reconstructed_MD, rows_ND)
    return gap / max(mean_distance(rows_ND), 1e-12)


def _latents(model: VAE, inputs: Inputs, noise_SNL: Tensor) -> Tensor:
    """Returns one draw of each row's posterior, [N,L]."""
    return model.encode(inputs).draw(noise_SNL, model.prior_of(inputs.condition)).z[0]


def numbers(model: VAE, x: Tensor, observed: Tensor | None = None) -> Tensor:
    """Returns examples as rows of numbers [N,D]: each category is a column of 0 and 1, missing entries are 0."""
    values, is_observed = transform_of(model.examples).as_numbers(x, observed)
    return values * is_observed


def energy_distance(a_ND: Tensor, b_MD: Tensor) -> float:
    """Returns the energy distance of two samples, 2 E|a − b| − E|a − a'| − E|b − b'|, without bias."""
    return 2 * torch.cdist(a_ND, b_MD).mean().item() - mean_distance(a_ND) - mean_distance(b_MD)


def mean_distance(a_ND: Tensor) -> float:
    """Returns the mean distance of two different rows."""
    return torch.cdist(a_ND, a_ND).sum().item() / (len(a_ND) * (len(a_ND) - 1))
