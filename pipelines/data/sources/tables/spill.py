"""Rows that may be more than the memory holds: beyond some megabytes they lie in a file that the process maps."""

from __future__ import annotations

import os
import tempfile

import pyarrow as pa

HELD_BYTES = 64 << 20
"""Bytes of a table that are held in memory; a larger one goes to a file in the system's folder for temporary ones."""


class Spill:
    """Collects batches of rows into a table.

    Args:
        schema: Schema of the rows.
    """

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self._held: list[pa.RecordBatch] = []
        self._num_bytes = 0
        self._path: str | None = None
        self._writer: pa.RecordBatchFileWriter | None = None

    def write(self, batch: pa.RecordBatch) -> None:
        """Adds some rows."""
        self._held.append(batch)
        self._num_bytes += batch.nbytes
        if self._num_bytes > HELD_BYTES:
            if self._writer is None:
                handle, self._path = tempfile.mkstemp(".arrow", "betaline-")
                os.close(handle)
                self._writer = pa.ipc.new_file(self._path, self.schema)
            for one in self._held:
                self._writer.write_batch(one)
            self._held.clear()

    def table(self) -> pa.Table:
        """Returns all rows. A file leaves its folder at once, and the disk with the last reference to the table."""
        if self._writer is None or self._path is None:
            return pa.Table.from_batches(self._held, self.schema)
        for one in self._held:
            self._writer.write_batch(one)
        self._writer.close()
        try:
            return pa.ipc.open_file(pa.memory_map(self._path)).read_all()
        finally:
            os.unlink(self._path)
