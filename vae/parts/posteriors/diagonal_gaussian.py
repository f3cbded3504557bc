"""The diagonal Gaussian posterior."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from torch import Tensor, nn

from vae.parts.posteriors.posterior import ClosedForm, GaussianPosterior, PosteriorModule, PosteriorPart

if TYPE_CHECKING:
    from vae.parts.priors.prior import PriorPart


class DiagonalGaussian(PosteriorPart):
    """q(z|x) = N(μ(x), diag σ²(x)) (Kingma & Welling 2014)."""

    closed_form: ClassVar[ClosedForm | None] = "gaussian"
    has_moments: ClassVar[bool] = True
    has_density_everywhere: ClassVar[bool] = True

    kind: Literal["diagonal_gaussian"] = "diagonal_gaussian"

    @property
    def summary(self) -> str:
        return "diagonal Gaussian"

    def build(self, features: int, latent_dim: int, prior: PriorPart) -> PosteriorModule:
        return DiagonalGaussianPosterior(features, latent_dim)


class DiagonalGaussianPosterior(PosteriorModule):
    """Features to the mean and log standard deviation of q(z|x)."""

    def __init__(self, features: int, latent_dim: int) -> None:
        super().__init__()
        self.noise_dim = latent_dim
        self.head = nn.Linear(features, 2 * latent_dim)

    def forward(self, features_BF: Tensor, prior: Callable[[], Any]) -> GaussianPosterior:
        mean_BL, log_std_BL = self.head(features_BF).float().chunk(2, dim=-1)
        return GaussianPosterior(mean_BL, log_std_BL)
