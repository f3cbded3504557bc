"""The VampPrior: the mixture of the posteriors of learned pseudo-inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from vae.data.schema import ExampleSpec
from vae.parts.distributions import Mixture
from vae.parts.posteriors.posterior import PosteriorPart
from vae.parts.priors.prior import Encode, MixtureDistribution, PriorModule, PriorPart

if TYPE_CHECKING:
    from vae.config.model import ModelConfig


class Vamp(PriorPart):
    """The mixture of the posteriors of learned pseudo-inputs (Tomczak & Welling 2018)."""

    kind: Literal["vamp"] = "vamp"
    components: Annotated[int, Field(ge=2)] = 500
    """Number of pseudo-inputs, which start as examples of the training split."""

    @property
    def summary(self) -> str:
        return f"VampPrior of {self.components} pseudo-inputs"

    def build(
        self, latent_dim: int, posterior: PosteriorPart, condition_dim: int, examples: ExampleSpec
    ) -> PriorModule:
        return VampPrior(self.components, latent_dim, examples.shape, condition_dim)

    def check_model(self, model: ModelConfig) -> None:
        if not model.posterior.has_density_everywhere:
            raise ValueError(
                "model.prior: vamp mixes the posteriors of its pseudo-inputs, whose density a "
                f"{model.posterior.kind} posterior does not give everywhere; use posterior diagonal_gaussian"
            )
        if model.encoder.data_kind == "table":
            raise ValueError(
                "model.prior: vamp learns pseudo-inputs by gradient, and categories have none; use gaussian_mixture or flow"
            )


class VampPrior(PriorModule):
    """p(z) = 1/K Σ q(z|u_k): the posteriors of K learned pseudo-inputs, through the model's own encoder.

    References:
        Tomczak & Welling, VAE with a VampPrior (2018), eq. 9. https://arxiv.org/abs/1705.07120
    """

    def __init__(self, components: int, latent_dim: int, shape: tuple[int, ...], condition_dim: int) -> None:
        super().__init__()
        self.noise_dim = 1 + latent_dim
        self.num_starting_examples = components
        self.pseudo_inputs = nn.Parameter(torch.rand(components, *shape))
        self.register_buffer("conditions", torch.zeros(components, condition_dim))
        self.conditions: Tensor
        """Condition of each pseudo-input, [K,condition]."""

    def forward(self, condition_BK: Tensor | None, encode: Encode) -> MixtureDistribution:
        components = encode(self.inputs(), self.conditions if self.conditions.shape[1] else None)
        count = len(self.pseudo_inputs)
        log_weights = torch.full((count,), 1.0 / count, device=self.pseudo_inputs.device).log()
        return MixtureDistribution(Mixture(log_weights, components))

    def inputs(self) -> Tensor:
        """Returns the pseudo-inputs [K,*shape]; images are clamped to the range of pixels."""
        return self.pseudo_inputs.clamp(0, 1) if self.pseudo_inputs.ndim == 4 else self.pseudo_inputs

    @torch.no_grad()
    def start_at(self, x: Tensor, condition_NK: Tensor | None) -> None:
        count = len(self.pseudo_inputs)
        self.pseudo_inputs.copy_(x[:count])
        if condition_NK is not None:
            self.conditions.copy_(condition_NK[:count])
