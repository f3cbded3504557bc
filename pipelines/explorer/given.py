"""Examples that a link names, a row of the data or an own one, and their conditions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.explorer.models import Subject, taken
from vae.errors import DataError

LIKELIEST_SAMPLES = 16


@dataclass(frozen=True)
class Example:
    """One example, and its row in the data."""

    values: Any
    """An image uint8 [1,C,H,W], or a data frame of one row."""
    row: int | None = None
    """Number of the row; None for an example that is not from the data."""


def example_of(subject: Subject, x: str, where: str = "x") -> Example:
    """Returns the example that a link names.

    Raises:
        DataError: If there is no such example; the message says what there is.
    """
    prefix, _, rest = x.partition(":")
    if prefix == subject.kind.prefix:
        return Example(subject.kind.own(subject, rest, where))
    if x and prefix != "row":
        raise DataError(f"link, {where}: expected row:NUMBER or {subject.kind.prefix}:…, got {x[:40]!r}")
    if subject.rows is None:
        return Example(subject.kind.blank(subject))
    number = int(rest) if rest.isdecimal() and len(rest) < 10 else -1 if x else 0
    if not 0 <= number < len(subject.rows):
        raise DataError(f"link, {where}: no row {rest[:20]!r}; there are 0 to {len(subject.rows) - 1}")
    return Example(subject.rows.take([number]), number)


def condition_of(subject: Subject, example: Example, chosen: str) -> list[str]:
    """Returns the condition of an example for `predict`: the chosen one, else the row's own, else the likeliest."""
    if not subject.model.conditions:
        return []
    if chosen:
        return [chosen]
    if example.row is not None and subject.rows is not None and subject.rows.conditions is not None:
        return [subject.rows.conditions[example.row]]
    if not subject.conditions:
        return [subject.any_condition]
    repeated = taken(example.values, [0] * len(subject.conditions))
    scored = {"task": "score", "condition": list(subject.conditions), "num_samples": LIKELIEST_SAMPLES}
    return [subject.conditions[int(np.argmax(subject.ask(repeated, scored)))]]
