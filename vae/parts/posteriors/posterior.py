"""The base of posteriors q(z|x), and what they return.

Shapes: S samples, B batch, F features, L latent, N noise, G pieces of a latent made of codes. Randomness comes in as
standard normal noise [S,B,N], so that a draw is a pure function of the features and the noise: it repeats after a resume,
and it can be vmapped, compiled and captured.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from torch import Tensor, nn

from vae.parts.distributions import LOG_2PI, Gaussian
from vae.parts.part import Part

if TYPE_CHECKING:
    from vae.config.model import ModelConfig
    from vae.parts.priors.prior import PriorPart

ClosedForm = Literal["gaussian", "groups"]
"""Form in which a posterior and a prior have a KL divergence for each latent dimension."""


class PosteriorPart(Part):
    """q(z|x): a distribution over the latent, from the features of the encoder."""

    closed_form: ClassVar[ClosedForm | None] = None
    """Form of the KL divergence for each dimension, where the prior has the same; None without one."""
    has_moments: ClassVar[bool] = False
    """Whether the posterior is a diagonal Gaussian, whose mean and log standard deviation regularisers can use."""
    has_density_everywhere: ClassVar[bool] = False
    """Whether q(z|x) can be evaluated at any z, and so be a component of a VampPrior."""
    has_groups: ClassVar[bool] = False
    """Whether the latent is inferred in the groups of a hierarchical prior."""

    @property
    def num_codes(self) -> int | None:
        """Number of codes of each piece of the latent; None for a continuous latent."""
        return None

    @property
    def has_codes(self) -> bool:
        """Whether the latent is made of codes."""
        return self.num_codes is not None

    def num_pieces(self, latent_dim: int) -> int:
        """Returns the number of pieces of a latent, each one code; one per number of a continuous latent."""
        return latent_dim

    def fewer_codes(self, perplexity: float) -> str | None:
        """Returns the flags that fit the number of codes to those in use; None where there is nothing to fit."""
        return None

    @abstractmethod
    def build(self, features: int, latent_dim: int, prior: PriorPart) -> PosteriorModule:
        """Returns the module that maps `features` features to the posterior."""

    def check_model(self, model: ModelConfig) -> None:
        """Raises ValueError if the posterior does not fit the other parts of a model."""


class PosteriorModule(nn.Module, ABC):
    """Features [B,F] to a posterior over the batch."""

    noise_dim: int
    """N, standard normal numbers that one draw takes."""
    num_starting_examples = 0
    """Number of training examples that `start_at` needs; 0 for a posterior that starts without data."""

    @abstractmethod
    def forward(self, features_BF: Tensor, prior: Callable[[], Any]) -> Posterior:
        """Returns the posterior of a batch; `prior` gives the distribution of the prior, for a ladder."""

    @property
    def perplexity(self) -> float:
        """Number of codes in use: e to the entropy, in nats, of how often each was chosen; infinite if not counted."""
        return math.inf

    def latents_of(self, drawn: Tensor) -> Tensor:
        """Returns the latents [B,L] of what the prior has drawn."""
        return drawn

    def start_at(self, features_BF: Tensor) -> None:
        """Initialises the module from the features of training examples."""


@dataclass(frozen=True)
class Draw:
    """Draws of the latent for a batch."""

    z: Tensor
    """Latents, [S,B,L]."""
    log_prob: Callable[[], Tensor]
    """log q(z|x) of these draws, [S,B]; computed when called, because most objectives do not need it."""
    codes: Tensor | None = None
    """Indices of the codes, int64 [B,G]; None for a continuous latent."""
    groups: tuple[tuple[Gaussian, Gaussian], ...] = ()
    """q(z_g|x, z_{>g}) and p(z_g|z_{>g}) of each group of a ladder, top one first, [S,B,L/G]; empty without groups."""
    penalty: Tensor | None = None
    """Addition of the posterior to the loss, [B]; None without one."""


class Posterior(Protocol):
    """q(z|x) of a batch."""

    @property
    def mean(self) -> Tensor:
        """Mean of the latent, [B,L]."""
        ...

    def std(self) -> Tensor:
        """Returns the standard deviation of the latent, [B,L]."""
        ...

    def draw(self, noise_SBN: Tensor, prior: Any) -> Draw:
        """Draws once for each row of noise; only a ladder uses the prior's distribution."""
        ...


class GaussianPosterior(Gaussian):
    """q(z|x) = N(μ(x), diag σ²(x))."""

    def draw(self, noise_SBN: Tensor, prior: Any = None) -> Draw:
        """Draws by reparameterisation."""
        return Draw(self.sample(noise_SBN), lambda: (-0.5 * (noise_SBN.square() + LOG_2PI) - self.log_std).sum(-1))


def check_multiple(whole_name: str, whole: int, part_name: str, part: int) -> None:
    """Raises ValueError if a size is no multiple of the size of its parts; names the nearest multiple."""
    if whole % part:
        raise ValueError(
            f"{whole_name} must be a multiple of {part_name}, got {whole} and {part}; the nearest that is: "
            f"{max(1, round(whole / part)) * part}"
        )
