"""Changes of rows: more or less of an attribute, or another condition.

Shapes: N rows, F features of the condition, C values that the condition can have.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from vae.data.conditions import encode_conditions
from vae.errors import ConfigError
from vae.inference.coding import decode, draws_of, encode
from vae.inference.importance import log_likelihood
from vae.model import VAE
from vae.parts.directions import Directions, Method
from vae.parts.terms import Inputs

MOST_VALUES = 256
"""Largest number of conditions that are tried for each row."""


@torch.no_grad()
def edit(model: VAE, inputs: Inputs, attribute: str, strength: float, method: Method = "means") -> Tensor:
    """Returns rows with more of an attribute, or less of it where the strength is below 0, [N,*shape].

    Args:
        model: A trained model with directions.
        inputs: Rows to edit.
        attribute: Name of a direction.
        strength: Number of steps, in the direction's unit; see `vae.parts.directions.Directions`.
        method: Method by which the direction was learned.

    Raises:
        ConfigError: If the model has no directions, or none of that name.
    """
    z_NL = encode(model, inputs).mean + strength * directions_of(model).of(attribute, method)
    return decode(model, z_NL, inputs.condition, log_beta_N1=inputs.log_beta)


def directions_of(model: VAE) -> Directions:
    """Returns the directions stored with a model.

    Raises:
        ConfigError: If the model has none.
    """
    if model.directions is None or not model.directions.names:
        raise ConfigError(
            "this model has no directions: they are learned from classes or attributes that its dataset had and that the "
            "model was not told of, in a latent made of numbers"
        )
    return model.directions


@torch.no_grad()
def transfer(model: VAE, inputs: Inputs, target_NF: Tensor) -> Tensor:
    """Returns rows under another condition, with the latent unchanged, [N,*shape].

    Args:
        model: A model trained with a condition.
        inputs: Rows with their own condition.
        target_NF: The new condition.
    """
    return decode(model, encode(model, inputs).mean, target_NF, log_beta_N1=inputs.log_beta)


@torch.no_grad()
def infer_condition(model: VAE, inputs: Inputs, *, num_samples: int = 16, seed: int = 0) -> Tensor:
    """Returns the condition under which each row is likeliest, [N,F]: argmax over y of log p(x|y), with equal priors.

    Args:
        model: A model trained with a condition of categories.
        inputs: Rows; their condition is ignored.
        num_samples: Importance draws for each row and condition.
        seed: Seed of the draws.

    Raises:
        ConfigError: If the condition holds numbers, or has more than 256 values.
    """
    choices_CF = conditions_of(model).to(inputs.x.device)
    rows, scores = len(inputs.x), []
    for choice_F in choices_CF:
        told = inputs._replace(condition=choice_F.expand(rows, -1))
        draws = draws_of(inputs.x, seed, "score")
        scores.append(log_likelihood(model, told, num_samples=num_samples, draws=draws))
    return choices_CF[torch.stack(scores).argmax(0)]


def conditions_of(model: VAE) -> Tensor:
    """Returns every value that a condition of categories can have, [C,F].

    Raises:
        ConfigError: If the condition holds numbers, or has too many values.
    """
    sizes = [len(column.categories or ()) for column in model.conditions]
    if not sizes or not all(sizes):
        raise ConfigError(
            "the condition of a row can be found out where it is made of categories alone; say which it is"
        )
    if (number := math.prod(sizes)) > MOST_VALUES:
        raise ConfigError(f"the condition has {number} values, too many to try each ({MOST_VALUES} at most); say which")
    codes_CK = torch.tensor(list(itertools.product(*map(range, sizes))))
    features_CF = encode_conditions(model.conditions, [*codes_CK.T])
    assert features_CF is not None, "there are columns"
    return features_CF
