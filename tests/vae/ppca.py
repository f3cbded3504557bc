"""Probabilistic PCA as a VAE: every density and conditional is known in closed form.

Shapes: N and B examples, D values of one, L latent.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

from vae.config import ModelConfig
from vae.data.schema import ExampleSpec
from vae.model import VAE
from vae.parts.bodies.body import Context
from vae.parts.bodies.mlp import MLP
from vae.parts.likelihoods.gaussian import Gaussian, GaussianFamily
from vae.parts.likelihoods.likelihood import ImageLikelihood
from vae.parts.likelihoods.location_scale import FixedScale, anywhere
from vae.parts.posteriors import PosteriorConfig
from vae.parts.posteriors.diagonal_gaussian import DiagonalGaussian
from vae.parts.priors import PriorConfig
from vae.parts.priors.standard_normal import StandardNormal

SHAPE, VALUES, LATENT, SIGMA = (1, 2, 3), 6, 2, 0.4


class LinearEncoder(nn.Module):
    """Features linear in the example; class c moves them by c."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor, observed: Tensor | None, context: Context) -> Tensor:
        return x.flatten(1) @ self.weight.T + shift(context)


class LinearDecoder(nn.Module):
    """The likelihood's mean linear in the latent; class c moves it by c."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, z_BL: Tensor, context: Context) -> Tensor:
        return (z_BL @ self.weight.T + shift(context)).unflatten(1, SHAPE)


def shift(context: Context) -> Tensor:
    return torch.zeros(1, 1) if context.beside is None else context.beside.argmax(1, keepdim=True).float()


class Ppca(NamedTuple):
    """x = W z + y + ε: the model, and its evidence in closed form."""

    model: VAE
    evidence: MultivariateNormal
    weight: Tensor
    """[D,L]"""


def build(
    gap: float = 0.0,
    classes: int = 0,
    posterior: PosteriorConfig | None = None,
    prior: PriorConfig | None = None,
) -> Ppca:
    """A VAE with a linear decoder, the exact posterior mean, and `gap` too much in each log standard deviation.

    W has orthogonal columns, so that the exact posterior is diagonal: without a gap every weight is p(x).
    """
    generator = torch.Generator().manual_seed(0)
    weight_DL = torch.linalg.qr(torch.randn(VALUES, LATENT, generator=generator)).Q * torch.tensor([1.5, 0.8])
    names = tuple(str(c) for c in range(classes)) or None
    config = ModelConfig(
        latent_dim=LATENT,
        encoder=MLP(hidden=(LATENT,)),
        posterior=posterior or DiagonalGaussian(),
        prior=prior or StandardNormal(),
        likelihood=Gaussian(sigma="fixed", initial_sigma=SIGMA),
        condition=("class",) if classes else (),
    )
    model = VAE(config, ExampleSpec(SHAPE, names)).eval()
    precision = 1 + weight_DL.square().sum(0) / SIGMA**2
    model.likelihood = ImageLikelihood(GaussianFamily(anywhere, FixedScale(SIGMA)), SHAPE)
    model.decoder = LinearDecoder(weight_DL)
    model.encoder = LinearEncoder(weight_DL.T / SIGMA**2 / precision[:, None])
    head = model.posterior.head
    assert isinstance(head, nn.Linear)
    with torch.no_grad():
        head.weight.copy_(torch.cat([torch.eye(LATENT), torch.zeros(LATENT, LATENT)]))
        head.bias.copy_(torch.cat([torch.zeros(LATENT), -0.5 * precision.log() + gap]))
    covariance = weight_DL @ weight_DL.T + SIGMA**2 * torch.eye(VALUES)
    return Ppca(model, MultivariateNormal(torch.zeros(VALUES), covariance), weight_DL)
