"""The check that examples fit a model: shapes, columns, and conditions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from vae.data.schema import Column, ExampleSpec
from vae.data.transforms import transform_of
from vae.errors import DataError

MOST_LISTED = 12
"""Names that a message lists."""


def mismatches(known: ExampleSpec, data: ExampleSpec, *, categories: bool = True) -> list[str]:
    """Returns in words why examples are not those of another schema; empty where they are, in whatever order.

    Means, standard deviations and plausible ranges may differ: a model keeps its own.

    Args:
        known: Schema that is expected.
        data: Schema of the examples.
        categories: Whether categories must agree; without it only the names of columns and their kinds.
    """
    if known.kind == data.kind and known.columns and data.columns:
        return list(_differences("column ", known.columns, data.columns, "no such column", categories, both=True))
    if (known.kind, known.shape) == (data.kind, data.shape):
        return []
    expected, found = (f"{transform_of(spec).before_shape} {spec.shape}" for spec in (known, data))
    return [f"expected {expected}, found {found}"]


def condition_mismatches(told: Sequence[Column], data: ExampleSpec) -> list[str]:
    """Returns in words which conditions of a model the examples lack or have with other categories."""
    return list(_differences("", told, data.annotations, "none", categories=True, both=False))


def fits(known: ExampleSpec, data: ExampleSpec, told: Iterable[str] = ()) -> bool:
    """Returns whether batches of the data can be given to a model as they are: the same columns in the same order.

    Args:
        known: Schema of the model's examples.
        data: Schema of the data.
        told: Names of the columns that the model depends on.
    """
    told = set(told)
    return (
        known.shape == data.shape
        and _described(known.columns or ()) == _described(data.columns or ())
        and (known.classes == data.classes or "class" not in told)
        and (_described(known.attributes) == _described(data.attributes) or not told - {"class"})
    )


def check_fits(known: ExampleSpec, data: ExampleSpec, where: str, *, categories: bool = True) -> None:
    """Refuses examples that a model does not take.

    Raises:
        DataError: If they are of another kind, shape or table; names each column, what was expected and what was found.
    """
    if faults := mismatches(known, data, categories=categories):
        raise DataError(
            f"{where}: the model takes other examples: {listed(faults, '; ')}; ingest the data as what the model was "
            "trained on"
        )


def listed(names: Sequence[str], separator: str = ", ") -> str:
    """Returns the first names of many in words, with their number."""
    shown = separator.join(names[:MOST_LISTED])
    return shown if len(names) <= MOST_LISTED else f"{shown} … ({len(names):,} in all)"


def _differences(
    what: str, known: Sequence[Column], data: Sequence[Column], absent: str, categories: bool, both: bool
) -> Iterator[str]:
    expected, found = ({column.name: column for column in columns} for columns in (known, data))
    for name in [*expected, *(name for name in found if both and name not in expected)]:
        wanted, present = (
            _values_of(columns[name], categories) if name in columns else absent for columns in (expected, found)
        )
        if wanted != present:
            yield f"{what}{name!r}: expected {wanted}, found {present}"


def _values_of(column: Column, categories: bool) -> str:
    if column.categories is None:
        return "numbers"
    return f"one of {listed(column.categories)}" if categories else "categories"


def _described(columns: Sequence[Column]) -> list[tuple[str, tuple[str, ...] | None]]:
    return [(column.name, column.categories) for column in columns]
