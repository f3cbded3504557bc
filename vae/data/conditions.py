"""What a conditional model is told of an example, as people write it.

A model that is told one thing takes its value: `cat`. One that is told several takes `class=cat, size=0.5`.

Shapes: N rows, K conditions.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vae.data.schema import Column


def read_conditions(entries: Sequence[str], columns: Sequence[Column], rows: int, where: str) -> NDArray[np.float32]:
    """Values of each row [N,K]: numbers in their own unit, categories as codes.

    Args:
        entries: One for all rows, or one for each.
        columns: What the model depends on.
        rows: N.
        where: What asks, for the message.

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
    values_NK = np.stack([_values(column, found, where) for column, found in by_column], axis=1)
    return values_NK if len(values_NK) == rows else values_NK.repeat(rows, 0)


def write_condition(columns: Sequence[Column], values: Sequence[float]) -> str:
    """The entry that `read_conditions` reads as these values, [K]."""
    texts = [
        column.categories[int(value)] if column.categories else str(np.float32(value))
        for column, value in zip(columns, values, strict=True)
    ]
    if len(columns) == 1:
        return texts[0]
    return ", ".join(f"{column.name}={text}" for column, text in zip(columns, texts, strict=True))


def example_condition(columns: Sequence[Column]) -> list[str]:
    """An entry for all rows: first categories and means. Empty for a model without a condition."""
    return [write_condition(columns, [0.0 if c.categories else c.mean for c in columns])] if columns else []


def _split(entry: str, columns: Sequence[Column], where: str) -> list[str]:
    """The text of each column's value, in the columns' order."""
    names = [column.name for column in columns]
    found: dict[str, str] = {}
    last = None
    for piece in entry.split(","):
        name, equals, text = piece.partition("=")
        if not equals and last is not None:  # a comma of the value's own
            found[last] += f",{piece}"
            continue
        last = name.strip()
        if last not in names or last in found:
            near = difflib.get_close_matches(last, names, n=1)
            hint = f" (did you mean `{near[0]}`?)" if near and last not in names else ""
            what = f"{last!r} is there twice" if last in names else f"{last!r} is not known{hint}"
            raise ValueError(f"{where}: condition {entry!r}: {what}; give {_expected(columns)}")
        found[last] = text
    if absent := [name for name in names if name not in found]:
        raise ValueError(f"{where}: condition {entry!r} says nothing of {', '.join(absent)}; give {_expected(columns)}")
    return [found[name].strip() for name in names]


def _values(column: Column, texts: Sequence[str], where: str) -> NDArray[np.float32]:
    if column.categories is None:
        return np.array([_number(column, text, where) for text in texts], np.float32)
    codes = {category: code for code, category in enumerate(column.categories)}
    if unknown := sorted(set(texts) - codes.keys()):
        raise ValueError(f"{where}: unknown {column.name} {', '.join(unknown)}: expected {_choices(column)}")
    return np.array([codes[text] for text in texts], np.float32)


def _number(column: Column, text: str, where: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{where}: {column.name} must be a number, got {text!r}")
    return number


def _expected(columns: Sequence[Column]) -> str:
    """What to give, in words."""
    if len(columns) == 1:
        column = columns[0]
        return (
            f"one {column.name} for all rows or one for each, {'out of ' * bool(column.categories)}{_choices(column)}"
        )
    choices = "; ".join(f"{column.name}: {_choices(column)}" for column in columns)
    return f"one entry for all rows or one for each, such as {example_condition(columns)[0]!r} ({choices})"


def _choices(column: Column) -> str:
    return ", ".join(column.categories) if column.categories else "a number"
