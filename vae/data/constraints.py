"""Constraints on the columns of a table as callers write them: `sex=F,age>60`, or JSON of columns and values.

Shapes: N rows, D columns.
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vae.data.schema import Column
from vae.data.transforms.columns import Categories, listed, transform_of_column
from vae.errors import did_you_mean

SIGNS: Mapping[str, Callable[[Any, Any], Any]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "!=": operator.ne,
    "=": operator.eq,
    ">": operator.gt,
    "<": operator.lt,
}
_SIGN = re.compile("|".join(SIGNS))
_EXPECTED = 'give column, sign and value, such as "sex=F,age>60", or JSON such as {"sex": ["F", "M"], "age": ">60"}'


class Constraint(NamedTuple):
    """A condition on one column."""

    column: int
    """Number of the column."""
    sign: str
    """One of `SIGNS`."""
    values: tuple[float, ...]
    """Numbers in the column's unit, or codes of categories; a row meets one of them."""


def read_constraints(text: str, columns: Sequence[Column], where: str) -> tuple[Constraint, ...]:
    """Reads constraints; a row must meet all of them.

    Args:
        text: Pieces such as `age>60` with commas between, or a JSON object. A value of JSON is what the column must equal,
            a list of such values, or text that begins with a sign.
        columns: Columns of the table.
        where: Name of the request in messages.

    Raises:
        ValueError: If a column or a category is unknown, or a value does not fit its column; says what would.
    """
    pieces = _of_json(text, where) if text.lstrip().startswith("{") else _of_text(text, where)
    names = [column.name for column in columns]
    constraints = []
    for name, sign, texts in pieces:
        if name not in names:
            near = did_you_mean(name, names)
            raise ValueError(f"{where}: unknown column {name!r}{near}; expected one of {listed(names)}")
        number = names.index(name)
        constraints.append(Constraint(number, sign, _values(columns[number], sign, texts, where)))
    return tuple(constraints)


def fitting(values_ND: NDArray[np.float64], constraints: Sequence[Constraint]) -> NDArray[np.bool_]:
    """Returns which rows meet all constraints, [N]; a missing value meets none."""
    fits_N = np.ones(len(values_ND), bool)
    for column, sign, values in constraints:
        own_N = values_ND[:, column]
        fits_N &= np.any([SIGNS[sign](own_N, value) for value in values], axis=0) & ~np.isnan(own_N)
    return fits_N


def _of_text(text: str, where: str) -> Iterator[tuple[str, str, list[str]]]:
    pieces: list[str] = []
    for piece in text.split(","):
        if _SIGN.search(piece) or not pieces:
            pieces.append(piece)
        else:  # a comma of the value's own
            pieces[-1] += f",{piece}"
    for piece in pieces:
        if (sign := _SIGN.search(piece)) is None:
            raise ValueError(f"{where}: {piece.strip()!r} is no constraint: {_EXPECTED}")
        yield piece[: sign.start()].strip(), sign.group(), [piece[sign.end() :].strip()]


def _of_json(text: str, where: str) -> Iterator[tuple[str, str, list[str]]]:
    try:
        wanted = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{where}: {text[:80]!r} is no JSON ({error}): {_EXPECTED}") from None
    for name, value in wanted.items():
        sign = _SIGN.match(value) if isinstance(value, str) else None
        if sign is not None:
            yield name, sign.group(), [value[sign.end() :].strip()]
        else:
            values = value if isinstance(value, list) else [value]
            if not values or any(isinstance(one, dict | list) or one is None for one in values):
                raise ValueError(f"{where}: {name}: {json.dumps(value)[:80]} is no value: {_EXPECTED}")
            yield name, "=", [str(one) for one in values]


def _values(column: Column, sign: str, texts: Sequence[str], where: str) -> tuple[float, ...]:
    transform = transform_of_column(column)
    if not isinstance(transform, Categories):
        return tuple(transform.number(text, where) for text in texts)
    if sign not in ("=", "!=") and column.type != "ordered":
        raise ValueError(f"{where}: {column.name} holds categories without an order; only = and != fit, got {sign}")
    for text in texts:
        if text not in transform.codes:
            raise ValueError(
                f"{where}: unknown {column.name} {text!r}{did_you_mean(text, transform.names)}; expected "
                f"{listed(transform.names)}"
            )
    return tuple(float(transform.codes[text]) for text in texts)
