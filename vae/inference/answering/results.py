"""Results of tasks: tensors of a model, and how a caller gets them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from vae.data.transforms import transform_of
from vae.inference.coding import Code
from vae.model import VAE


class Made(NamedTuple):
    """Examples that a model made."""

    x: Tensor
    """Prepared examples [N,…,*shape]."""
    levels: Mapping[str, Sequence[Any] | None] = {}
    """Names of the dimensions between N and the shape with their labels; None for numbers from 0."""
    beside: Mapping[str, Tensor] | None = None
    """Arrays that explain the levels; None where there are none."""
    fills_gaps: bool = False
    """Whether the examples are the caller's own with their gaps filled."""


class Spread(NamedTuple):
    """Standard deviations of examples."""

    std: Tensor
    """Standard deviations [N,*shape] of prepared examples."""


Result = Made | Spread | Code | Tensor
"""Result of a task; a tensor has one number for each row."""


def written(model: VAE, result: Result, given: Any, where: str) -> Any:
    """Returns a result as a caller gets it: an array [N,…], arrays by name, or a data frame.

    Args:
        model: Model that made the result.
        result: The result.
        given: Inputs of the caller.
        where: Name of the request in messages.
    """
    transform = transform_of(model.examples)
    match result:
        case Made(x, levels, beside, fills_gaps):
            sizes = zip(levels.items(), x.shape[1:], strict=False)
            labels = {name: range(size) if known is None else known for (name, known), size in sizes}
            made = transform.write(x, labels, beside)
            return transform.keep_given(made, given, where) if fills_gaps else made
        case Spread(std):
            return transform.write_spread(std)
        case Code():
            return {name: value.cpu().numpy() for name, value in result._asdict().items()}
        case _:
            return result.cpu().numpy()
