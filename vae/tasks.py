"""What a trained model can do: one function per task, from tensors to tensors.

Shapes: N rows, C channels, H height, W width, L latent. Examples are float32 in [0, 1].
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from vae import importance
from vae.likelihoods import binarization, binarize
from vae.model import VAE
from vae.seeds import Stream, derive

Output = Literal["mean", "sample"]


class Code(NamedTuple):
    """The posterior of each row."""

    mean: Tensor
    """[N,L]"""
    std: Tensor
    """[N,L]"""


@torch.no_grad()
def encode(model: VAE, x_NCHW: Tensor, labels_N: Tensor | None = None) -> Code:
    """Mean and standard deviation of q(z|x).

    Grey pixels go to the encoder as they are, which is the expectation of what it saw in training, so the code is the same
    every time.
    """
    posterior = model.encode(x_NCHW, labels_N)
    return Code(posterior.mean, posterior.std())


@torch.no_grad()
def decode(model: VAE, z_NL: Tensor, labels_N: Tensor | None = None, output: Output = "mean", seed: int = 0) -> Tensor:
    """Examples at latents, [N,C,H,W]: the likelihood's mean, or a draw from it."""
    outputs = model.decode(z_NL[None], labels_N)[0]
    if output == "mean":
        return model.likelihood.mean(outputs)
    return model.likelihood.sample(outputs, _generator(z_NL, seed, 1))


def reconstruct(model: VAE, x_NCHW: Tensor, labels_N: Tensor | None = None) -> Tensor:
    """Decodes the posterior mean of each row, [N,C,H,W]."""
    return decode(model, encode(model, x_NCHW, labels_N).mean, labels_N)


def generate(
    model: VAE,
    num: int,
    labels_N: Tensor | None = None,
    *,
    seed: int = 0,
    temperature: float = 1.0,
    output: Output = "mean",
) -> Tensor:
    """New examples from the prior, [num,C,H,W].

    Args:
        model: Trained.
        num: How many.
        labels_N: Class of each, for a conditional model.
        seed: Same seed, same examples, on any machine of one kind.
        temperature: Scales the prior's noise; below 1 nearer to the typical example.
        output: The likelihood's mean, or a draw from it.
    """
    device = next(model.parameters()).device
    generator = torch.Generator(device).manual_seed(derive(seed, Stream.GENERATION, 0))
    noise = torch.randn(num, model.prior.noise_dim, generator=generator, device=device)
    return decode(model, model.prior.sample(temperature * noise), labels_N, output, seed)


@torch.no_grad()
def score(
    model: VAE, x_NCHW: Tensor, labels_N: Tensor | None = None, *, num_samples: int = 100, seed: int = 0
) -> Tensor:
    """log p(x) of each row in nats, [N], by importance sampling (Burda et al. 2016).

    Where the model was trained on binarised pixels, grey ones are binarised by a draw that depends on the seed.
    """
    generator = _generator(x_NCHW, seed, 2)
    if binarization(model.config.likelihood) in ("static", "dynamic"):
        x_NCHW = binarize((x_NCHW * 255).round().to(torch.uint8), generator)
    return importance.log_likelihood(model, x_NCHW, labels_N, num_samples=num_samples, generator=generator)


def _generator(like: Tensor, seed: int, key: int) -> torch.Generator:
    return torch.Generator(like.device).manual_seed(derive(seed, Stream.GENERATION, key))
