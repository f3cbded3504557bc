"""Regularisers: penalties beside the rate."""

from typing import Annotated, Union

from pydantic import Field

from vae.parts.custom import OpenTo
from vae.parts.regularizers.adversary import Adversary
from vae.parts.regularizers.dip import Dip
from vae.parts.regularizers.mmd import Mmd
from vae.parts.regularizers.regularizer import RegularizerPart
from vae.parts.regularizers.total_correlation import TotalCorrelation

RegularizerConfig = Annotated[
    Union[TotalCorrelation, Dip, Mmd, Adversary],  # noqa: UP007
    Field(discriminator="kind"),
    OpenTo(RegularizerPart, "objective"),
]
