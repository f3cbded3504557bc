"""The conditional prior: a Gaussian for each condition."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from torch import Tensor, nn

from vae.data.schema import ExampleSpec
from vae.parts.distributions import Gaussian
from vae.parts.part import HiddenUnits
from vae.parts.posteriors.posterior import ClosedForm, Draw, PosteriorPart
from vae.parts.priors.prior import Encode, PriorModule, PriorPart

if TYPE_CHECKING:
    from vae.config.model import ModelConfig


class ConditionalPrior(PriorPart):
    """p(z|y) = N(μ(y), diag σ²(y)) (Sohn et al. 2015)."""

    closed_form: ClassVar[ClosedForm | None] = "gaussian"

    kind: Literal["conditional"] = "conditional"
    hidden: HiddenUnits = (64,)
    """Units of each hidden layer between condition and prior."""

    @property
    def summary(self) -> str:
        return "Gaussian that depends on the condition"

    def build(
        self, latent_dim: int, posterior: PosteriorPart, condition_dim: int, examples: ExampleSpec
    ) -> PriorModule:
        return ConditionalPriorModule(condition_dim, self.hidden, latent_dim)

    def check_model(self, model: ModelConfig) -> None:
        if not model.condition:
            raise ValueError(
                "model.prior: conditional needs something to depend on; set model.condition, such as `class`"
            )


@dataclass(frozen=True)
class GaussianDistribution:
    """Independent Gaussians as a prior, one for each example."""

    gaussian: Gaussian

    def log_prob(self, draw: Draw) -> Tensor:
        """Returns log p(z|y), [S,B]."""
        return self.gaussian.log_prob(draw.z)

    def kl(self, posterior: Any, draw: Draw) -> Tensor | None:
        """Returns the closed form for a Gaussian posterior, [1,B,L]."""
        return posterior.kl(self.gaussian)[None] if isinstance(posterior, Gaussian) else None

    def sample(self, noise_BN: Tensor, temperature: float = 1.0) -> Tensor:
        """Returns draws, [B,L]."""
        return self.gaussian.sample(temperature * noise_BN)


class ConditionalPriorModule(PriorModule):
    """Conditions to the mean and log standard deviation of p(z|y)."""

    depends_on_condition = True

    def __init__(self, condition_dim: int, hidden: tuple[int, ...], latent_dim: int) -> None:
        super().__init__()
        self.noise_dim = latent_dim
        layers: list[nn.Module] = []
        for features in hidden:
            layers += [nn.Linear(condition_dim, features), nn.SiLU()]
            condition_dim = features
        self.layers = nn.Sequential(*layers, nn.Linear(condition_dim, 2 * latent_dim))

    def forward(self, condition_BK: Tensor | None, encode: Encode) -> GaussianDistribution:
        assert condition_BK is not None, "the configuration asks for a condition"
        return GaussianDistribution(Gaussian(*self.layers(condition_BK).float().chunk(2, dim=-1)))
