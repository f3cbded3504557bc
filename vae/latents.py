"""What the latents of a trained model tell, learned once and stored with it.

Shapes: N rows, L latent, A attributes.
"""

from __future__ import annotations

import torch

from vae.aggregate import fit_aggregate
from vae.assembly import share_of
from vae.config import RunConfig
from vae.data.parquet import Dataset
from vae.directions import fit_directions
from vae.metrics.likelihood import inputs_of, is_quantized
from vae.model import VAE
from vae.seeds import Stream, derive

MOST_ROWS = 10_000
"""Of the training split, which ingest has shuffled."""


@torch.no_grad()
def fit_latents(model: VAE, config: RunConfig, dataset: Dataset) -> None:
    """Gives a trained model the mixture fitted to its aggregate posterior, and the directions that mean a class or an
    attribute. Nothing, where its latent is made of codes."""
    if is_quantized(model):
        return
    training, device = config.training, next(model.parameters()).device
    share = share_of(config, dataset, "train", device=device)
    rows = share.load(0, min(MOST_ROWS, share.num_rows))
    generator = torch.Generator(device)
    generator.manual_seed(derive(training.seed, Stream.AGGREGATE))
    inputs = inputs_of(model, rows, generator)
    posterior = model.encode(inputs)
    if training.aggregate_components:
        noise = torch.randn(1, len(rows), model.noise_dim, generator=generator, device=device)
        z_NL = posterior.draw(noise, model.prior_of(inputs.condition)).z[0].cpu().numpy()
        mixture = fit_aggregate(z_NL, training.aggregate_components, derive(training.seed, Stream.AGGREGATE))
        model.aggregate = mixture.to(device)
    columns, values_NA = model.untold(rows.labels, rows.attributes)
    directions = fit_directions(posterior.mean.cpu().numpy(), columns, values_NA.cpu().numpy())
    if directions.names:
        model.directions = directions.to(device)
