"""The base of regularisers: additions to the bound from the latents of a whole batch over all ranks, in nats.

Shapes: S samples, B batch over all ranks, L latent.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from vae.parts.distributions import Gaussian
from vae.parts.part import Part
from vae.parts.ranks import gather
from vae.parts.terms import Terms

if TYPE_CHECKING:
    from vae.config.model import ModelConfig
    from vae.config.objective import ObjectiveConfig
    from vae.parts.regularizers.adversary import Discriminator


class RegularizerPart(Part):
    """A penalty beside the rate."""

    needs_moments: ClassVar[bool] = False
    """Whether the penalty uses the mean and log standard deviation of a diagonal Gaussian posterior."""
    compares_with_prior: ClassVar[bool] = False
    """Whether the penalty compares the latents with draws of the prior."""
    has_optimizer: ClassVar[bool] = False
    """Whether the penalty comes from a network with an optimiser of its own (`vae.parts.regularizers.adversary`)."""

    @abstractmethod
    def penalty(self, z_BL: Tensor, terms: Terms, reference_BL: Tensor | None, num_examples: int) -> Tensor:
        """Returns the weighted penalty of a batch, a scalar.

        Args:
            z_BL: First draw of each example, over all ranks.
            terms: Terms of this rank's part of the batch.
            reference_BL: As many draws from the prior on this rank, where the penalty compares with it.
            num_examples: Size of the training split.
        """

    def lightened(self, factor: float) -> dict[str, Any] | None:
        """Returns the fields of a lighter discrepancy from the prior; None for any other penalty."""
        return None

    def discriminator(self, latent_dim: int, seed: int, device: torch.device | str = "cpu") -> Discriminator | None:
        """Returns the network of an adversarial penalty, with its optimiser; None for any other."""
        return None

    def check_objective(self, model: ModelConfig, objective: ObjectiveConfig, batch_size: int) -> None:
        """Raises ValueError if the regulariser does not fit the model or the batch."""
        if batch_size < 2:
            raise ValueError(
                f"training.batch_size: {self.kind} compares the examples of a batch, got 1; use at least 2, better 64 or "
                "more"
            )
        if model.posterior.has_codes:
            raise ValueError(
                f"objective.regularizers: {self.kind} is of a continuous latent, and a {model.posterior.kind} one is made "
                "of codes; leave it out, or use posterior diagonal_gaussian with prior standard_normal"
            )
        if self.needs_moments and not model.posterior.has_moments:
            raise ValueError(
                f"objective.regularizers: {self.kind} needs the moments of a diagonal_gaussian posterior, got "
                f"{model.posterior.kind}; use mmd or adversary, which need draws alone"
            )


def penalty(config: RegularizerPart, terms: Terms, reference_BL: Tensor | None, num_examples: int) -> Tensor:
    """Returns the weighted penalty of a batch over all ranks, a scalar; arguments as of `RegularizerPart.penalty`."""
    z_BL = gather(terms.z[0])
    with torch.autocast(z_BL.device.type, enabled=False):  # products of latents lose their differences in bfloat16
        return config.penalty(z_BL, terms, reference_BL, num_examples)


def gathered(terms: Terms) -> Gaussian:
    """Returns the moments of the posteriors over all ranks."""
    posterior = terms.posterior
    assert isinstance(posterior, Gaussian), "the configuration refuses another"
    return Gaussian(gather(posterior.mean), gather(posterior.log_std))
