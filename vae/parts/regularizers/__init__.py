"""Regularisers: penalties beside the rate."""

from typing import Annotated, Union

from pydantic import Field

from vae.parts.regularizers.adversary import Adversary
from vae.parts.regularizers.dip import Dip
from vae.parts.regularizers.mmd import Mmd
from vae.parts.regularizers.total_correlation import TotalCorrelation

RegularizerConfig = Annotated[Union[TotalCorrelation, Dip, Mmd, Adversary], Field(discriminator="kind")]  # noqa: UP007
