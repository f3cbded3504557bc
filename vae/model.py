"""The VAE: encoder + posterior + prior + decoder + likelihood, composed from a configuration.

Shapes: S samples, B batch, C channels, H height, W width, K classes, L latent. Every density is per example, in nats;
only an objective reduces.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vae.config import ModelConfig
from vae.errors import DataError
from vae.likelihoods import build_likelihood
from vae.networks import decoder_body, encoder_body
from vae.posteriors import Gaussian, build_posterior
from vae.priors import StandardNormalPrior, build_prior


@dataclass(frozen=True)
class ExampleSpec:
    """What one example is, as the dataset's manifest tells."""

    shape: tuple[int, int, int]
    """Channels, height, width."""
    classes: tuple[str, ...] | None = None
    """Names of the classes in the order of their indices; None for unlabelled data."""

    @property
    def num_values(self) -> int:
        channels, height, width = self.shape
        return channels * height * width


@dataclass(frozen=True)
class Terms:
    """What the model says of a batch, per sample and example, in nats. Each term is computed when it is asked for."""

    log_likelihood: Tensor
    """log p(x|z), [S,B]"""
    z: Tensor
    """Draws from the posterior, [S,B,L]"""
    posterior: Gaussian
    prior: StandardNormalPrior

    @property
    def distortion(self) -> Tensor:
        """−log p(x|z), [S,B]."""
        return -self.log_likelihood

    @property
    def kl(self) -> Tensor:
        """KL(q(z|x) ‖ p(z)) for each latent dimension, [B,L]."""
        return self.prior.kl(self.posterior)

    @property
    def rate(self) -> Tensor:
        """KL(q(z|x) ‖ p(z)), [B]."""
        return self.kl.sum(-1)

    @property
    def log_weight(self) -> Tensor:
        """log p(x,z) − log q(z|x), [S,B]: the importance weight of each draw (Burda et al. 2016, eq. 8)."""
        return self.log_likelihood + self.prior.log_prob(self.z) - self.posterior.log_prob(self.z)


class VAE(nn.Module):
    """A variational autoencoder over examples of one shape.

    Args:
        config: What it is made of.
        examples: Shape and classes of the data.
        seed: Seed of the initial weights; the global generator is left as it was.

    Raises:
        ConfigError: If the parts do not fit the examples.
        DataError: If the model is conditional and the data has no classes.

    References:
        Kingma & Welling, Auto-Encoding Variational Bayes (2014). https://arxiv.org/abs/1312.6114
    """

    def __init__(self, config: ModelConfig, examples: ExampleSpec, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.examples = examples
        if config.condition == "class" and not examples.classes:
            raise DataError(
                "model.condition is `class`, but the dataset has no labels; ingest it with labels or set it to `none`"
            )
        channels, height, width = examples.shape
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.likelihood = build_likelihood(config.likelihood)
            outputs_shape = (channels * self.likelihood.parameters_per_channel, height, width)
            self.encoder, features = encoder_body(config.encoder, examples.shape, self.num_classes)
            self.posterior = build_posterior(config.posterior, features, config.latent_dim)
            self.prior = build_prior(config.prior, config.latent_dim)
            self.decoder = decoder_body(
                config.decoder or config.encoder, config.latent_dim, outputs_shape, self.num_classes
            )

    @property
    def num_classes(self) -> int:
        """Width of the condition: 0 where the model has none."""
        return len(self.examples.classes or ()) if self.config.condition == "class" else 0

    @property
    def noise_dim(self) -> int:
        """Standard normal numbers that one draw of the latent takes."""
        return self.posterior.noise_dim

    def one_hot(self, labels_B: Tensor | None) -> Tensor | None:
        """The condition [B,K] of class indices [B]; None for a model without one."""
        if not self.num_classes:
            return None
        assert labels_B is not None, "a conditional model needs labels; callers check"
        return F.one_hot(labels_B.long(), self.num_classes).float()

    def encode(self, x_BCHW: Tensor, labels_B: Tensor | None = None) -> Gaussian:
        """q(z|x) of a batch."""
        return self.posterior(self.encoder(x_BCHW, self.one_hot(labels_B)))

    def decode(self, z_SBL: Tensor, labels_B: Tensor | None = None) -> Tensor:
        """The likelihood's parameters [S,B,C·P,H,W] at latents [S,B,L]."""
        condition_BK = self.one_hot(labels_B)
        samples, batch = z_SBL.shape[:2]
        if condition_BK is not None and samples > 1:
            condition_BK = condition_BK.repeat(samples, 1)
        outputs = self.decoder(z_SBL.flatten(0, 1), condition_BK)
        return outputs.view(samples, batch, *outputs.shape[1:])

    def forward(self, x_BCHW: Tensor, noise_SBL: Tensor, labels_B: Tensor | None = None) -> Terms:
        """Encodes, draws z from standard normal `noise`, decodes and scores.

        Args:
            x_BCHW: Examples in [0, 1].
            noise_SBL: Standard normal; its first dimension is the number of draws per example.
            labels_B: Class indices, for a conditional model.
        """
        posterior = self.encode(x_BCHW, labels_B)
        z_SBL = posterior.sample(noise_SBL)
        log_likelihood = self.likelihood.log_prob(x_BCHW, self.decode(z_SBL, labels_B))
        return Terms(log_likelihood, z_SBL, posterior, self.prior)
