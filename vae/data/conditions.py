"""Conditions: the class and the attributes that a conditional model depends on, as values, as features and as text.

A model with one condition takes its value: `cat`. One with several takes `class=cat, size=0.5`.

Shapes: N rows, K conditions, F features of a condition.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vae.data.schema import Column, ExampleSpec
from vae.data.transforms.columns import recoded, transform_of_column
from vae.errors import did_you_mean


def annotation_values(data: ExampleSpec, labels: Any, attributes: Any) -> dict[str, Any]:
    """Returns the values [N] of each annotation of rows by its name.

    Args:
        data: Schema of the rows.
        labels: Class indices [N], an array or a tensor; None for rows without.
        attributes: Values [N,A] in the order of the schema's attributes; None for rows without.
    """
    values = {} if labels is None else {"class": labels}
    if attributes is not None:
        values |= {column.name: values_N for column, values_N in zip(data.attributes, attributes.T, strict=True)}
    return values


def known_conditions(
    columns: Sequence[Column], data: ExampleSpec, labels: Any, attributes: Any
) -> NDArray[np.float32] | None:
    """Returns the conditions of a dataset's rows [N,K] by the model's own codes; NaN where a row lacks one.

    Args:
        columns: Columns that the model depends on.
        data: Schema of the dataset.
        labels: Class indices [N]; None for rows without.
        attributes: Values [N,A]; None for rows without.

    Returns:
        None where the model depends on nothing, or on a column that the dataset lacks.
    """
    values = annotation_values(data, labels, attributes)
    if not columns or not all(column.name in values for column in columns):
        return None
    source = {column.name: column.categories for column in data.annotations}
    codes = [recoded(np.asarray(values[c.name], np.float32), source[c.name], c.categories) for c in columns]
    return np.stack(codes, axis=1).astype(np.float32)


def encode_conditions(columns: Sequence[Column], values: Sequence[Tensor]) -> Tensor | None:
    """Returns the features of conditions [N,F]: numbers standardised, categories one-hot; None for no columns.

    Args:
        columns: Columns that the model depends on.
        values: Values [N] of each column.
    """
    parts = [transform_of_column(column).features(values_N) for column, values_N in zip(columns, values, strict=True)]
    return torch.cat(parts, dim=-1) if parts else None


def read_conditions(entries: Sequence[str], columns: Sequence[Column], rows: int, where: str) -> NDArray[np.float32]:
    """Reads the conditions of rows as callers write them: numbers in their own unit, categories as codes, [N,K].

    Args:
        entries: One entry for all rows, or one for each.
        columns: Columns that the model depends on.
        rows: Number of rows.
        where: Name of the request in messages.

    Raises:
        ValueError: If an entry is not what the model takes; says what it takes.
    """
    if not columns:
        if entries:
            raise ValueError(f"{where}: this model takes no condition, got {list(entries)}")
        return np.zeros((rows, 0), np.float32)
    if not entries:
        raise ValueError(f"{where}: this model is conditional; give params['condition'], {_expected(columns)}")
    if len(entries) not in (1, rows):
        raise ValueError(f"{where}: expected 1 or {rows} conditions, found {len(entries)}")
    texts = [[entry] if len(columns) == 1 else _split(entry, columns, where) for entry in entries]
    by_column = zip(columns, zip(*texts, strict=True), strict=True)
    values_NK = np.stack([transform_of_column(column).parse(found, where) for column, found in by_column], axis=1)
    return values_NK if len(values_NK) == rows else values_NK.repeat(rows, 0)


def write_condition(columns: Sequence[Column], values: Sequence[float]) -> str:
    """Returns the entry that `read_conditions` reads as these values, [K]."""
    texts = [transform_of_column(column).text(value) for column, value in zip(columns, values, strict=True)]
    if len(columns) == 1:
        return texts[0]
    return ", ".join(f"{column.name}={text}" for column, text in zip(columns, texts, strict=True))


def example_condition(columns: Sequence[Column]) -> list[str]:
    """Returns an entry for all rows: first categories and means. Empty for a model without a condition."""
    return [write_condition(columns, [0.0 if c.categories else c.mean for c in columns])] if columns else []


def _split(entry: str, columns: Sequence[Column], where: str) -> list[str]:
    """Returns the text of each column's value, in the columns' order."""
    names = [column.name for column in columns]
    texts: dict[str, str] = {}
    last = None
    for piece in entry.split(","):
        name, equals, text = piece.partition("=")
        if not equals and last is not None:  # a comma of the value's own
            texts[last] += f",{piece}"
            continue
        last = name.strip()
        if last not in names or last in texts:
            what = f"{last!r} is there twice" if last in names else f"{last!r} is not known{did_you_mean(last, names)}"
            raise ValueError(f"{where}: condition {entry!r}: {what}; give {_expected(columns)}")
        texts[last] = text
    if absent := [name for name in names if name not in texts]:
        raise ValueError(f"{where}: condition {entry!r} says nothing of {', '.join(absent)}; give {_expected(columns)}")
    return [texts[name].strip() for name in names]


def _expected(columns: Sequence[Column]) -> str:
    """Returns in words what to give."""
    choices = {column.name: ", ".join(column.categories) if column.categories else "a number" for column in columns}
    if len(columns) == 1:
        column = columns[0]
        out_of = "out of " * bool(column.categories)
        return f"one {column.name} for all rows or one for each, {out_of}{choices[column.name]}"
    listed = "; ".join(f"{name}: {values}" for name, values in choices.items())
    return f"one entry for all rows or one for each, such as {example_condition(columns)[0]!r} ({listed})"
