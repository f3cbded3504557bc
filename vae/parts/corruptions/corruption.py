"""The base of corruptions: noise on the encoder's images, drawn anew at every step."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from torch import Tensor

from vae.draws import RowDraws
from vae.parts.part import Part

if TYPE_CHECKING:
    from vae.config.model import ModelConfig
    from vae.config.objective import ObjectiveConfig


class CorruptionPart(Part):
    """Noise on the encoder's images; the likelihood scores the clean ones (Vincent et al. 2008; Im et al. 2017)."""

    @property
    def summary(self) -> str:
        return f"the encoder sees {self.kind.replace('_', ' ')}"

    @abstractmethod
    def corrupt(self, x_BCHW: Tensor, source: RowDraws) -> Tensor:
        """Returns noisy images of the same shape and type; outside [0, 1] only by Gaussian noise.

        Args:
            x_BCHW: Pixels in [0, 1].
            source: Source of each image's draw, on the images' device.
        """

    def check_objective(self, model: ModelConfig, objective: ObjectiveConfig, batch_size: int) -> None:
        """Raises ValueError for a model of a table."""
        if model.encoder.data_kind != "image":
            raise ValueError(
                f"objective.corruption: {self.kind} is of images, and the model is of a table; leave entries out with "
                "data.missing instead"
            )
