"""The schema of an example: an image or a row of a table, with its class and its attributes.

The same schema describes a dataset in its manifest and the examples that a trained model knows.

Shapes: B batch, C channels, H height, W width, D columns of a table, A attributes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, PositiveInt

DataKind = Literal["image", "table"]
"""Kinds of data."""


ColumnType = Literal["integer", "real", "positive", "count", "share", "money", "boolean", "category", "ordered", "time"]
"""Meaning of a column's values, and their unit.

integer: whole numbers of either sign. real: numbers of either sign. positive: numbers above 0. count: whole numbers from 0,
of events or things. share: parts of a whole, from 0 to 1 or from 0 to 100 %. money: amounts in one currency. boolean: false
or true. category: names without an order. ordered: names whose codes are in their order. time: seconds since 1970 UTC, in a
dataset of the type `date32[day]` or `timestamp[us]`.
"""
WHOLE = ("integer", "count")
"""Types of whole numbers."""


@dataclass(frozen=True)
class Curve:
    """A rising function from a column's standard deviations to the numbers that a model scores.

    See `vae.data.transforms.curves`.
    """

    kind: Literal["quantile", "log", "logit", "shift"]
    numbers: tuple[float, ...]
    """Numbers that make the curve, fitted to the training split."""
    mass: tuple[float, float] | None = None
    """A value that many entries have, in the column's unit, and the model's number for it, which no other value has."""

    def __hash__(self) -> int:
        return hash((self.kind, len(self.numbers), self.numbers[0], self.numbers[-1]))  # not of all, at every batch


@dataclass(frozen=True)
class Column:
    """A column of a table, or an attribute of an image."""

    name: str
    categories: tuple[str, ...] | None = None
    """Names of the values in the order of their codes; None for numbers."""
    mean: float = 0.0
    """Mean of a numeric column's observed, plausible entries in the training split; 0 for categories."""
    std: float = 1.0
    """Standard deviation of the same entries; 1 for a constant and for categories."""
    dtype: str = "double"
    """Arrow type of the values in the dataset, for example `int64` or `string`."""
    missing_share: float = 0.0
    """Share of missing entries in the training split; absurd ones are not among them."""
    lowest: float | None = None
    """Smallest plausible value of a numeric column. A smaller one is absurd and counts as missing, in training, in scores
    and in use. None where any value is plausible."""
    highest: float | None = None
    """Largest plausible value, as `lowest`."""
    type: ColumnType = field(default=cast("ColumnType", None))
    """Meaning of the values; if it is not given, it follows from `categories` and `dtype`."""
    smallest: float | None = None
    """Smallest plausible value that the training split holds; generated values are at least that. None if unknown."""
    largest: float | None = None
    """Largest plausible value that the training split holds, as `smallest`."""
    curve: Curve | None = None
    """Curve of a numeric column; None where a model scores its standard deviations from the mean."""

    def __post_init__(self) -> None:
        if self.type is None:
            object.__setattr__(self, "type", implied_type(self.categories, self.dtype))

    @property
    def kind(self) -> Literal["numeric", "categorical"]:
        """Kind of the column's values."""
        return "numeric" if self.categories is None else "categorical"


@dataclass(frozen=True)
class Experience:
    """Kinds of damaged examples that a model's encoder saw in training."""

    missing: bool = False
    """Whether some entries were missing."""
    corruption: str | None = None
    """Kind of noise in the examples; None for clean ones."""


@dataclass(frozen=True)
class ExampleSpec:
    """Shape, columns, classes and attributes of an example.

    Values are uint8 [B,C,H,W] for images and float64 [B,D] for tables: numbers in their own unit, categories as codes, NaN
    where missing. Attributes are float32 [B,A], encoded in the same way.
    """

    shape: tuple[int, ...]
    """(channels, height, width) of an image, (columns,) of a table."""
    classes: tuple[str, ...] | None = None
    """Names of the classes in the order of their indices; None for unlabelled data."""
    columns: tuple[Column, ...] | None = None
    """Columns of a table; None for images."""
    attributes: tuple[Column, ...] = ()
    """Values that accompany every image beside its class."""

    @classmethod
    def of_table(cls, columns: Iterable[Column], classes: tuple[str, ...] | None = None) -> ExampleSpec:
        """Returns the schema of a table's rows."""
        columns = tuple(columns)
        return cls((len(columns),), classes, columns)

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> ExampleSpec:
        """Reads what `dataclasses.asdict` returned and JSON stored."""
        columns, classes = facts["columns"], facts["classes"]
        return cls(
            tuple(facts["shape"]),
            None if classes is None else tuple(classes),
            None if columns is None else _columns(columns),
            _columns(facts["attributes"]),
        )

    @property
    def kind(self) -> DataKind:
        """Kind of the examples, as manifests name it."""
        return "image" if self.columns is None else "table"

    def untyped(self) -> ExampleSpec:
        """Returns the schema of the values alone, with fractional numbers, times, and categories as text."""
        if self.columns is None:
            return ExampleSpec(self.shape)
        types = {"numeric": "double", "categorical": "string"}
        return ExampleSpec.of_table(
            Column(c.name, c.categories, dtype=c.dtype if c.type == "time" else types[c.kind]) for c in self.columns
        )

    @property
    def annotations(self) -> tuple[Column, ...]:
        """Columns that are known of an example beside its values: its class, and its attributes."""
        return (*([Column("class", self.classes)] if self.classes else []), *self.attributes)

    @property
    def num_values(self) -> int:
        """Number of an example's values: channels times pixels, or columns."""
        return math.prod(self.shape)

    @property
    def row_bytes(self) -> int:
        """Bytes of one example's values in memory."""
        return self.num_values if self.columns is None else 8 * self.num_values


def implied_type(categories: tuple[str, ...] | None, dtype: str) -> ColumnType:
    """Returns the type of a column that says no more than its categories and its Arrow type."""
    if dtype == "bool":
        return "boolean"
    if categories is not None:
        return "category"
    if dtype.startswith(("date", "timestamp")):
        return "time"
    return "integer" if dtype.startswith(("int", "uint")) else "real"


# --- the form in a manifest -----------------------------------------------------------------------------------------


class Record(BaseModel):
    """A frozen record that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class _StoredImages(Record):
    kind: Literal["image"]
    channels: PositiveInt
    height: PositiveInt
    width: PositiveInt
    dtype: Literal["uint8"] = "uint8"
    layout: Literal["CHW"] = "CHW"


class _StoredColumn(Record):
    name: str
    kind: Literal["numeric", "categorical"]
    dtype: str
    categories: tuple[str, ...] | None = None
    type: ColumnType | None = None
    """Meaning of the values; None stands for the type that follows from `dtype` and `categories`."""

    def column(self) -> Column:
        if (self.kind == "numeric") != (self.categories is None):
            raise ValueError(f"column {self.name!r}: categories do not fit the kind {self.kind!r}")
        kind = self.type or implied_type(self.categories, self.dtype)
        has_names = self.categories is not None
        is_time = not has_names and self.dtype.startswith(("date", "timestamp"))
        if (kind != "boolean" and has_names != (kind in ("category", "ordered"))) or (kind == "time") != is_time:
            raise ValueError(
                f"column {self.name!r}: the type {kind!r} does not fit the kind {self.kind!r} of {self.dtype}"
            )
        return Column(self.name, self.categories, dtype=self.dtype, type=kind)


class _StoredTable(Record):
    kind: Literal["table"]
    columns: tuple[_StoredColumn, ...]


class StoredSchema(Record):
    """Form of a schema in a manifest's JSON."""

    example: _StoredImages | _StoredTable = Field(discriminator="kind")
    classes: tuple[str, ...] | None
    attributes: tuple[_StoredColumn, ...] = ()

    def spec(self) -> ExampleSpec:
        """Returns the schema."""
        attributes = tuple(column.column() for column in self.attributes)
        if isinstance(self.example, _StoredTable):
            columns = tuple(column.column() for column in self.example.columns)
            return ExampleSpec((len(columns),), self.classes, columns, attributes)
        shape = self.example.channels, self.example.height, self.example.width
        return ExampleSpec(shape, self.classes, None, attributes)


def stored_schema(example: ExampleSpec) -> dict[str, Any]:
    """Returns the manifest's entries `example`, `classes` and `attributes`."""
    if example.columns is None:
        channels, height, width = example.shape
        stored: dict[str, Any] = {"kind": "image", "channels": channels, "height": height, "width": width}
        stored |= {"dtype": "uint8", "layout": "CHW"}
    else:
        stored = {"kind": "table", "columns": [_stored_column(column) for column in example.columns]}
    attributes = [_stored_column(column) for column in example.attributes]
    return {"example": stored, "classes": example.classes, "attributes": attributes}


def _stored_column(column: Column) -> dict[str, Any]:
    stored = {"name": column.name, "kind": column.kind, "dtype": column.dtype, "categories": column.categories}
    return stored if column.type == implied_type(column.categories, column.dtype) else stored | {"type": column.type}


# --- plausible values -----------------------------------------------------------------------------------------------


def plausible_bounds(columns: Sequence[Column]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns the lowest and the highest plausible value of each column, [D] each; -∞ and ∞ where any is plausible."""
    lowest = [-math.inf if column.lowest is None else column.lowest for column in columns]
    highest = [math.inf if column.highest is None else column.highest for column in columns]
    return np.array(lowest), np.array(highest)


def without_absurd(values_ND: NDArray[np.float64], columns: Sequence[Column]) -> NDArray[np.float64]:
    """Returns values [N,D] with NaN for those outside of their column's plausible range."""
    lowest_D, highest_D = plausible_bounds(columns)
    return np.where((values_ND >= lowest_D) & (values_ND <= highest_D), values_ND, np.nan)


def with_bounds_of(known: ExampleSpec, data: ExampleSpec) -> ExampleSpec:
    """Returns a model's specification of examples with the plausible ranges of other data.

    Two models are then compared by their likelihoods of the same values.
    """
    if known.columns is None or data.columns is None:
        return known
    pairs = zip(known.columns, data.columns, strict=True)
    return replace(known, columns=tuple(replace(mine, lowest=its.lowest, highest=its.highest) for mine, its in pairs))


def _columns(facts: Sequence[Mapping[str, Any]]) -> tuple[Column, ...]:
    return tuple(
        Column(**{**column, "categories": _tuple(column["categories"]), "curve": _curve(column.get("curve"))})
        for column in facts
    )


def _curve(facts: Mapping[str, Any] | None) -> Curve | None:
    return None if facts is None else Curve(facts["kind"], tuple(facts["numbers"]), _tuple(facts["mass"]))


def _tuple(values: Sequence[Any] | None) -> Any:
    return None if values is None else tuple(values)
