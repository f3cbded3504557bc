"""Rows that may be more than the memory holds: beyond some megabytes they lie in a file that the process maps."""

from __future__ import annotations

import os
import shutil
import tempfile

import pyarrow as pa

from vae.errors import DataError
from vae.storage import explain_full_disk, locate

HELD_BYTES = 32 << 20
"""Bytes of a table that are held in memory; a larger one goes to a file in the system's folder for temporary ones."""
# A column of a batch takes memory even on the disk: half a kilobyte.
_BATCH_BYTES, _BATCH_ROWS = 8 << 20, 512


def check_room(path: str, num_bytes: int) -> None:
    """Checks that the rows of a file fit on the disk.

    Args:
        path: Name of the file, for messages.
        num_bytes: Expected size of its rows in bytes.

    Raises:
        DataError: If the folder for temporary files has less space.
    """
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    if max(free, HELD_BYTES) < num_bytes:
        raise DataError(
            f"{path}: its rows take about {num_bytes:,} bytes of {folder} while they are read, and {free:,} are free. "
            "Free some space, or set TMPDIR to a folder of a larger disk"
        )


class Spill:
    """Collects batches of rows into a table.

    Args:
        schema: Schema of the rows.
    """

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self._small: list[pa.RecordBatch] = []
        self._held: list[pa.RecordBatch] = []
        self._small_bytes, self._held_bytes = 0, 0
        self._path: str | None = None
        self._writer: pa.RecordBatchFileWriter | None = None

    def write(self, batch: pa.RecordBatch) -> None:
        """Adds some rows."""
        self._small.append(batch)
        self._small_bytes += batch.nbytes
        if self._small_bytes >= _BATCH_BYTES and sum(map(len, self._small)) >= _BATCH_ROWS:
            self._hold()

    def table(self) -> pa.Table:
        """Returns all rows. A file leaves its folder at once, and the disk with the last reference to the table."""
        if self._small:
            self._hold()
        if self._writer is None or self._path is None:
            return pa.Table.from_batches(self._held, self.schema)
        with explain_full_disk(locate(self._path)):
            self._flush()
            self._writer.close()
        try:
            return pa.ipc.open_file(pa.memory_map(self._path)).read_all()
        finally:
            os.unlink(self._path)

    def _hold(self) -> None:
        """Makes one batch of the small ones, and writes what is too much for the memory."""
        self._held.append(pa.concat_batches(self._small))
        self._small.clear()
        self._held_bytes, self._small_bytes = self._held_bytes + self._small_bytes, 0
        if self._writer is None and self._held_bytes > HELD_BYTES:
            handle, self._path = tempfile.mkstemp(".arrow", "betaline-")
            os.close(handle)
            self._writer = pa.ipc.new_file(self._path, self.schema)
        if self._writer is not None and self._path is not None:
            with explain_full_disk(locate(self._path)):
                self._flush()

    def _flush(self) -> None:
        assert self._writer is not None
        for one in self._held:
            self._writer.write_batch(one)
        self._held.clear()
