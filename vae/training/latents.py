"""Mixture and directions that are fitted once to the latents of a trained model, and stored with it.

Shapes: N rows, L latent, A attributes, K width of the condition, E directions.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import NamedTuple, get_args

import torch
from torch import Tensor

from vae import inference, progress
from vae.config import RunConfig
from vae.data.batches import Batch
from vae.data.parquet import Dataset
from vae.draws import RowDraws
from vae.inference.memory import BUDGET_BYTES, affordable_rows, rows_within
from vae.metrics.likelihood import inputs_of
from vae.model import VAE
from vae.parts.aggregate import fit_aggregate
from vae.parts.directions import Directions, Method, fit_directions
from vae.seeds import Stream, derive
from vae.training.assembly import share_of
from vae.training.world import ALONE, World

log = logging.getLogger(__name__)

MOST_ROWS = 10_000
"""Maximum number of encoded rows of the training split, which ingest has shuffled."""
ROWS_AT_ONCE = 256
"""Largest number of rows that are encoded at once, so that many workers have a part each."""
EFFECT_ROWS = 128
"""Number of rows over which the effect of a direction is averaged."""


@torch.no_grad()
def fit_latents(model: VAE, config: RunConfig, dataset: Dataset, world: World = ALONE) -> None:
    """Fits a mixture to the aggregate posterior of a trained model, and directions to its classes and attributes.

    The model gets neither if its latent consists of codes, nor if nothing can be fitted, as after a run that diverged.
    All ranks encode a part of the rows each, and rank 0 fits: its model alone gets the mixture and the directions, which
    are the same for any number of ranks.

    Args:
        model: The trained model, on every rank.
        config: The run.
        dataset: Dataset of the run.
        world: The ranks of the run, and this one among them.
    """
    if model.has_codes:
        return
    progress.report("fitting the latents of the data")
    training, device = config.training, next(model.parameters()).device
    latents = _encode(model, config, dataset, world)
    if world.rank:
        return
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


def _encode(model: VAE, config: RunConfig, dataset: Dataset, world: World) -> _Latents:
    """Encodes rows of the training split, in chunks that fit the memory budget; the same rows on each rank."""
    device = next(model.parameters()).device
    share = share_of(config, dataset, "train", device=device)
    most, size = min(MOST_ROWS, share.num_rows), min(ROWS_AT_ONCE, rows_within(model))
    own = replace(share, stop=share.start + most).batches_of(world.rank, world.size, size)
    # A model of many categories takes few rows at once, and to read them costs as much as to read many.
    block = size * max(1, BUDGET_BYTES // (8 * size * model.examples.row_bytes))
    firsts = range(own.start, own.stop, block)
    loaded = ((first, share.load(first, min(first + block, own.stop))) for first in firsts)
    parts = [
        _encoded(model, rows.take(slice(at, at + size)), config.training.seed, first + at)
        for first, rows in loaded
        for at in range(0, len(rows), size)
    ]
    # A rank without rows has the shapes of one row.
    like = parts[0] if parts else _encoded(model, share.load(0, 1), config.training.seed, 0)
    joined: dict[str, Tensor] = {}
    for field, value in like._asdict().items():
        if value is not None:
            whole = value.new_zeros(most, *value.shape[1:])
            if parts:
                whole[own.start : own.stop] = torch.cat([getattr(part, field) for part in parts])
            joined[field] = world.total(whole).cpu()
    return _Latents(**joined)


def _encoded(model: VAE, rows: Batch, seed: int, first: int) -> _Latents:
    """Returns the posteriors of rows of the training split from row `first` on."""
    device = next(model.parameters()).device
    draws = RowDraws(seed, Stream.AGGREGATE, first=first, device=device)
    inputs = inputs_of(model, rows, draws)
    posterior, noise = model.encode(inputs), draws.normal(len(rows), model.noise_dim)[None]
    z_NL = posterior.draw(noise, model.prior_of(inputs.condition)).z[0]
    return _Latents(posterior.mean, posterior.std().square(), z_NL, rows.labels, rows.attributes)
