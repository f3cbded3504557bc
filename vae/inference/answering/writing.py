"""From what a model gives to what a caller gets: images as arrays, rows of a table as a data frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from vae.data.tables import keep_observed, write_rows, write_spread
from vae.inference.answering.request import Request
from vae.model import VAE
from vae.parts.likelihoods.preparing import restore


def write_examples(model: VAE, x: Tensor, *levels: str, labels: Sequence[Sequence[Any] | None] = ()) -> Any:
    """Examples [N,…,*shape]: images as an array; rows of a table as a data frame, whose index says which of the `levels`
    between N and the shape each belongs to.
    """
    if model.examples.columns is None:
        return x.cpu().numpy()
    values = restore(x.cpu(), model.examples).flatten(0, -2).numpy()
    if not levels:
        return write_rows(values, model.examples.columns)
    given = [None, *(labels or [None] * len(levels))]
    inner = [range(size) if label is None else label for size, label in zip(x.shape, given, strict=False)]
    return write_rows(values, model.examples.columns, dict(zip(["row", *levels], inner, strict=True)))


def write_spreads(model: VAE, std: Tensor) -> Any:
    """Standard deviations of examples: of images an array, of a table's rows a data frame of numbers."""
    if model.examples.columns is None:
        return std.cpu().numpy()
    return write_spread(std.cpu().numpy(), model.examples.columns)


def write_filled(model: VAE, examples: Any, found: Any, request: Request) -> Any:
    """A table's rows with the caller's own values wherever there were any; images are so already."""
    if model.examples.columns is None:
        return found
    return keep_observed(found, examples, model.examples.columns, request.where)
