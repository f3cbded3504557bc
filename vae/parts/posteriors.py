"""Posteriors q(z|x): what the encoder's features say of the latent.

Shapes: S samples, B batch, F features, L latent, N noise, G pieces of a quantised latent. Randomness comes in as standard
normal noise [S,B,N], so that a draw is a pure function of the features and the noise: it repeats after a resume, and it can
be vmapped, compiled and captured.

A posterior's module maps features [B,F] to a distribution over the batch, which has `mean` [B,L], `std()` [B,L] and
`draw(noise, prior)`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, assert_never

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vae.config import (
    DiagonalGaussian,
    FlowPosterior,
    HierarchicalPrior,
    LadderPosterior,
    ModelConfig,
    StudentTPosterior,
    VectorQuantized,
)
from vae.parts.distributions import LOG_2PI, Gaussian, standard_normal_log_prob
from vae.parts.quantization import Codebook

LEAST_DEGREES_OF_FREEDOM = 3.0
MOMENT_DRAWS = 32
LADDER_LOG_STD = -2.0
"""Log standard deviation that a new ladder infers for each group. Where it is 0 the means hardly show in the draws, and the
decoder learns to ignore them within its first steps; some runs never come back from that."""


@dataclass(frozen=True)
class Draw:
    """Draws of the latent for a batch."""

    z: Tensor
    """[S,B,L]"""
    log_prob: Callable[[], Tensor]
    """log q(z|x) of these draws, [S,B]; computed when it is called, for most objectives do not need it."""
    codes: Tensor | None = None
    """Codebook indices of a quantised latent, int64 [B,G]."""
    groups: tuple[tuple[Gaussian, Gaussian], ...] = ()
    """For each group of a ladder, top one first: q(z_g|x, z_{>g}) and p(z_g|z_{>g}), [S,B,L/G]."""
    penalty: Tensor | None = None
    """What the posterior adds to the loss, [B]: the commitment of a quantised latent."""


class Posterior(Protocol):
    """q(z|x) of a batch."""

    @property
    def mean(self) -> Tensor:
        """[B,L]"""
        ...

    def std(self) -> Tensor:
        """[B,L]"""
        ...

    def draw(self, noise_SBN: Tensor, prior: Any) -> Draw:
        """Draws, one for each row of noise. Only a ladder looks at the prior's distribution."""
        ...


def build_posterior(config: ModelConfig, features: int) -> PosteriorModule:
    """The posterior's module, from the encoder's number of features."""
    latent_dim = config.latent_dim
    match config.posterior:
        case DiagonalGaussian():
            return DiagonalGaussianPosterior(features, latent_dim)
        case StudentTPosterior():
            return StudentTPosteriorModule(features, latent_dim)
        case FlowPosterior() as flow:
            return FlowPosteriorModule(flow, features, latent_dim)
        case LadderPosterior() as ladder:
            assert isinstance(config.prior, HierarchicalPrior), "the configuration refuses another"
            return LadderPosteriorModule(ladder, features, latent_dim, config.prior.groups)
        case VectorQuantized() as quantized:
            return VectorQuantizedPosterior(quantized, features, latent_dim)
        case _:
            assert_never(config.posterior)


class GaussianPosterior(Gaussian):
    """q(z|x) = N(μ(x), diag σ²(x))."""

    def draw(self, noise_SBN: Tensor, prior: Any = None) -> Draw:
        return Draw(self.sample(noise_SBN), lambda: (-0.5 * (noise_SBN.square() + LOG_2PI) - self.log_std).sum(-1))


class DiagonalGaussianPosterior(nn.Module):
    """Features to the mean and log standard deviation of q(z|x)."""

    def __init__(self, features: int, latent_dim: int) -> None:
        super().__init__()
        self.noise_dim = latent_dim
        self.head = nn.Linear(features, 2 * latent_dim)

    def forward(self, features_BF: Tensor) -> GaussianPosterior:
        mean_BL, log_std_BL = self.head(features_BF).float().chunk(2, dim=-1)
        return GaussianPosterior(mean_BL, log_std_BL)


@dataclass(frozen=True)
class StudentT:
    """Independent Student-t's, one for each example and dimension."""

    mean: Tensor
    """[B,L]"""
    log_scale: Tensor
    """[B,L]"""
    degrees: Tensor
    """Of freedom, above 2, [B,L]"""

    def std(self) -> Tensor:
        """[B,L]"""
        return self.log_scale.exp() * torch.sqrt(self.degrees / (self.degrees - 2))

    def draw(self, noise_SBN: Tensor, prior: Any = None) -> Draw:
        """Bailey's polar method turns two normals into a t of any degrees, smoothly in all of them.

        References:
            Bailey, Polar Generation of Random Variates with the t-Distribution (1994), theorem 1.
        """
        first, second = noise_SBN.chunk(2, dim=-1)
        square = first.square() + second.square() + 1e-12
        t_SBL = first * torch.sqrt(self.degrees * torch.expm1(square / self.degrees) / square)
        z_SBL = torch.addcmul(self.mean, self.log_scale.exp(), t_SBL)
        return Draw(z_SBL, lambda: self._log_prob(t_SBL))

    def _log_prob(self, t_SBL: Tensor) -> Tensor:
        v = self.degrees
        normaliser = torch.lgamma((v + 1) / 2) - torch.lgamma(v / 2) - 0.5 * torch.log(v * math.pi) - self.log_scale
        return (normaliser - (v + 1) / 2 * torch.log1p(t_SBL.square() / v)).sum(-1)


class StudentTPosteriorModule(nn.Module):
    """Features to location, scale and degrees of freedom, of which there are more than 3: the variance is finite."""

    def __init__(self, features: int, latent_dim: int) -> None:
        super().__init__()
        self.noise_dim = 2 * latent_dim
        self.head = nn.Linear(features, 3 * latent_dim)

    def forward(self, features_BF: Tensor) -> StudentT:
        mean_BL, log_scale_BL, raw_BL = self.head(features_BF).float().chunk(3, dim=-1)
        return StudentT(mean_BL, log_scale_BL, LEAST_DEGREES_OF_FREEDOM + F.softplus(raw_BL))


@dataclass(frozen=True)
class FlowedGaussian:
    """A diagonal Gaussian carried through a transform."""

    base: Gaussian
    transform: Any
    """Of torch.distributions: [S,B,L] to [S,B,L], quick in this direction."""

    @property
    def mean(self) -> Tensor:
        """Where the base's mean is carried to, [B,L]: a location, near the mean of a smooth transform."""
        return self.transform(self.base.mean)

    def std(self) -> Tensor:
        """Of 32 draws of fixed noise, [B,L]."""
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(MOMENT_DRAWS, 1, self.base.mean.shape[-1], generator=generator).to(self.base.mean)
        return self.draw(noise.expand(-1, len(self.base.mean), -1)).z.std(0)

    def draw(self, noise_SBN: Tensor, prior: Any = None) -> Draw:
        with torch.autocast(noise_SBN.device.type, enabled=False):  # the log-determinant is a sum over the latent
            z_SBL, log_det_SB = self.transform.call_and_ladj(self.base.sample(noise_SBN))
        return Draw(z_SBL, lambda: standard_normal_log_prob(noise_SBN) - self.base.log_std.sum(-1) - log_det_SB)


class FlowPosteriorModule(nn.Module):
    """Features to a Gaussian, and to what the transforms see of them."""

    def __init__(self, config: FlowPosterior, features: int, latent_dim: int) -> None:
        from vae.parts.flows import autoregressive_flow  # a registered model without a flow does without zuko

        super().__init__()
        self.noise_dim = latent_dim
        self.head = nn.Linear(features, 2 * latent_dim)
        self.context = nn.Linear(features, config.hidden[0])
        self.flow = autoregressive_flow(
            latent_dim, config.hidden[0], config.transforms, config.hidden, splines=config.transform == "nsf"
        )

    def forward(self, features_BF: Tensor) -> FlowedGaussian:
        mean_BL, log_std_BL = self.head(features_BF).float().chunk(2, dim=-1)
        return FlowedGaussian(Gaussian(mean_BL, log_std_BL), self.flow(self.context(features_BF).float()))


@dataclass(frozen=True)
class Ladder:
    """Groups of latents from the top down."""

    features: Tensor
    """[B,F]"""
    module: LadderPosteriorModule
    prior: Any
    """The distribution of a hierarchical prior, with `group(number, above)`."""

    @property
    def mean(self) -> Tensor:
        """Each group's mean, where the groups above it are at theirs, [B,L]."""
        noise = self.features.new_zeros(1, len(self.features), self.module.noise_dim)
        return self.draw(noise, self.prior).z[0]

    def std(self) -> Tensor:
        """Each group's standard deviation, where the groups above it are at their means, [B,L]."""
        noise = self.features.new_zeros(1, len(self.features), self.module.noise_dim)
        return torch.cat([q.std()[0] for q, _ in self.draw(noise, self.prior).groups], dim=-1)

    def draw(self, noise_SBN: Tensor, prior: Any) -> Draw:
        samples = len(noise_SBN)
        features_SBF = self.features.expand(samples, *self.features.shape)
        above_SBL = noise_SBN[..., :0]
        groups = []
        for number, noise in enumerate(noise_SBN.chunk(self.module.num_groups, dim=-1)):
            p = prior.group(number, above_SBL)
            q = _merge(self.module.infer(number, features_SBF, above_SBL), p)
            groups.append((q, p))
            above_SBL = torch.cat([above_SBL, q.sample(noise)], dim=-1)
        pairs = tuple(groups)
        z_SBL = above_SBL
        return Draw(z_SBL, lambda: _ladder_log_prob(pairs, z_SBL), groups=pairs)


def _merge(inferred: Gaussian, prior: Gaussian) -> Gaussian:
    """The product of two Gaussians: means weighted by precision (Sønderby et al. 2016, eq. 17 to 19)."""
    precision_q, precision_p = torch.exp(-2 * inferred.log_std), torch.exp(-2 * prior.log_std)
    precision = precision_q + precision_p
    mean = (inferred.mean * precision_q + prior.mean * precision_p) / precision
    return Gaussian(mean, -0.5 * torch.log(precision))


def _ladder_log_prob(groups: tuple[tuple[Gaussian, Gaussian], ...], z_SBL: Tensor) -> Tensor:
    parts = z_SBL.chunk(len(groups), dim=-1)
    return torch.stack([q.log_prob(z) for (q, _), z in zip(groups, parts, strict=True)]).sum(0)


class LadderPosteriorModule(nn.Module):
    """For each group, features and the groups above it to a Gaussian."""

    def __init__(self, config: LadderPosterior, features: int, latent_dim: int, groups: int) -> None:
        super().__init__()
        self.noise_dim = latent_dim
        self.num_groups = groups
        width = latent_dim // groups
        self.groups = nn.ModuleList(
            nn.Sequential(nn.Linear(features + number * width, config.hidden), nn.SiLU(), _narrow(config.hidden, width))
            for number in range(groups)
        )

    def forward(self, features_BF: Tensor, prior: Any) -> Ladder:
        return Ladder(features_BF, self, prior)

    def infer(self, number: int, features_SBF: Tensor, above_SBL: Tensor) -> Gaussian:
        """What the features say of one group, before it is merged with the prior."""
        out = self.groups[number](torch.cat([features_SBF, above_SBL.to(features_SBF.dtype)], dim=-1)).float()
        return Gaussian(*out.chunk(2, dim=-1))


def _narrow(features: int, width: int) -> nn.Linear:
    """Returns a layer from features to the mean and log standard deviation of a Gaussian that begins narrow."""
    layer = nn.Linear(features, 2 * width)
    nn.init.constant_(layer.bias[width:], LADDER_LOG_STD)
    return layer


@dataclass(frozen=True)
class Quantized:
    """One certain code for each piece of the latent."""

    encoded: Tensor
    """What the encoder said, [B,L]"""
    nearest: Tensor
    """The codes nearest to it, [B,L]"""
    codes: Tensor
    """Their indices, [B,G]"""
    commitment: float

    @property
    def mean(self) -> Tensor:
        """The codes, [B,L]."""
        return self.nearest

    def std(self) -> Tensor:
        """0: there is one latent for each example, [B,L]."""
        return torch.zeros_like(self.nearest)

    def draw(self, noise_SBN: Tensor, prior: Any = None) -> Draw:
        # Straight through: the decoder sees the codes, the encoder gets their gradient (van den Oord et al. 2017).
        z_BL = self.encoded + (self.nearest - self.encoded).detach()
        z_SBL = z_BL.expand(len(noise_SBN), *z_BL.shape)
        penalty_B = self.commitment * (self.encoded - self.nearest.detach()).square().sum(-1)
        return Draw(z_SBL, lambda: torch.zeros_like(z_SBL[..., 0]), codes=self.codes, penalty=penalty_B)


class VectorQuantizedPosterior(nn.Module):
    """Features to pieces, and each piece to its nearest code."""

    def __init__(self, config: VectorQuantized, features: int, latent_dim: int) -> None:
        super().__init__()
        self.noise_dim = 0
        self.commitment = config.commitment
        self.head = nn.Linear(features, latent_dim)
        self.codebook = Codebook(config.codes, config.code_dim, config.decay)

    def forward(self, features_BF: Tensor) -> Quantized:
        encoded_BL = self.head(features_BF).float()
        pieces_BGD = encoded_BL.unflatten(-1, (-1, self.codebook.code_dim))
        codes_BG = self.codebook.nearest(pieces_BGD.detach())
        nearest_BL = self.codebook.embed(codes_BG)
        if self.training and torch.is_grad_enabled():
            self.codebook.follow(pieces_BGD.detach(), codes_BG)
        return Quantized(encoded_BL, nearest_BL, codes_BG, self.commitment)


PosteriorModule = (
    DiagonalGaussianPosterior
    | StudentTPosteriorModule
    | FlowPosteriorModule
    | LadderPosteriorModule
    | VectorQuantizedPosterior
)
