"""Corruptions: noise on the encoder's images."""

from typing import Annotated, Union

from pydantic import Field

from vae.parts.corruptions.block_mask import BlockMask
from vae.parts.corruptions.blur import Blur
from vae.parts.corruptions.corruption import CorruptionPart
from vae.parts.corruptions.gaussian_noise import GaussianNoise
from vae.parts.corruptions.salt_and_pepper import SaltAndPepper
from vae.parts.custom import OpenTo

CorruptionConfig = Annotated[
    Union[GaussianNoise, SaltAndPepper, BlockMask, Blur],  # noqa: UP007
    Field(discriminator="kind"),
    OpenTo(CorruptionPart, "objective"),
]
