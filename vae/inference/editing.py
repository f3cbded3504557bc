"""Rows with more or less of an attribute."""

from __future__ import annotations

import torch
from torch import Tensor

from vae.errors import ConfigError
from vae.inference.coding import decode, encode
from vae.model import VAE
from vae.parts.directions import Directions, Method
from vae.parts.terms import Inputs


@torch.no_grad()
def edit(model: VAE, inputs: Inputs, attribute: str, strength: float, method: Method = "means") -> Tensor:
    """Rows with more of an attribute, or less of it where the strength is below 0, [N,*shape].

    Args:
        model: Trained, with directions.
        inputs: Rows.
        attribute: A direction's name.
        strength: In the direction's unit, see `vae.parts.directions.Directions`.
        method: How the direction was learned.

    Raises:
        ConfigError: If the model has no directions, or none of that name.
    """
    z_NL = encode(model, inputs).mean + strength * directions_of(model).of(attribute, method)
    return decode(model, z_NL, inputs.condition, log_beta_N1=inputs.log_beta)


def directions_of(model: VAE) -> Directions:
    """Those stored with a model.

    Raises:
        ConfigError: If there are none.
    """
    if model.directions is None or not model.directions.names:
        raise ConfigError(
            "this model has no directions: they are learned from classes or attributes that its dataset had and that the "
            "model was not told of, in a latent made of numbers"
        )
    return model.directions
