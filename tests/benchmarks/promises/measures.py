"""Measurements of a registered model on the test split.

Shapes: S samples, B rows, L latent, N rows, D columns.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tests.benchmarks.uses.work import fit_judge, judged
from tests.benchmarks.work import Figures
from vae.config import RunConfig
from vae.data.batches import Batch, Share
from vae.data.parquet import Dataset
from vae.data.transforms import transform_of
from vae.draws import RowDraws
from vae.inference.client import Pulled
from vae.metrics.reconstruction import psnr
from vae.model import VAE
from vae.parts.bounds.bound import importance_weighted
from vae.parts.corruptions.gaussian_noise import GaussianNoise
from vae.parts.distributions import Gaussian
from vae.parts.posteriors.vector_quantized import VectorQuantized
from vae.parts.regularizers.mmd import maximum_mean_discrepancy
from vae.parts.terms import Inputs, Terms
from vae.seeds import Stream

DRAWS = 20
"""Draws of each posterior."""
BETAS = (0.1, 1.0, 10.0)
"""Weights of the rate at which a model with β gates is asked."""
NOISE = GaussianNoise(sigma=0.25)
HIDDEN_SHARE = 0.3
"""Share of a table's entries that are hidden from `miwae`."""
NUM_GENERATED = 600


@dataclass(frozen=True)
class Shipped:
    """A registered model and the data that it is measured on."""

    pulled: Pulled
    """The model as its users call it."""
    model: VAE
    """The same model without MLflow around it."""
    config: RunConfig
    dataset: Dataset

    @cached_property
    def test(self) -> Batch:
        """The whole test split."""
        return self.load("test")

    def load(self, split: str) -> Batch:
        """Returns a whole split, with nothing hidden beside what the dataset lacks."""
        return Share.of(self.dataset, split).load(0, self.dataset.num_rows(split))

    def inputs(self, log_beta: float = 0.0) -> Inputs:
        """Returns the test split as the model takes it, binarised by one draw that is the same for every model."""
        test = self.test
        found = self.model.inputs(
            test.values, test.labels, test.attributes, test.observed, draws=RowDraws(0, Stream.EVALUATION)
        )
        return found._replace(log_beta=torch.full((len(test), 1), log_beta) if self.config.model.beta_gates else None)

    @torch.no_grad()
    def terms(self, beta: float = 1.0) -> Terms:
        """Returns the bound's terms on the test split, of 20 draws of each posterior."""
        noise = torch.randn(DRAWS, len(self.test), self.model.noise_dim, generator=torch.Generator().manual_seed(1))
        return self.model(self.inputs(float(np.log(beta))), noise)

    @property
    def images(self) -> Tensor:
        """The test images in [0, 1], grey."""
        return self.test.values.float() / 255

    def names_of(self, labels: Tensor) -> list[str]:
        """Returns the names of the labels' classes; empty for a model without a condition."""
        classes: Sequence[str] = self.model.examples.classes or ()
        return [classes[int(label)] for label in labels] if self.config.model.condition else []


def figures(shipped: Shipped, row: str) -> Figures:
    """Returns everything that the promises of a preset, and those that are compared with it, look at."""
    terms = shipped.terms()
    found = {"rate": terms.rate.mean().item(), "distortion": terms.distortion.mean().item()}
    if shipped.model.examples.columns is None and not shipped.model.has_codes:
        found |= {"nll": _nll(shipped), **_aggregate(terms)}
    measure = OF_PRESET.get(row)
    return found if measure is None else {**found, **measure(shipped, terms)}


def _nll(shipped: Shipped) -> float:
    """Returns the negative log-likelihood by `predict`'s task `score`, in nats per example."""
    condition = shipped.names_of(shipped.test.labels) if shipped.test.labels is not None else ()
    return -float(shipped.pulled.score(shipped.images.numpy(), num_samples=100, condition=condition).mean())


def _aggregate(terms: Terms) -> Figures:
    """Returns what the aggregate posterior is like."""
    z_SBL, mean_BL = terms.z, terms.posterior.mean
    identity = torch.eye(z_SBL.shape[-1])
    zeros = torch.zeros_like(z_SBL)
    to_normal = terms.draw.log_prob() - Gaussian(zeros, zeros).log_prob(z_SBL)
    reference = torch.randn(z_SBL[0].shape, generator=torch.Generator().manual_seed(2))
    correlation = torch.corrcoef(z_SBL.flatten(0, 1).double().T)
    means, draws = torch.cov(mean_BL.T), torch.cov(z_SBL.flatten(0, 1).T)
    return {
        "kl_to_normal": to_normal.mean().item(),
        "total_correlation": -0.5 * torch.linalg.slogdet(correlation).logabsdet.item(),
        "covariance_of_means": (means - identity).norm().item(),
        "covariance_of_draws": (draws - identity).norm().item(),
        "mmd": torch.stack([maximum_mean_discrepancy(z, reference, "imq") for z in z_SBL]).mean().item(),
    }


def _bound(shipped: Shipped, terms: Terms) -> Figures:
    elbo = (terms.distortion + terms.rate).mean().item()
    return {"negative_elbo": elbo, "negative_bound": -importance_weighted(terms).mean().item()}


def _groups(shipped: Shipped, terms: Terms) -> Figures:
    assert terms.kl is not None, "a ladder's groups are Gaussian"
    halves = terms.kl.mean((0, 1)).chunk(2)
    return {"rate_top": halves[0].sum().item(), "rate_bottom": halves[1].sum().item()}


def _codes(shipped: Shipped, terms: Terms) -> Figures:
    assert terms.draw.codes is not None, "a latent of codes"
    share = torch.bincount(terms.draw.codes.flatten()).double()
    share = share / share.sum()
    posterior = shipped.config.model.posterior
    assert isinstance(posterior, VectorQuantized), "a latent of codes"
    return {"perplexity": torch.special.entr(share).sum().exp().item(), "codes": posterior.codes}


def _denoised(shipped: Shipped, terms: Terms) -> Figures:
    clean = shipped.images
    noisy = NOISE.corrupt(clean, RowDraws(3, Stream.EVALUATION))
    found = torch.from_numpy(shipped.pulled.denoise(noisy.numpy(), num_samples=32))
    answers = {"psnr_denoised": found, "psnr_noisy": noisy}
    return {name: psnr(clean, image.clamp(0, 1)).mean().item() for name, image in answers.items()}


def _classes(shipped: Shipped, terms: Terms) -> Figures:
    """Returns how often a classifier of the training split sees the class that was asked for, and its own accuracy."""
    train, classes = shipped.load("train"), len(shipped.model.examples.classes or ())
    assert train.labels is not None, "the classes are asked for"
    assert shipped.test.labels is not None, "the classes are asked for"
    judge = fit_judge(train.values.float() / 255, train.labels, classes, steps=1500, seed=0)
    asked = torch.arange(NUM_GENERATED) % classes
    images = shipped.pulled.generate(NUM_GENERATED, condition=shipped.names_of(asked), seed=0)
    return {
        "agreement": (judged(judge, torch.from_numpy(images)) == asked).double().mean().item(),
        "accuracy": (judged(judge, shipped.images) == shipped.test.labels).double().mean().item(),
    }


def _over_betas(shipped: Shipped, terms: Terms) -> Figures:
    found = {}
    for beta in BETAS:
        part = shipped.terms(beta)
        found[f"rate_{beta:g}"] = part.rate.mean().item()
        found[f"objective_{beta:g}"] = (part.distortion.mean() + beta * part.rate.mean()).item()
    return found


def _imputed(shipped: Shipped, terms: Terms) -> Figures:
    """Returns errors of hidden numbers in standard deviations of the training split, and those of its column means."""
    whole = shipped.test.values.numpy()
    hidden = np.random.default_rng(0).random(whole.shape) < HIDDEN_SHARE
    hidden &= ~hidden.all(1, keepdims=True)
    columns = shipped.model.examples.columns or ()
    rows = pd.DataFrame(np.where(hidden, np.nan, whole), columns=[column.name for column in columns])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "task impute")  # of rows that rest on few draws
        filled = shipped.pulled.impute(rows).to_numpy()
    std, mean = (np.array([getattr(column, name) for column in columns]) for name in ("std", "mean"))
    errors = {"rmse": (filled - whole) / std, "rmse_mean": (mean - whole) / std}
    return {name: float(np.sqrt(np.square(error[hidden]).mean())) for name, error in errors.items()}


def _table(shipped: Shipped, terms: Terms) -> Figures:
    """Returns the model's and independent Gaussian columns' NLL of standardised numbers, in nats per row."""
    rows = transform_of(shipped.model.examples).write(shipped.inputs().x)
    train, _ = transform_of(shipped.model.examples).prepare(shipped.load("train").values)
    mean, std = train.mean(0), train.std(0)
    independent = -torch.distributions.Normal(mean, std).log_prob(shipped.inputs().x).sum(1).mean().item()
    return {"nll": -float(shipped.pulled.score(rows, num_samples=100).mean()), "nll_independent": independent}


OF_PRESET: Mapping[str, Callable[[Shipped, Terms], Figures]] = {
    "iwae": _bound,
    "ladder_vae": _groups,
    "vq_vae": _codes,
    "denoising_vae": _denoised,
    "cvae": _classes,
    "multi_rate_vae": _over_betas,
    "miwae": _imputed,
    "table_vae": _table,
}
"""Measurements of one preset, beside those of all."""
