"""The standard normal prior."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from vae.data.schema import ExampleSpec
from vae.parts.distributions import Gaussian, standard_normal_log_prob
from vae.parts.posteriors.posterior import ClosedForm, Draw, PosteriorPart
from vae.parts.priors.prior import PriorModule, PriorPart


class StandardNormal(PriorPart):
    """p(z) = N(0, I)."""

    closed_form: ClassVar[ClosedForm | None] = "gaussian"

    kind: Literal["standard_normal"] = "standard_normal"

    @property
    def summary(self) -> str:
        return "standard normal"

    def build(
        self, latent_dim: int, posterior: PosteriorPart, condition_dim: int, examples: ExampleSpec
    ) -> PriorModule:
        return StandardNormalPrior(latent_dim)


class StandardNormalPrior(PriorModule):
    """p(z) = N(0, I)."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.noise_dim = latent_dim

    def log_prob(self, draw: Draw) -> Tensor:
        return standard_normal_log_prob(draw.z)

    def kl(self, posterior: Any, draw: Draw) -> Tensor | None:
        r"""Returns the closed form for a Gaussian posterior (Kingma & Welling 2014, appendix B)."""
        if not isinstance(posterior, Gaussian):
            return None
        log_variance = 2 * posterior.log_std
        return 0.5 * (torch.addcmul(log_variance.expm1(), posterior.mean, posterior.mean) - log_variance)[None]

    def sample(self, noise_BN: Tensor, temperature: float = 1.0) -> Tensor:
        return temperature * noise_BN
