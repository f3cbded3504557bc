"""Likelihoods p(x|z): how far an example is from what the decoder says, in nats.

Shapes: S samples, B batch, C channels, H height, W width, P parameters per channel. Examples are in [0, 1]. A likelihood
owns what the decoder's outputs [S,B,C·P,H,W] mean. Nothing here reduces over samples or batch.
"""

from __future__ import annotations

import math
from typing import Literal, assert_never

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from vae.config import Bernoulli, Gaussian, Likelihood
from vae.errors import DataError
from vae.posteriors import LOG_2PI

LOG_SIGMA_FLOOR = -6.0


class BernoulliLikelihood(nn.Module):
    """Each pixel is 1 with the decoder's probability. The target must be binary: see `binarize`."""

    parameters_per_channel = 1
    is_discrete = True

    def log_prob(self, x_BCHW: Tensor, outputs_SBCHW: Tensor) -> Tensor:
        """log p(x|z) in nats, [S,B], from logits: finite where a probability would have been rounded to 0 or 1."""
        logits = outputs_SBCHW.float()
        cross_entropy = F.binary_cross_entropy_with_logits(logits, x_BCHW.expand_as(logits), reduction="none")
        return -cross_entropy.sum((-3, -2, -1))

    def mean(self, outputs: Tensor) -> Tensor:
        """E[x|z], the shape of `outputs`, in [0, 1]."""
        return outputs.float().sigmoid()

    def sample(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        """One draw x ~ p(x|z), the shape of `outputs`."""
        probability = self.mean(outputs)
        uniform = torch.rand(probability.shape, generator=generator, device=probability.device)
        return (uniform < probability).float()


class GaussianLikelihood(nn.Module):
    """Each pixel is normal around the decoder's mean with one global σ (Rybkin et al. 2021, arXiv 2006.13202)."""

    parameters_per_channel = 1
    is_discrete = False

    def __init__(self, config: Gaussian) -> None:
        super().__init__()
        log_sigma = torch.tensor(math.log(config.initial_sigma))
        self.learned = config.sigma == "learned"
        if self.learned:
            # The inverse of the softplus in `log_sigma`, so that training starts at `initial_sigma` exactly.
            self.raw_log_sigma = nn.Parameter(torch.log(torch.expm1(log_sigma - LOG_SIGMA_FLOOR)))
        else:
            self.register_buffer("raw_log_sigma", log_sigma)

    def log_sigma(self) -> Tensor:
        """log σ, a scalar. A learned one has a floor: blank borders would make the density unbounded (σ-VAE, section 4)."""
        return LOG_SIGMA_FLOOR + F.softplus(self.raw_log_sigma) if self.learned else self.raw_log_sigma

    def log_prob(self, x_BCHW: Tensor, outputs_SBCHW: Tensor) -> Tensor:
        """log p(x|z) in nats, [S,B]."""
        log_sigma = self.log_sigma()
        standardised = (x_BCHW - self.mean(outputs_SBCHW)) * torch.exp(-log_sigma)
        return (-0.5 * (standardised.square() + LOG_2PI) - log_sigma).flatten(2).sum(-1)

    def mean(self, outputs: Tensor) -> Tensor:
        """E[x|z], the shape of `outputs`, in [0, 1]."""
        return outputs.float().sigmoid()

    def sample(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        """One draw x ~ p(x|z), the shape of `outputs`; not clipped to [0, 1]."""
        mean = self.mean(outputs)
        noise = torch.randn(mean.shape, generator=generator, device=mean.device)
        return mean + self.log_sigma().exp() * noise


def build_likelihood(config: Likelihood) -> BernoulliLikelihood | GaussianLikelihood:
    match config:
        case Bernoulli():
            return BernoulliLikelihood()
        case Gaussian():
            return GaussianLikelihood(config)
        case _:
            assert_never(config)


def binarize(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Draws each uint8 pixel as 0 or 1, with its grey value / 255 as the probability of 1.

    Args:
        pixels: uint8, any shape, on the generator's device.

    Returns:
        float32 of the same shape, in {0, 1}. 0 is always 0 and 255 is always 1.
    """
    threshold = torch.randint(255, pixels.shape, generator=generator, device=pixels.device, dtype=torch.uint8)
    return (threshold < pixels).float()


def binarization(config: Likelihood) -> Literal["none", "static", "dynamic"] | None:
    """The policy by which grey pixels become binary; None where the likelihood takes grey."""
    return config.binarization if isinstance(config, Bernoulli) else None


def to_examples(pixels: Tensor, config: Likelihood, generator: torch.Generator) -> Tensor:
    """uint8 pixels to what the likelihood scores: float32 in [0, 1], drawn anew where the policy is dynamic."""
    if binarization(config) == "dynamic":
        return binarize(pixels, generator)
    return pixels.float().div_(255)


def check_binary(pixels: NDArray[np.uint8], where: str) -> None:
    """Refuses grey pixels for a Bernoulli likelihood without a binarisation policy.

    Args:
        pixels: Any shape.
        where: What the pixels are, for the message.

    Raises:
        DataError: If a pixel is neither 0 nor 255; says how many and what to do.
    """
    grey = np.count_nonzero(pixels + np.uint8(1) > 1)  # 255 wraps round to 0
    if grey:
        raise DataError(
            f"{where}: {grey} of {pixels.size} pixels are neither 0 nor 255, and a Bernoulli likelihood has no density "
            "for grey; set model.likelihood.binarization to `dynamic` or `static`, or use a gaussian likelihood"
        )
