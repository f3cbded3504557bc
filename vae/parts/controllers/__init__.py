"""Controllers: rules that set β, or hold a rate or a distortion, while a model trains."""

from typing import Annotated, Union

from pydantic import Field

from vae.parts.controllers.capacity import Capacity
from vae.parts.controllers.constant import Constant
from vae.parts.controllers.control import ControlVae
from vae.parts.controllers.cyclical import Cyclical
from vae.parts.controllers.free_bits import FreeBits
from vae.parts.controllers.geco import Geco
from vae.parts.controllers.multi_rate import MultiRate
from vae.parts.controllers.warmup import Warmup

ControllerConfig = Annotated[
    Union[Constant, Warmup, Cyclical, Capacity, FreeBits, Geco, ControlVae, MultiRate],  # noqa: UP007
    Field(discriminator="kind"),
]
