"""The prior of a normalising flow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from vae.data.schema import ExampleSpec
from vae.parts.distributions import standard_normal_log_prob
from vae.parts.part import HiddenUnits, Positive
from vae.parts.posteriors.posterior import Draw, PosteriorPart
from vae.parts.priors.prior import Encode, PriorModule, PriorPart


class FlowPrior(PriorPart):
    """A normalising flow from N(0, I)."""

    requirements: ClassVar[tuple[str, ...]] = ("zuko",)

    kind: Literal["flow"] = "flow"
    transform: Literal["maf", "nsf"] = "nsf"
    """Kind of transform. maf: affine autoregressive. nsf: rational-quadratic splines (Durkan et al. 2019)."""
    transforms: Positive = 2
    """Number of transforms, one after the other."""
    hidden: HiddenUnits = (64, 64)
    """Units of each hidden layer in a transform's network."""

    @property
    def summary(self) -> str:
        return f"flow of {self.transforms} {self.transform.upper()} transforms"

    def build(
        self, latent_dim: int, posterior: PosteriorPart, condition_dim: int, examples: ExampleSpec
    ) -> PriorModule:
        return FlowPriorModule(self, latent_dim)


@dataclass(frozen=True)
class FlowedNormal:
    """N(0, I) carried backwards through a transform."""

    transform: Any

    def log_prob(self, draw: Draw) -> Tensor:
        """Returns log p(z), [S,B]."""
        with torch.autocast(draw.z.device.type, enabled=False):  # the log-determinant is a sum over the latent
            noise, log_det = self.transform.call_and_ladj(draw.z)
        return standard_normal_log_prob(noise) + log_det

    def kl(self, posterior: Any, draw: Draw) -> Tensor | None:
        """Returns None: there is no closed form."""
        return None

    def sample(self, noise_BN: Tensor, temperature: float = 1.0) -> Tensor:
        """Returns draws, [B,L]."""
        return self.transform.inv(temperature * noise_BN)


class FlowPriorModule(PriorModule):
    """A normalising flow, quick in the direction of its density."""

    def __init__(self, config: FlowPrior, latent_dim: int) -> None:
        from vae.parts.normalizing_flows import autoregressive_flow  # a model without a flow needs no zuko

        super().__init__()
        self.noise_dim = latent_dim
        self.flow = autoregressive_flow(
            latent_dim, 0, config.transforms, config.hidden, splines=config.transform == "nsf"
        )

    def forward(self, condition_BK: Tensor | None, encode: Encode) -> FlowedNormal:
        return FlowedNormal(self.flow())
