"""Expected cost of the ingest of a table, from its rows and a sample of them. Shapes: N rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipelines.data.sources.survey import Cost
from pipelines.data.sources.tables.spill import HELD_BYTES
from vae.data.parquet import ROW_GROUP_ROWS
from vae.data.rows import SOURCE_ROW

_PROCESS_BYTES, _ROW_BYTES, _COLUMN_BYTES = 300 << 20, 48, 20_000
"""Memory of a process without rows, with its libraries; of one column's understanding, for each row; of each column."""
_SAMPLE_VALUES = 1 << 20


class Sample:
    """Rows drawn from a table, of all of its columns or of the first ones.

    Args:
        num_rows: Number of the table's rows.
        num_columns: Number of its columns.
    """

    def __init__(self, num_rows: int, num_columns: int) -> None:
        rng, size = np.random.default_rng(0), min(num_rows, ROW_GROUP_ROWS, max(1024, _SAMPLE_VALUES // num_columns))
        self._rows: NDArray[np.int64] = rng.integers(0, num_rows, size)
        self._most_columns = max(1, _SAMPLE_VALUES // size)
        self._num_rows = num_rows
        self._columns: dict[str, Any] = {SOURCE_ROW: pa.array(self._rows)}
        self._row_bytes, self._num_columns = 0, 1

    def add(self, name: str, values: pa.ChunkedArray) -> None:
        """Adds a column that the dataset stores."""
        self._num_columns += 1
        self._row_bytes += values.nbytes
        if len(self._columns) < self._most_columns:
            self._columns[name] = values.take(pa.array(self._rows))

    def cost(self, rows: pa.Table) -> Cost:
        """Returns the cost of the ingest.

        Args:
            rows: The rows as their source holds them.
        """
        beside = sum(size for size in (rows.nbytes, self._row_bytes) if size > HELD_BYTES)
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table(self._columns), sink, compression="lz4")
        share = self._num_columns * self._num_rows / (max(1, len(self._columns)) * max(1, len(self._rows)))
        return Cost(
            memory_bytes=_PROCESS_BYTES + _ROW_BYTES * self._num_rows + _COLUMN_BYTES * rows.num_columns,
            temporary_bytes=beside,
            stored_bytes=round(sink.tell() * share),
        )
