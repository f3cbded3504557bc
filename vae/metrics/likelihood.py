"""Rate, distortion and bounds over a split, in nats per example.

Shapes: B batch, L latent.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from vae import importance
from vae.data.batches import Batch
from vae.likelihoods import to_examples
from vae.model import VAE
from vae.seeds import Stream, derive

ACTIVE_UNIT_VARIANCE = 0.01


@dataclass(frozen=True)
class Sums:
    """Sums over examples, as one vector that ranks can add up."""

    vector: Tensor
    """[count, Σ distortion, Σ KL of each dimension …, Σ mean of each dimension …, Σ mean² …], float64, [2 + 3L]"""

    def bound(self) -> Bound:
        values = self.vector.cpu()
        count = values[0].item()
        kl, mean, square = (values[2:] / count).chunk(3)
        variance = square - mean.square()
        return Bound(
            num_examples=round(count),
            distortion=values[1].item() / count,
            rate=kl.sum().item(),
            kl_per_dimension=tuple(kl.tolist()),
            active_units=int((variance > ACTIVE_UNIT_VARIANCE).sum()),
        )


@dataclass(frozen=True)
class Bound:
    """The evidence lower bound and its parts, means over a split in nats per example."""

    num_examples: int
    distortion: float
    """E[−log p(x|z)], one draw of z per example."""
    rate: float
    """E[KL(q(z|x) ‖ p(z))]."""
    kl_per_dimension: tuple[float, ...]
    active_units: int
    """Dimensions whose posterior mean varies over the data by more than 0.01 (Burda et al. 2016, section 5.2)."""

    @property
    def negative_elbo(self) -> float:
        """distortion + rate: the bound at β = 1, whatever β the model was trained with."""
        return self.distortion + self.rate


@torch.no_grad()
def bound_sums(model: VAE, batches: Iterable[Batch], seed: int, rank: int = 0) -> Sums:
    """Sums for the evidence lower bound at β = 1 over some batches.

    Protocol: z is sampled, never the posterior mean, which would be no bound; draws derive from (seed, rank, batch), so two
    epochs are compared on the same noise. Where the binarisation policy is dynamic, so are the targets.
    """
    model.eval()
    device = next(model.parameters()).device
    generator = torch.Generator(device)
    latent_dim = model.config.latent_dim
    total = torch.zeros(2 + 3 * latent_dim, dtype=torch.float64, device=device)
    for number, batch in enumerate(batches):
        generator.manual_seed(derive(seed, Stream.VALIDATION, rank, number))
        x = to_examples(batch.pixels, model.config.likelihood, generator)
        noise = torch.randn(1, len(batch), model.noise_dim, generator=generator, device=device)
        terms = model(x, noise, batch.labels)
        mean = terms.posterior.mean.double()
        total += torch.cat(
            [
                torch.stack([torch.tensor(float(len(batch)), device=device), terms.distortion.sum()]).double(),
                terms.kl.double().sum(0),
                mean.sum(0),
                mean.square().sum(0),
            ]
        )
    return Sums(total)


@dataclass(frozen=True)
class ImportanceSampledNLL:
    """Negative log-likelihood by importance sampling, in nats per example."""

    nll: float
    standard_error: float
    """Of the mean over examples."""
    num_samples: int
    num_examples: int
    bits_per_dim: float | None
    """nll / (values per example · ln 2); None for densities over continuous pixels, where it depends on their unit."""


def importance_sampled_nll(
    model: VAE, batches: Iterable[Batch], *, num_samples: int, seed: int
) -> ImportanceSampledNLL:
    """The β-independent score by which models are compared.

    Protocol: the whole split, `num_samples` draws from the posterior per example (Burda et al. 2016); targets binarised by
    the model's own policy with draws derived from (seed, batch).
    """
    model.eval()
    device = next(model.parameters()).device
    generator = torch.Generator(device)
    nlls = []
    for number, batch in enumerate(batches):
        generator.manual_seed(derive(seed, Stream.EVALUATION, number))
        x = to_examples(batch.pixels, model.config.likelihood, generator)
        nlls.append(-importance.log_likelihood(model, x, batch.labels, num_samples=num_samples, generator=generator))
    nll = torch.cat(nlls).double()
    mean = nll.mean().item()
    discrete = model.likelihood.is_discrete
    return ImportanceSampledNLL(
        nll=mean,
        standard_error=nll.std().item() / math.sqrt(len(nll)),
        num_samples=num_samples,
        num_examples=len(nll),
        bits_per_dim=mean / (model.examples.num_values * math.log(2)) if discrete else None,
    )
