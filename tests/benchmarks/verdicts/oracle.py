"""Label of a trained model by its behaviour on the test split alone.

The oracle ignores the rate, the active units, the width of the aggregate posterior and the scale of the data.

Shapes: S draws, N rows of the test split.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch

from tests.benchmarks.work import inputs_of
from vae import inference
from vae.config import RunConfig
from vae.data.parquet import Dataset
from vae.metrics.gap import energy_distance, mean_distance, numbers
from vae.model import VAE
from vae.training.assembly import share_of

Label = Literal["collapsed", "under_regularised", "sound", "neither"]
BAD = ("collapsed", "under_regularised")
TOLD_NATS, TOLD_SHARE = 0.05, 0.01
"""Least gain of a row's own posterior over others in a model without collapse, in nats and as a share of the distortion
under others."""
STRANGE = 0.08
"""Excess distance of samples over reconstructions from the rows, in units of the rows' mean distance, from which on a model
is under-regularised."""
MARGIN = 2.0
"""Factor by which a label must clear these bars; a model between them is neither."""
BLURRED = 0.3
"""Distance of a sound model's reconstructions from the rows at most, in the same unit; a model that ignores its latent has
about 0.4."""
SHIFTS = (1, 5, 17)
"""Rows by which posteriors are shifted to belong to others."""
DRAWS, SAMPLES = 4, 1_600
"""Draws of each posterior, and samples in all."""


@torch.no_grad()
def figures(model: VAE, config: RunConfig, dataset: Dataset) -> Mapping[str, float]:
    """Returns figures of a model's reconstructions and samples on the test split.

    `told` is what a row's own posterior is worth to it: the distortion under the posteriors of other rows less that under
    its own, in nats; the median over rows, and the mean, of which densities far in the tails make nonsense. `shuffled` is
    the mean distortion under other rows' posteriors. `samples` and `reconstructions` are energy distances from the rows, in
    units of the rows' own mean distance: of what is decoded from the prior, and from the posteriors; `between` is that of
    one from the other.
    """
    share = share_of(config, dataset, "test")
    inputs = inputs_of(model, share.load(0, share.num_rows), seed=0)
    noise = torch.randn(DRAWS, len(inputs.x), model.noise_dim, generator=torch.Generator().manual_seed(0))
    terms = model(inputs, noise)
    of_others = [-model.likelihood.log_prob(inputs.x, terms.outputs.roll(by, 1), inputs.observed) for by in SHIFTS]
    shuffled_N = torch.stack(of_others).mean((0, 1))
    told_N = shuffled_N - terms.distortion.mean(0)
    rows_ND = numbers(model, inputs.x)
    reconstructed_MD = torch.cat([numbers(model, inference.decode(model, z_NL)) for z_NL in terms.z])
    sampled_MD = numbers(model, inference.generate(model, SAMPLES, seed=1))
    spread = mean_distance(rows_ND)
    return {
        "told": told_N.median().item(),
        "told_mean": told_N.mean().item(),
        "shuffled": shuffled_N.mean().item(),
        "samples": energy_distance(sampled_MD, rows_ND) / spread,
        "reconstructions": energy_distance(reconstructed_MD, rows_ND) / spread,
        "between": energy_distance(sampled_MD, reconstructed_MD) / spread,
    }


def labelled(found: Mapping[str, float]) -> Label:
    """Returns the label of a model with these figures."""
    least = max(TOLD_NATS, TOLD_SHARE * abs(found["shuffled"]))
    if found["told"] < least / MARGIN:
        return "collapsed"
    strange = found["samples"] - found["reconstructions"]
    if strange >= STRANGE * MARGIN:
        return "under_regularised"
    is_told = min(found["told"], found["told_mean"]) >= least * MARGIN
    is_alike = max(strange, found["between"]) <= STRANGE / MARGIN and found["reconstructions"] <= BLURRED
    return "sound" if is_told and is_alike else "neither"
