"""Bodies: networks from an example to features, and from a latent to the parameters of a likelihood."""

from typing import Annotated, Union

from pydantic import Field

from vae.parts.bodies.body import BodyPart
from vae.parts.bodies.conv import Conv
from vae.parts.bodies.mlp import MLP
from vae.parts.bodies.module import ModuleBody
from vae.parts.bodies.table import TableBody
from vae.parts.custom import OpenTo

BodyConfig = Annotated[Union[MLP, Conv, TableBody], Field(discriminator="kind"), OpenTo(BodyPart, "model", ModuleBody)]  # noqa: UP007
