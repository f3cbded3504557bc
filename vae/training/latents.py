"""Mixture and directions that are fitted once to the latents of a trained model, and stored with it.

Shapes: N rows, L latent, A attributes, K width of the condition, E directions.
"""

from __future__ import annotations

import logging
from typing import NamedTuple, get_args

import torch
from torch import Tensor

from vae import inference, progress
from vae.config import RunConfig
from vae.data.parquet import Dataset
from vae.draws import RowDraws
from vae.inference.memory import BUDGET_BYTES, affordable_rows, rows_within
from vae.metrics.likelihood import inputs_of
from vae.model import VAE
from vae.parts.aggregate import fit_aggregate
from vae.parts.directions import Directions, Method, fit_directions
from vae.seeds import Stream, derive
from vae.training.assembly import share_of

log = logging.getLogger(__name__)

MOST_ROWS = 10_000
"""Maximum number of encoded rows of the training split, which ingest has shuffled."""
EFFECT_ROWS = 128
"""Number of rows over which the effect of a direction is averaged."""


@torch.no_grad()
def fit_latents(model: VAE, config: RunConfig, dataset: Dataset) -> None:
    """Fits a mixture to the aggregate posterior of a trained model, and directions to its classes and attributes.

    The model gets neither if its latent consists of codes, nor if nothing can be fitted, as after a run that diverged.
    """
    if model.has_codes:
        return
    progress.report("fitting the latents of the data")
    training, device = config.training, next(model.parameters()).device
    latents = _encode(model, config, dataset)
    if not latents.z.isfinite().all():
        log.warning("nothing is fitted to the latents, which are not finite")
        return
    if training.aggregate_components:
        seed = derive(training.seed, Stream.AGGREGATE)
        try:
            model.aggregate = fit_aggregate(latents.z.numpy(), training.aggregate_components, seed).to(device)
        except ValueError as error:  # of scikit-learn: the covariance of a component has no Cholesky factor
            log.warning("no mixture is fitted to the aggregate posterior: %s", str(error).split(".")[0])
    columns, values_NA = model.untold(latents.labels, latents.attributes)
    directions = fit_directions(latents.mean.numpy(), columns, values_NA.numpy(), latents.variance.numpy().mean(0))
    if directions.names:
        model.directions = directions.to(device)
        condition_NK = model.condition(latents.labels, latents.attributes)
        few = slice(affordable_rows(model, 2 * len(directions.names), EFFECT_ROWS))
        z_NL = latents.mean[few].to(device)
        condition_NK = None if condition_NK is None else condition_NK[few].to(device)
        directions.effects = {
            method: effects(model, directions, method, z_NL, condition_NK) for method in get_args(Method)
        }


@torch.no_grad()
def effects(
    model: VAE, directions: Directions, method: Method, z_NL: Tensor, condition_NK: Tensor | None
) -> tuple[float, ...]:
    """Returns the effect of a step of 1 along each direction on the likelihood's mean, E numbers.

    An effect is the root mean square change over rows and values: of pixels in [0, 1], of numbers of a table in standard
    deviations; a category that changes counts as 1.
    """
    columns = model.examples.columns or ()
    categorical = [number for number, column in enumerate(columns) if column.categories]
    before = inference.decode(model, z_NL, condition_NK)
    sizes = []
    for name in directions.names:
        change = inference.decode(model, z_NL + directions.of(name, method), condition_NK) - before
        if categorical:
            change[:, categorical] = (change[:, categorical] != 0).to(change.dtype)
        sizes.append(change.square().mean().sqrt().item())
    return tuple(sizes)


class _Latents(NamedTuple):
    """Posteriors of rows with the labels and attributes of the rows, on the CPU."""

    mean: Tensor
    """Means, [N,L]."""
    variance: Tensor
    """Variances, [N,L]."""
    z: Tensor
    """One draw from each posterior, [N,L]."""
    labels: Tensor | None = None
    """Class indices, [N]; None without classes."""
    attributes: Tensor | None = None
    """Attributes, [N,A]; None without attributes."""


def _encode(model: VAE, config: RunConfig, dataset: Dataset) -> _Latents:
    """Encodes rows of the training split, in chunks that fit the memory budget."""
    device = next(model.parameters()).device
    share = share_of(config, dataset, "train", device=device)
    most, size = min(MOST_ROWS, share.num_rows), rows_within(model)
    # A model of many categories takes few rows at once, and to read them costs as much as to read many.
    block = size * max(1, BUDGET_BYTES // (8 * size * model.examples.row_bytes))
    loaded = (share.load(start, min(start + block, most)) for start in range(0, most, block))
    parts, first = [], 0
    for rows in (one.take(slice(at, at + size)) for one in loaded for at in range(0, len(one), size)):
        draws = RowDraws(config.training.seed, Stream.AGGREGATE, first=first, device=device)
        inputs, first = inputs_of(model, rows, draws), first + len(rows)
        posterior, noise = model.encode(inputs), draws.normal(len(rows), model.noise_dim)[None]
        z_NL = posterior.draw(noise, model.prior_of(inputs.condition)).z[0]
        parts.append(_Latents(posterior.mean, posterior.std().square(), z_NL, rows.labels, rows.attributes))
    joined = {
        field: torch.cat([getattr(part, field) for part in parts]).cpu()
        for field, value in parts[0]._asdict().items()
        if value is not None
    }
    return _Latents(**joined)
