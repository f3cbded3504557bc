"""The check that examples fit a model: shapes, columns, and conditions; and facts to know of them before training."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from vae.data.manifest import SPLITS
from vae.data.parquet import Dataset
from vae.data.schema import Column, ExampleSpec
from vae.data.transforms import transform_of
from vae.errors import DataError

MOST_LISTED = 12
"""Names that a message lists."""
FEW_ROWS = 10
"""Rows of a class below which a split has few of it."""
LOOKED_ROWS = 1 << 16
"""Rows of the training split, which ingest has shuffled, that columns are judged by."""


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


def worth_knowing(dataset: Dataset, *, densities: bool) -> Iterator[str]:
    """Yields facts about a dataset that a training does not refuse, one sentence each.

    They are classes with few rows in a split, columns that are constant or empty, and numbers that are 0 or 1 or counts and
    are scored by a density. Columns are judged by the first `LOOKED_ROWS` rows of the training split.

    Args:
        dataset: Images or a table.
        densities: Whether the likelihood scores all numbers by densities.
    """
    example, counts = dataset.manifest.example, dataset.manifest.class_counts
    for split in SPLITS:
        few = [
            f"{name} ({count})"
            for name, count in zip(example.classes or (), counts.get(split, ()), strict=False)
            if count < FEW_ROWS
        ]
        if few and dataset.num_rows(split):
            yield f"the {split} split has fewer than {FEW_ROWS} rows of {_some('class', 'es', few)}."
    if example.columns is None or not (rows := dataset.num_rows("train")):
        return
    values_ND = dataset.read_rows("train", 0, min(rows, LOOKED_ROWS)).values
    constant: list[str] = []
    whole: list[str] = []
    for column, values_N in zip(example.columns, values_ND.T, strict=True):
        distinct = np.unique(values_N[~np.isnan(values_N)])
        if len(distinct) < 2:
            constant.append(column.name)
        elif column.categories is None and (column.type == "count" or np.isin(distinct, (0, 1)).all()):
            whole.append(column.name)
    if constant:
        yield f"{_some('column', 's', constant)} with one value or none in the training split: nothing can be learned."
    if whole and densities:
        yield (
            f"{_some('column', 's', whole)} of counts or of 0 and 1 scored by a density, as if any number between could "
            "occur; try --set 'model.likelihood={kind: mixed, numeric: auto}' --set data.transform=parametric."
        )


def _some(noun: str, plural: str, names: Sequence[str]) -> str:
    """Returns the number of some names and the first of them, in words."""
    return f"{len(names):,} {noun}{plural * (len(names) > 1)} ({listed(names)})"


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
