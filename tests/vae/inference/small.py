"""Small untrained models of images, and images for them."""

from __future__ import annotations

import torch

from vae.config import ModelConfig
from vae.model import VAE, ExampleSpec
from vae.parts.bodies.mlp import MLP
from vae.parts.likelihoods import LikelihoodConfig
from vae.parts.likelihoods.gaussian import Gaussian
from vae.parts.terms import Inputs

SHAPE = (1, 4, 4)
LATENT = 3


def build(likelihood: LikelihoodConfig | None = None, classes: int = 0) -> VAE:
    config = ModelConfig(
        latent_dim=LATENT,
        encoder=MLP(hidden=(16,)),
        likelihood=likelihood or Gaussian(),
        condition="class" if classes else "none",
    )
    return VAE(config, ExampleSpec(SHAPE, tuple("abc"[:classes]) or None)).eval()


def images(rows: int = 6) -> Inputs:
    return Inputs(torch.rand(rows, *SHAPE, generator=torch.Generator().manual_seed(0)))
