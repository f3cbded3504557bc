"""The posterior of a normalising flow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from vae.parts.distributions import Gaussian, standard_normal_log_prob
from vae.parts.part import HiddenUnits, Positive
from vae.parts.posteriors.posterior import Draw, PosteriorModule, PosteriorPart

if TYPE_CHECKING:
    from vae.parts.priors.prior import PriorPart

MOMENT_DRAWS = 32


class FlowPosterior(PosteriorPart):
    """A diagonal Gaussian whose draws pass through autoregressive transforms (Kingma et al. 2016)."""

    requirements: ClassVar[tuple[str, ...]] = ("zuko",)

    kind: Literal["flow"] = "flow"
    transform: Literal["iaf", "nsf"] = "iaf"
    """Kind of transform. iaf: affine. nsf: rational-quadratic splines (Durkan et al. 2019)."""
    transforms: Positive = 2
    """Number of transforms, one after the other."""
    hidden: HiddenUnits = (64, 64)
    """Units of each hidden layer in a transform's network."""

    @property
    def summary(self) -> str:
        return f"Gaussian through {self.transforms} {self.transform.upper()} transforms"

    def build(self, features: int, latent_dim: int, prior: PriorPart) -> PosteriorModule:
        return FlowPosteriorModule(self, features, latent_dim)


@dataclass(frozen=True)
class FlowedGaussian:
    """A diagonal Gaussian carried through a transform."""

    base: Gaussian
    transform: Any
    """Transform of torch.distributions, [S,B,L] to [S,B,L], quick in this direction."""
    moment_noise: Tensor
    """Fixed noise of the draws that give the standard deviation, [32,1,L]."""

    @property
    def mean(self) -> Tensor:
        """Image of the base's mean, [B,L]: a location near the mean of a smooth transform."""
        return self.transform(self.base.mean)

    def std(self) -> Tensor:
        """Returns the standard deviation of 32 draws from fixed noise, [B,L]."""
        return self.draw(self.moment_noise.expand(-1, self.base.mean.shape[0], -1)).z.std(0)

    def draw(self, noise_SBN: Tensor, prior: Any = None) -> Draw:
        """Draws from the base and carries the draws through the transform."""
        with torch.autocast(noise_SBN.device.type, enabled=False):  # the log-determinant is a sum over the latent
            z_SBL, log_det_SB = self.transform.call_and_ladj(self.base.sample(noise_SBN))
        return Draw(z_SBL, lambda: standard_normal_log_prob(noise_SBN) - self.base.log_std.sum(-1) - log_det_SB)


class FlowPosteriorModule(PosteriorModule):
    """Features to a Gaussian, and to the context of the transforms."""

    def __init__(self, config: FlowPosterior, features: int, latent_dim: int) -> None:
        from vae.parts.normalizing_flows import autoregressive_flow  # a model without a flow needs no zuko

        super().__init__()
        self.noise_dim = latent_dim
        self.head = nn.Linear(features, 2 * latent_dim)
        self.context = nn.Linear(features, config.hidden[0])
        self.flow = autoregressive_flow(
            latent_dim, config.hidden[0], config.transforms, config.hidden, splines=config.transform == "nsf"
        )
        noise = torch.randn(MOMENT_DRAWS, 1, latent_dim, generator=torch.Generator().manual_seed(0))
        self.moment_noise: Tensor
        self.register_buffer("moment_noise", noise, persistent=False)

    def forward(self, features_BF: Tensor, prior: Callable[[], Any]) -> FlowedGaussian:
        mean_BL, log_std_BL = self.head(features_BF).float().chunk(2, dim=-1)
        transform = self.flow(self.context(features_BF).float())
        return FlowedGaussian(Gaussian(mean_BL, log_std_BL), transform, self.moment_noise)
