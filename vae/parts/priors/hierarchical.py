"""The hierarchical prior: groups of latents from the top down."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from vae.data.schema import ExampleSpec
from vae.parts.distributions import Gaussian
from vae.parts.part import Positive
from vae.parts.posteriors.posterior import ClosedForm, Draw, PosteriorPart, check_multiple
from vae.parts.priors.prior import PriorModule, PriorPart

if TYPE_CHECKING:
    from vae.config.model import ModelConfig


class HierarchicalPrior(PriorPart):
    """Groups of latents from the top down: p(z) = p(z_G) Π p(z_g | z_{>g}) (Sønderby et al. 2016)."""

    closed_form: ClassVar[ClosedForm | None] = "groups"

    kind: Literal["hierarchical"] = "hierarchical"
    groups: Annotated[int, Field(ge=2)] = 2
    """Number of equal parts of the latent, the top one first; `latent_dim` is a multiple of it."""
    hidden: Positive = 64
    """Units of the hidden layer between the groups above and a group."""

    @property
    def summary(self) -> str:
        return f"{self.groups} groups of Gaussians from the top down"

    @property
    def num_groups(self) -> int:
        return self.groups

    def build(
        self, latent_dim: int, posterior: PosteriorPart, condition_dim: int, examples: ExampleSpec
    ) -> PriorModule:
        return HierarchicalPriorModule(self.groups, self.hidden, latent_dim)

    def check_model(self, model: ModelConfig) -> None:
        check_multiple("model.latent_dim", model.latent_dim, "model.prior.groups", self.groups)


class HierarchicalPriorModule(PriorModule):
    """p(z) = N(z_1; 0, I) Π N(z_g; μ_g(z_{<g}), σ_g(z_{<g})), the top group first."""

    def __init__(self, groups: int, hidden: int, latent_dim: int) -> None:
        super().__init__()
        self.noise_dim = latent_dim
        self.num_groups = groups
        width = latent_dim // groups
        self.groups = nn.ModuleList(
            nn.Sequential(nn.Linear(number * width, hidden), nn.SiLU(), nn.Linear(hidden, 2 * width))
            for number in range(1, groups)
        )
        self.width = width

    def group(self, number: int, above: Tensor) -> Gaussian:
        """Returns p(z_g | the groups above) […,L/G], from the groups above […,number·L/G]."""
        if not number:
            zeros = above.new_zeros(*above.shape[:-1], self.width)
            return Gaussian(zeros, zeros)
        return Gaussian(*self.groups[number - 1](above).float().chunk(2, dim=-1))

    def log_prob(self, draw: Draw) -> Tensor:
        parts = draw.z.split(self.width, dim=-1)
        terms = [
            self.group(number, draw.z[..., : number * self.width]).log_prob(part) for number, part in enumerate(parts)
        ]
        return torch.stack(terms).sum(0)

    def kl(self, posterior: Any, draw: Draw) -> Tensor | None:
        """Returns each group's closed form for a ladder, given the drawn groups above it; None for others."""
        return torch.cat([q.kl(p) for q, p in draw.groups], dim=-1) if draw.groups else None

    def sample(self, noise_BN: Tensor, temperature: float = 1.0) -> Tensor:
        z_BL = noise_BN[:, :0]
        for number, noise in enumerate(noise_BN.split(self.width, dim=-1)):
            z_BL = torch.cat([z_BL, self.group(number, z_BL).sample(temperature * noise)], dim=-1)
        return z_BL
