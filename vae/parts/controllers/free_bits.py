"""A floor under the rate of each latent dimension."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field
from torch import Tensor

from vae.parts.controllers.controller import ControllerPart
from vae.parts.ranks import gather
from vae.parts.terms import Beta, Terms

if TYPE_CHECKING:
    from vae.config.model import ModelConfig
    from vae.config.objective import ObjectiveConfig


class FreeBits(ControllerPart):
    """A rate with a floor: Σ max(mean KL, floor) over the dimensions, which presses none below it (Kingma et al. 2016)."""

    changes_rate: ClassVar[bool] = True

    kind: Literal["free_bits"] = "free_bits"
    nats: Annotated[float, Field(gt=0)] = 0.1
    """Floor of each latent dimension's KL, averaged over the batch, in nats."""

    @property
    def summary(self) -> str:
        return f"{self.nats:g} nats of each dimension free"

    def weighted_rate(self, terms: Terms, rate: Tensor, beta: Beta, capacity: Beta) -> Tensor:
        kl = terms.kl
        assert kl is not None, "the configuration refuses parts without a KL per dimension"
        # Of the batch's mean: clamping each example would take the gradient of those below from the rest.
        return beta * gather(kl.mean(0)).mean(0).clamp(min=self.nats).sum()

    def check_objective(self, model: ModelConfig, objective: ObjectiveConfig, batch_size: int) -> None:
        super().check_objective(model, objective, batch_size)
        if not model.has_kl_per_dimension:
            raise ValueError(
                "objective.controller: free_bits needs the KL of each dimension in closed form, which posterior "
                f"{model.posterior.kind} and prior {model.prior.kind} do not have; use diagonal_gaussian with "
                "standard_normal or conditional, or ladder with hierarchical"
            )
