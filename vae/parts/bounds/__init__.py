"""Bounds of log p(x), from which the loss is made."""

from typing import Annotated, Union

from pydantic import Field

from vae.parts.bounds.ciwae import Ciwae
from vae.parts.bounds.elbo import Elbo
from vae.parts.bounds.iwae import Iwae

BoundConfig = Annotated[Union[Elbo, Iwae, Ciwae], Field(discriminator="kind")]  # noqa: UP007
