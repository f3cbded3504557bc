"""The ladder posterior: groups of latents inferred from the top down."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from vae.parts.distributions import Gaussian
from vae.parts.part import Positive
from vae.parts.posteriors.posterior import ClosedForm, Draw, PosteriorModule, PosteriorPart

if TYPE_CHECKING:
    from vae.config.model import ModelConfig
    from vae.parts.priors.prior import PriorPart

LADDER_LOG_STD = -2.0
"""Log standard deviation that a new ladder infers for each group. Where it is 0 the means hardly show in the draws, and the
decoder learns to ignore them within its first steps; some runs never come back from that."""


class LadderPosterior(PosteriorPart):
    """Groups of latents inferred from the top down, each merged with the prior's Gaussian (Sønderby et al. 2016)."""

    closed_form: ClassVar[ClosedForm | None] = "groups"
    has_groups: ClassVar[bool] = True

    kind: Literal["ladder"] = "ladder"
    hidden: Positive = 64
    """Units of the hidden layer between the features and a group."""

    @property
    def summary(self) -> str:
        return "ladder of Gaussians"

    def build(self, features: int, latent_dim: int, prior: PriorPart) -> PosteriorModule:
        return LadderPosteriorModule(self, features, latent_dim, prior.num_groups)

    def check_model(self, model: ModelConfig) -> None:
        if not model.prior.num_groups:
            raise ValueError(
                "model.posterior: ladder infers the groups of a hierarchical prior; set model.prior to one"
            )


@dataclass(frozen=True)
class Ladder:
    """Groups of latents from the top down."""

    features: Tensor
    """Features of the encoder, [B,F]."""
    module: LadderPosteriorModule
    prior: Any
    """Distribution of a hierarchical prior, with `group(number, above)`."""

    @property
    def mean(self) -> Tensor:
        """Mean of each group, with the groups above it at their means, [B,L]."""
        return self.draw(self._no_noise(), self.prior).z[0]

    def std(self) -> Tensor:
        """Returns each group's standard deviation, with the groups above it at their means, [B,L]."""
        return torch.cat([q.std()[0] for q, _ in self.draw(self._no_noise(), self.prior).groups], dim=-1)

    def _no_noise(self) -> Tensor:
        return self.features.new_zeros(1, self.features.shape[0], self.module.noise_dim)

    def draw(self, noise_SBN: Tensor, prior: Any) -> Draw:
        """Draws group by group, each given the drawn groups above it."""
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
    """Returns the product of two Gaussians: means weighted by precision (Sønderby et al. 2016, eq. 17 to 19)."""
    precision_q, precision_p = torch.exp(-2 * inferred.log_std), torch.exp(-2 * prior.log_std)
    precision = precision_q + precision_p
    mean = (inferred.mean * precision_q + prior.mean * precision_p) / precision
    return Gaussian(mean, -0.5 * torch.log(precision))


def _ladder_log_prob(groups: tuple[tuple[Gaussian, Gaussian], ...], z_SBL: Tensor) -> Tensor:
    parts = z_SBL.chunk(len(groups), dim=-1)
    return torch.stack([q.log_prob(z) for (q, _), z in zip(groups, parts, strict=True)]).sum(0)


class LadderPosteriorModule(PosteriorModule):
    """Features and the groups above to a Gaussian, for each group."""

    def __init__(self, config: LadderPosterior, features: int, latent_dim: int, groups: int) -> None:
        super().__init__()
        self.noise_dim = latent_dim
        self.num_groups = groups
        width = latent_dim // groups
        self.groups = nn.ModuleList(
            nn.Sequential(nn.Linear(features + number * width, config.hidden), nn.SiLU(), _narrow(config.hidden, width))
            for number in range(groups)
        )

    def forward(self, features_BF: Tensor, prior: Callable[[], Any]) -> Ladder:
        return Ladder(features_BF, self, prior())

    def infer(self, number: int, features_SBF: Tensor, above_SBL: Tensor) -> Gaussian:
        """Returns the Gaussian of one group before it is merged with the prior."""
        out = self.groups[number](torch.cat([features_SBF, above_SBL.to(features_SBF.dtype)], dim=-1)).float()
        return Gaussian(*out.chunk(2, dim=-1))


def _narrow(features: int, width: int) -> nn.Linear:
    """Returns a layer from features to the mean and log standard deviation of a Gaussian that begins narrow."""
    layer = nn.Linear(features, 2 * width)
    nn.init.constant_(layer.bias[width:], LADDER_LOG_STD)
    return layer
