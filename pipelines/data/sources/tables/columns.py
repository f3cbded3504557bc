"""The columns of a table as they were understood: role, type, and how their values become those of a dataset."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute

from pipelines.data.sources.config import Role
from pipelines.data.sources.tables.values import INTEGER, Dates, Numerals, texts
from vae.data.rows import IDENTIFIER
from vae.data.schema import Column, ColumnType
from vae.errors import DataError

pc: Any = pyarrow.compute  # its functions are made at run time, out of a type checker's sight


@dataclass(frozen=True)
class Understood:
    """A column as it was understood. Picklable, small, and stored with the dataset."""

    name: str
    role: Role = "feature"
    type: ColumnType | Literal["text", "empty", "nested"] = "real"
    dtype: str = "double"
    """Arrow type that the dataset stores."""
    numerals: Numerals | None = None
    """Way in which texts write numbers; None where they are not texts or not numbers."""
    dates: Dates | None = None
    """Way in which texts write dates; None where they are not texts or not dates."""
    order: tuple[str, ...] = ()
    """Categories of an ordered column, from the lowest; empty where numbers or the alphabet order them."""
    absent: tuple[str, ...] = ()
    """Texts that mean missing, beside the empty one."""
    examples: tuple[str, ...] = ()
    missing: int = 0
    distinct: int = 0
    least: str = ""
    largest: str = ""
    remarks: tuple[str, ...] = ()

    @property
    def is_stored(self) -> bool:
        """Whether the dataset has the column."""
        return self.role in ("feature", "label")

    @property
    def stored_name(self) -> str:
        """Name of the column in a shard."""
        return self.name if self.role == "feature" else IDENTIFIER + self.name

    def reading(self) -> dict[str, Any]:
        """Returns all that decides what the dataset stores, as JSON."""
        signs = {"numerals": self.numerals, "dates": self.dates}
        return {
            **{name: getattr(self, name) for name in ("name", "role", "type", "dtype", "order", "absent")},
            **{name: None if one is None else asdict(one) for name, one in signs.items()},
        }

    def convert(self, values: pa.ChunkedArray) -> pa.ChunkedArray:
        """Returns the values as the dataset stores them; null where they are missing or do not fit."""
        kind = pa.type_for_alias(self.dtype)
        if is_text(values.type):
            values = texts(pc.cast(values, pa.string()), self.absent)
            if self.dates is not None:
                return self.dates.convert(values)
            if self.numerals is not None:
                return _as(self.numerals.convert(values), values, kind)
        if pa.types.is_floating(values.type):
            # NaN is what other tools write for missing.
            present = pc.invert(pc.is_nan(values))
            values = values if pc.all(present).as_py() else _if(present, values)
        return values if values.type == kind else pc.cast(values, kind, safe=False)

    def column(self, values: pa.ChunkedArray) -> Column:
        """Returns the schema of the column, with the categories among some values."""
        if self.type not in ("boolean", "category", "ordered"):
            return Column(self.name, dtype=self.dtype, type=self.type)  # pyright: ignore[reportArgumentType]
        found = pc.unique(values.drop_null()).to_pylist()
        if unknown := sorted({str(value) for value in found} - set(self.order)) if self.order else []:
            raise DataError(
                f"column {self.name!r} holds {unknown[0]!r}, which is not in its order ({', '.join(self.order)}). Add it"
            )
        names = self.order or tuple(str(value) for value in sorted(found))
        return Column(self.name, names, dtype=self.dtype, type=self.type)  # pyright: ignore[reportArgumentType]


def is_text(kind: pa.DataType) -> bool:
    """Returns whether a type is text."""
    if pa.types.is_dictionary(kind):
        return is_text(kind.value_type)
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def is_number(kind: pa.DataType) -> bool:
    """Returns whether a type is a number or a boolean."""
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)


def _as(numbers: pa.ChunkedArray, written: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """Returns numbers in another type. Whole ones come from their digits: a double keeps only 15."""
    if not pa.types.is_integer(kind):
        return pc.cast(numbers, kind)
    try:
        return pc.cast(written, kind)
    except pa.ArrowInvalid:
        numbers = _if(pc.is_finite(numbers), numbers)
    digits = pc.fill_null(pc.match_substring_regex(written, INTEGER), False)
    exact = pc.cast(pc.replace_substring_regex(_if(digits, written), r"^\+", ""), kind)
    return exact if pc.all(digits).as_py() else pc.coalesce(exact, pc.cast(numbers, kind))


def _if(mask: Any, values: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.if_else(mask, values, pa.scalar(None, values.type))
