"""The parts of an objective."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from vae.config.model import ModelConfig
from vae.parts.bounds import BoundConfig
from vae.parts.bounds.elbo import Elbo
from vae.parts.controllers import ControllerConfig
from vae.parts.controllers.constant import Constant
from vae.parts.corruptions import CorruptionConfig
from vae.parts.part import Section
from vae.parts.regularizers import RegularizerConfig


class ObjectiveConfig(Section):
    """The loss: distortion + β · rate + regularisers, in nats per example (Higgins et al. 2017)."""

    bound: BoundConfig = Elbo()
    """Lower bound of log p(x), which training raises."""
    beta: Annotated[float, Field(ge=0)] = 1.0
    """Weight β of the rate. 1 gives the evidence lower bound."""
    controller: ControllerConfig = Constant()
    """Rule that moves β, or holds the rate, while the model trains."""
    regularizers: tuple[RegularizerConfig, ...] = ()
    """Penalties beside the rate, each with its weight."""
    corruption: CorruptionConfig | None = None
    """Noise on the encoder's inputs, drawn anew at every step; the likelihood scores the clean example (Im et al. 2017).
    None leaves the inputs clean."""

    @property
    def parts(self) -> tuple[BoundConfig | ControllerConfig | RegularizerConfig | CorruptionConfig, ...]:
        """Every part of the objective."""
        corruptions = () if self.corruption is None else (self.corruption,)
        return (self.bound, self.controller, *self.regularizers, *corruptions)

    @property
    def summary(self) -> str:
        """One line for a report, such as `distortion + 4 · rate, β rising from 0 over 500 steps`."""
        terms = [self.bound.in_words(self.controller.rate_in_words(self.beta))]
        terms += [regularizer.summary for regularizer in self.regularizers]
        rest = [self.controller.summary, self.corruption.summary if self.corruption else ""]
        return ", ".join([" + ".join(terms), *filter(None, rest)])

    def check_fits(self, model: ModelConfig, batch_size: int) -> None:
        """Raises ValueError if a part of the objective does not fit a model; names the parts and those that would fit."""
        for part in self.parts:
            part.check_objective(model, self, batch_size)
