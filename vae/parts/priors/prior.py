"""The base of priors p(z), and the distributions that several of them share.

Shapes: S samples, B batch, L latent, K components, N noise, G pieces of a latent made of codes. Densities are in nats.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from torch import Tensor, nn

from vae.data.schema import ExampleSpec
from vae.parts.distributions import Mixture
from vae.parts.part import Part
from vae.parts.posteriors.posterior import ClosedForm, Draw, PosteriorPart

if TYPE_CHECKING:
    from vae.config.model import ModelConfig

Encode = Callable[[Tensor, Tensor | None], Any]
"""Function from examples [K,*shape] and their conditions to their posteriors, through the model's own encoder."""


class PriorPart(Part):
    """p(z), or p(z|y) of a conditional prior."""

    closed_form: ClassVar[ClosedForm | None] = None
    """Form of the KL divergence for each dimension, where the posterior has the same; None without one."""
    of_codes: ClassVar[bool] = False
    """Whether the prior gives probabilities to codes; else it is a density."""

    @property
    def num_groups(self) -> int:
        """Number of groups of the latent, from the top down; 0 without groups."""
        return 0

    @abstractmethod
    def build(
        self, latent_dim: int, posterior: PosteriorPart, condition_dim: int, examples: ExampleSpec
    ) -> PriorModule:
        """Returns the module of the prior."""

    def check_model(self, model: ModelConfig) -> None:
        """Raises ValueError if the prior does not fit the other parts of a model."""


class PriorModule(nn.Module):
    """Condition [B,K] to the prior of a batch."""

    noise_dim: int
    """N, standard normal numbers that one draw takes."""
    depends_on_condition = False
    """Whether p(z|y) differs between conditions."""
    num_starting_examples = 0
    """Number of training examples that `start_at` needs; 0 for a prior that starts without data."""

    def forward(self, condition_BK: Tensor | None, encode: Encode) -> Prior:
        """Returns the distribution; the module itself unless it depends on the condition or the encoder."""
        return self  # pyright: ignore[reportReturnType]

    def start_at(self, x: Tensor, condition_NK: Tensor | None) -> None:
        """Initialises the module with training examples [N,*shape]."""


class Prior(Protocol):
    """p(z), or p(z|y), for a batch."""

    def log_prob(self, draw: Draw) -> Tensor:
        """Returns log p(z) of draws in nats, [S,B]."""
        ...

    def kl(self, posterior: Any, draw: Draw) -> Tensor | None:
        """Returns KL(q ‖ p) in nats for each dimension, [1 or S,B,L]; None without a closed form."""
        ...

    def sample(self, noise_BN: Tensor, temperature: float = 1.0) -> Tensor:
        """Returns latents [B,L], or indices of codes [B,G].

        A temperature below 1 stays nearer to what is typical: it scales the noise of a continuous latent, sharpens the
        probabilities of codes, and leaves the choice of a mixture's component alone.
        """
        ...


@dataclass(frozen=True)
class MixtureDistribution:
    """A mixture as a prior."""

    mixture: Mixture

    def log_prob(self, draw: Draw) -> Tensor:
        """Returns log p(z), [S,B]."""
        return self.mixture.log_prob(draw.z)

    def kl(self, posterior: Any, draw: Draw) -> Tensor | None:
        """Returns None: there is no closed form."""
        return None

    def sample(self, noise_BN: Tensor, temperature: float = 1.0) -> Tensor:
        """Returns draws, [B,L]."""
        return self.mixture.sample(noise_BN, temperature)
