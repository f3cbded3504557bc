"""Rate, distortion and bounds over a split, in nats per example.

Shapes: B batch, L latent.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from vae.data.batches import Batch
from vae.draws import RowDraws
from vae.errors import ConfigError
from vae.inference import importance
from vae.inference.memory import BUDGET_BYTES, chunks
from vae.model import VAE
from vae.parts.bounds import BoundConfig
from vae.parts.bounds.bound import importance_weighted
from vae.parts.bounds.elbo import Elbo
from vae.parts.distributions import Gaussian
from vae.parts.terms import Inputs, Terms
from vae.seeds import Stream

ACTIVE_UNIT_VARIANCE = 0.01
ONE_DRAW = Elbo()


@dataclass(frozen=True)
class Sums:
    """Sums over examples in one vector, which ranks can add up."""

    vector: Tensor
    """[count, Σ distortion, Σ rate, Σ −bound, then for each dimension Σ KL …, Σ mean …, Σ mean² …, Σ z …, Σ z² …], float64,
    [4 + 5L]; z is one draw of each posterior. The KLs are NaN where there is no closed form."""

    @staticmethod
    def width(latent_dim: int) -> int:
        """Returns the length of `vector`."""
        return 4 + 5 * latent_dim

    def bound(self) -> Bound:
        """Returns the means over the examples."""
        values = self.vector.cpu()
        count = values[0].item()
        kl, mean, square, z, z_square = (values[4:] / count).chunk(5)
        variance, aggregate = square - mean.square(), (z_square - z.square()).clamp(min=0)
        return Bound(
            num_examples=round(count),
            distortion=values[1].item() / count,
            rate=values[2].item() / count,
            negative_bound=values[3].item() / count,
            kl_per_dimension=None if kl.isnan().any() else tuple(kl.tolist()),
            mean_variance_per_dimension=tuple(variance.tolist()),
            aggregate_std_per_dimension=tuple(aggregate.sqrt().tolist()),
        )


def batch_sums(terms: Terms, bound: BoundConfig) -> Tensor:
    """Returns the vector of `Sums` for one batch."""
    mean, kl, z = terms.posterior.mean.double(), terms.kl, terms.z[0].double()
    by_dimension = kl is not None and kl.shape[-1] == mean.shape[-1]
    count = torch.full((), len(mean), dtype=mean.dtype, device=mean.device)
    distortion, rate = (part.mean(0).sum().double() for part in (terms.distortion, terms.rate))
    negative = -importance_weighted(terms).sum().double() if bound.weighs_draws else distortion + rate
    return torch.cat(
        [
            torch.stack([count, distortion, rate, negative]),
            kl.double().mean(0).sum(0) if kl is not None and by_dimension else torch.full_like(mean[0], torch.nan),
            mean.sum(0),
            mean.square().sum(0),
            z.sum(0),
            z.square().sum(0),
        ]
    )


@dataclass(frozen=True)
class Bound:
    """A bound on the evidence and its parts, means over a split in nats per example."""

    num_examples: int
    distortion: float
    """E[−log p(x|z)], in nats."""
    rate: float
    """E[KL(q(z|x) ‖ p(z))], in nats; estimated from the same draws if there is no closed form."""
    negative_bound: float
    """Negative of the requested bound, in nats: −log 1/S Σ w for an importance-weighted one, else `negative_elbo`."""
    kl_per_dimension: tuple[float, ...] | None
    """KL of each latent dimension, in nats; None without a closed form, and for a latent of codes."""
    mean_variance_per_dimension: tuple[float, ...]
    """Variance of the posterior's mean over the data."""
    aggregate_std_per_dimension: tuple[float, ...]
    """Standard deviation of the aggregate posterior, from one draw for each example."""

    @property
    def negative_elbo(self) -> float:
        """Distortion + rate: the evidence lower bound at β = 1, whatever β the model was trained with."""
        return self.distortion + self.rate

    @property
    def aggregate_std(self) -> float:
        """Root mean square of `aggregate_std_per_dimension`."""
        return math.sqrt(
            sum(std**2 for std in self.aggregate_std_per_dimension) / len(self.aggregate_std_per_dimension)
        )

    @property
    def active_units(self) -> int:
        """Number of dimensions whose posterior mean has a variance over 0.01 (Burda et al. 2016, section 5.2)."""
        return sum(variance > ACTIVE_UNIT_VARIANCE for variance in self.mean_variance_per_dimension)

    @property
    def informative_dimensions(self) -> list[int]:
        """Latent dimensions, the most informative first: by KL, or by the mean's variance if there is no KL."""
        measure = self.kl_per_dimension or self.mean_variance_per_dimension
        return sorted(range(len(measure)), key=lambda dimension: -measure[dimension])


@torch.no_grad()
def bound_sums(model: VAE, batches: Iterable[Batch], seed: int, bound: BoundConfig = ONE_DRAW, first: int = 0) -> Sums:
    """Returns the sums of a bound on the evidence at β = 1 over some batches.

    Protocol: z is sampled as often as the bound states, never replaced by the posterior mean, which would give no
    bound. Draws derive from (seed, row), so two epochs are compared on the same noise, in whatever batches. A dynamic
    binarisation policy applies to the targets as well. Missing entries are left out. `ciwae` is measured by its
    importance-weighted part, the tighter one.

    Args:
        model: The model.
        batches: Batches of a split, one after the other.
        seed: Seed of the draws.
        bound: Bound to measure.
        first: Number in the split of the first row.
    """
    model.eval()
    device = next(model.parameters()).device
    latent_dim = model.config.latent_dim
    total = torch.zeros(Sums.width(latent_dim), dtype=torch.float64, device=device)
    for batch in batches:
        draws = RowDraws(seed, Stream.VALIDATION, first=first, device=device)
        inputs, first = inputs_of(model, batch, draws), first + len(batch)
        noise = draws.normal(len(batch), bound.samples, model.noise_dim).transpose(0, 1).contiguous()
        for rows in chunks(model, len(batch), bound.samples):
            total += batch_sums(model(inputs.take(rows), noise[:, rows]), bound)
    return Sums(total)


def inputs_of(model: VAE, batch: Batch, draws: RowDraws) -> Inputs:
    """Returns a batch as the model takes it."""
    return model.inputs(batch.values, batch.labels, batch.attributes, batch.observed, draws=draws)


@dataclass(frozen=True)
class NegativeLogLikelihood:
    """β-independent score by which models are compared, in nats per example."""

    nats: float
    """Mean over the examples of −log p(x), of each example's observed values."""
    standard_error: float | None
    """Standard error of `nats`, in nats; None for a single example."""
    num_samples: int
    """Importance samples per example; 0 for the bound of a latent of codes, which draws nothing."""
    num_examples: int
    bits_per_dim: float | None
    """Total nats / (number of observed values · ln 2). None for densities over continuous values, which depend on a
    unit, and for data without observed values."""


class RowLikelihoods(NamedTuple):
    """Negative log-likelihoods of some rows of a split."""

    nats: Tensor
    """−log p(x) of each row's observed values, float64 [N]."""
    num_observed: int
    """Number of observed values of all rows together."""


@torch.no_grad()
def row_likelihoods(
    model: VAE, batches: Iterable[Batch], *, num_samples: int, seed: int, first: int = 0
) -> RowLikelihoods:
    """Returns the negative log-likelihood of each row of some batches.

    Protocol: `num_samples` draws from the posterior per example (Burda et al. 2016); targets binarised by the model's own
    policy; missing entries left out. A latent of codes is scored by its bound: distortion plus the rate of the chosen code.
    Draws derive from (seed, row, number of the sample), in whatever batches: two models with latents of one size are scored
    by the same noise.

    Args:
        model: The model.
        batches: Batches of a split.
        num_samples: Importance samples per example.
        seed: Seed of the draws.
        first: Number in the split of the first row.
    """
    model.eval()
    device = next(model.parameters()).device
    nats, num_observed = [torch.empty(0, dtype=torch.float64)], 0
    for batch in batches:
        draws = RowDraws(seed, Stream.EVALUATION, first=first, device=device)
        inputs, first = inputs_of(model, batch, draws), first + len(batch)
        num_observed += inputs.x.numel() if inputs.observed is None else int(inputs.observed.sum())
        if model.has_codes:
            for rows in chunks(model, len(batch)):
                terms = model(inputs.take(rows), torch.zeros(1, len(inputs.x[rows]), 0, device=device))
                nats.append((terms.distortion + terms.rate)[0].double().cpu())
        else:
            found = importance.log_likelihood(model, inputs, num_samples=num_samples, draws=draws)
            nats.append(-found.double().cpu())
    return RowLikelihoods(torch.cat(nats), num_observed)


def mean_likelihood(model: VAE, rows: RowLikelihoods, num_samples: int) -> NegativeLogLikelihood:
    """Returns the score of a model from the likelihoods of rows."""
    nats, num_observed = rows
    has_bits = model.likelihood.is_discrete and num_observed > 0
    return NegativeLogLikelihood(
        nats=nats.mean().item(),
        standard_error=nats.std().item() / math.sqrt(len(nats)) if len(nats) > 1 else None,
        num_samples=0 if model.has_codes else num_samples,
        num_examples=len(nats),
        bits_per_dim=nats.sum().item() / (num_observed * math.log(2)) if has_bits else None,
    )


def negative_log_likelihood(
    model: VAE, batches: Iterable[Batch], *, num_samples: int, seed: int
) -> NegativeLogLikelihood:
    """Returns the β-independent score by which models are compared: the mean of `row_likelihoods` over some batches."""
    return mean_likelihood(model, row_likelihoods(model, batches, num_samples=num_samples, seed=seed), num_samples)


def mutual_information(model: VAE, batches: Iterable[Batch], seed: int, max_examples: int = 10_000) -> float:
    r"""Returns I(x; z) under q in nats: E[log q(z|x) − log q(z)], where q(z) is the mixture of all posteriors.

    Protocol: one draw per example, of the first `max_examples`; q(z) averages over the same examples, so that the estimate
    is at most log of their number (Hoffman & Johnson, ELBO surgery, 2016).

    Raises:
        ConfigError: If the posterior is not Gaussian, and so has no density at the draws of other examples.
    """
    device, first = next(model.parameters()).device, 0
    means, log_stds, zs = [], [], []
    for batch in batches:
        draws = RowDraws(seed, Stream.EVALUATION, first=first, device=device)
        inputs, first = inputs_of(model, batch, draws), first + len(batch)
        noise = draws.normal(len(batch), model.config.latent_dim)
        for rows in chunks(model.eval(), len(batch)):
            posterior = model.encode(inputs.take(rows))
            if not isinstance(posterior, Gaussian):
                raise ConfigError(
                    f"mutual information needs q(z|x) at any z, which a {model.config.posterior.kind} posterior does not "
                    "give; use a diagonal_gaussian one"
                )
            means.append(posterior.mean)
            log_stds.append(posterior.log_std)
            zs.append(posterior.sample(noise[rows]))
        if sum(map(len, zs)) >= max_examples:
            break
    mean, log_std, z = (torch.cat(parts)[:max_examples] for parts in (means, log_stds, zs))
    own = Gaussian(mean, log_std).log_prob(z)
    size = max(1, BUDGET_BYTES // (4 * mean.element_size() * mean.numel()))  # of 4 tensors [size,N,L]
    among = [torch.logsumexp(Gaussian(mean, log_std).log_prob(part[:, None]), dim=1) for part in z.split(size)]
    return (own - torch.cat(among)).mean().item() + math.log(len(z))
