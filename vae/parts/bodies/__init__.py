"""Bodies: networks from an example to features, and from a latent to the parameters of a likelihood."""

from typing import Annotated, Union

from pydantic import Field

from vae.parts.bodies.conv import Conv
from vae.parts.bodies.mlp import MLP
from vae.parts.bodies.table import TableBody

BodyConfig = Annotated[Union[MLP, Conv, TableBody], Field(discriminator="kind")]  # noqa: UP007
