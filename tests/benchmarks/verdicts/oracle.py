"""What a trained model is, by its behaviour on the test split alone.

Neither the rate, the active units, the width of the aggregate posterior nor the scale of the data is looked at.

Shapes: N rows of the test split, M samples, D values of an example.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from tests.benchmarks.reproduce.work import inputs_of
from vae import inference
from vae.assembly import share_of
from vae.config import RunConfig
from vae.data.parquet import Dataset
from vae.model import VAE

Label = Literal["collapsed", "under_regularised", "sound", "neither"]
BAD = ("collapsed", "under_regularised")
TOLD_NATS, TOLD_SHARE = 0.05, 0.01
"""What a row's own posterior is worth to it at least, in nats and as a share of the distortion under another's; a model
with less has collapsed."""
STRANGE = 0.08
"""How much farther from the rows samples lie than reconstructions do, in units of the rows' mean distance, from which on
the model is under-regularised."""
MARGIN = 2.0
"""Factor by which a sound model is better than both."""
SHIFTS = (1, 5, 17)
"""Rows by which posteriors are shifted to belong to others."""


@torch.no_grad()
def figures(model: VAE, config: RunConfig, dataset: Dataset) -> Mapping[str, float]:
    """Returns what a model's reconstructions and samples come to on the test split.

    `shuffled` is the distortion under the posteriors of other rows, `own` that under each row's own, both in nats.
    `samples` and `reconstructions` are energy distances from the rows, in units of the rows' own mean distance: of what
    is decoded from the prior, and from the posteriors; `between` is that of one from the other.
    """
    share = share_of(config, dataset, "test")
    inputs = inputs_of(model, share.load(0, share.num_rows), seed=0)
    generator = torch.Generator().manual_seed(0)
    terms = model(inputs, torch.randn(1, len(inputs.x), model.noise_dim, generator=generator))
    shuffled = [
        -model.likelihood.log_prob(inputs.x, terms.outputs.roll(shift, 1), inputs.observed).mean().item()
        for shift in SHIFTS
    ]
    rows_ND = _numbers(model, inputs.x)
    reconstructed_ND = _numbers(model, inference.decode(model, terms.z[0]))
    sampled_ND = _numbers(model, inference.generate(model, len(inputs.x), seed=1))
    spread = _spread(rows_ND)
    return {
        "own": terms.distortion.mean().item(),
        "shuffled": sum(shuffled) / len(shuffled),
        "samples": _energy(sampled_ND, rows_ND) / spread,
        "reconstructions": _energy(reconstructed_ND, rows_ND) / spread,
        "between": _energy(sampled_ND, reconstructed_ND) / spread,
    }


def labelled(found: Mapping[str, float]) -> Label:
    """Returns what a model with these figures is."""
    told, known = found["shuffled"] - found["own"], abs(found["shuffled"])
    if told < max(TOLD_NATS, TOLD_SHARE * known):
        return "collapsed"
    strange = found["samples"] - found["reconstructions"]
    if strange >= STRANGE:
        return "under_regularised"
    is_clear = told >= MARGIN * max(TOLD_NATS, TOLD_SHARE * known)
    is_clear = is_clear and max(strange, found["between"]) <= STRANGE / MARGIN
    return "sound" if is_clear else "neither"


def _numbers(model: VAE, x: Tensor) -> Tensor:
    """Returns examples as rows of numbers [N,D], each category as a column that is 0 or 1."""
    if model.examples.columns is None:
        return x.flatten(1)
    parts = [
        F.one_hot(x[:, d].long(), len(column.categories)).float() if column.categories else x[:, d, None]
        for d, column in enumerate(model.examples.columns)
    ]
    return torch.cat(parts, 1)


def _energy(a_ND: Tensor, b_MD: Tensor) -> float:
    """Returns the energy distance of two samples, without bias: 2 E|a − b| − E|a − a'| − E|b − b'|."""
    return 2 * torch.cdist(a_ND, b_MD).mean().item() - _spread(a_ND) - _spread(b_MD)


def _spread(a_ND: Tensor) -> float:
    """Returns the mean distance of two different rows."""
    return torch.cdist(a_ND, a_ND).sum().item() / (len(a_ND) * (len(a_ND) - 1))
