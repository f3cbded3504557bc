"""Rows of a table that come one by one, gathered to a table that may be larger than the memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from pipelines.data.sources.tables.columns import Understood
from pipelines.data.sources.tables.spill import Spill
from vae.errors import DataError

_BATCH = 512


class Rows:
    """Collects rows into a table, whose columns take the type that holds all their values.

    Args:
        where: Name of the source, for messages.
    """

    def __init__(self, where: str) -> None:
        self.where, self._waiting, self._num_rows = where, list[dict[str, Any]](), 0
        self._schema = pa.schema([])
        self._spill = Spill(self._schema)

    def add(self, values: dict[str, Any]) -> None:
        """Adds a row; a value that it has not is missing."""
        self._waiting.append(values)
        if len(self._waiting) == _BATCH:
            self._write()

    def table(self) -> pa.Table:
        """Returns all rows."""
        self._write()
        return self._spill.table()

    def _write(self) -> None:
        if not self._waiting:
            return
        schema = self._schema_of(self._waiting)
        if schema != self._schema:
            earlier, self._schema, self._spill = self._spill.table(), schema, Spill(schema)
            for batch in _cast(earlier, schema).to_batches() if len(earlier) else ():
                self._spill.write(batch)
        self._spill.write(pa.RecordBatch.from_pylist(self._waiting, schema))
        self._num_rows += len(self._waiting)
        self._waiting.clear()

    def _schema_of(self, rows: Sequence[dict[str, Any]]) -> pa.Schema:
        """Returns the schema of earlier and of these rows.

        Raises:
            DataError: If a value is of another type than those before it; names the first such item.
        """
        try:
            return _with(self._schema, rows)
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
            schema = self._schema
        for number, row in enumerate(rows):
            for name, value in row.items():
                try:
                    schema = _with(schema, [{name: value}])
                except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
                    before = f"{schema.field(name).type} as in the items before" if name in schema.names else "a value"
                    raise DataError(
                        f"{self.where}: item {self._num_rows + number}: column {name!r}: expected {before}, found "
                        f"{type(value).__name__} {value!r:.40}. Give the column one type"
                    ) from error
        raise AssertionError("one row does not fit")


def _with(schema: pa.Schema, rows: Sequence[dict[str, Any]]) -> pa.Schema:
    names = list(dict.fromkeys(name for row in rows for name in row))
    fields = [pa.field(name, pa.array([row.get(name) for row in rows], from_pandas=True).type) for name in names]
    return pa.unify_schemas([schema, pa.schema(fields)], promote_options="permissive")


def _cast(table: pa.Table, schema: pa.Schema) -> pa.Table:
    columns = [
        table[one.name].cast(one.type) if one.name in table.column_names else pa.nulls(len(table), one.type)
        for one in schema
    ]
    return pa.table(columns, schema=schema)


def typed(table: pa.Table, columns: Sequence[Understood]) -> pa.Table:
    """Returns columns of a table as they were understood."""
    return pa.table({one.stored_name: one.convert(table[one.name]) for one in columns})
