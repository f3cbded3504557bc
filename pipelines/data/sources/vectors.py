"""Arrays of numbers that are no pixels: each row becomes a row of a table with columns x_0, x_1 and so on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.data.sources.array_store import Stored
from pipelines.data.sources.arrays import check_size
from pipelines.data.sources.config import IngestConfig
from pipelines.data.sources.segments import Segment
from pipelines.data.sources.survey import Survey
from pipelines.data.sources.tables.columns import Understood
from pipelines.data.sources.tables.raw import MOST_COLUMNS, RawTable
from pipelines.data.sources.tables.survey import RowLocator, survey_rows
from vae.data.manifest import SourceFile
from vae.errors import DataError

_LABEL = "label"
_HALF_BRIGHT = 127
"""Value that images of fractions up to 255 exceed somewhere; numbers below it are no pixels."""


class Reading(NamedTuple):
    """The way in which arrays are read."""

    is_table: bool
    """Whether each row becomes a row of a table, rather than an image."""
    config: IngestConfig
    """Configuration with the brightest value of images of floats."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class VectorSegment(Segment):
    """One array, as rows of a table."""

    array: Stored
    columns: tuple[Understood, ...]

    def load(self) -> pa.Table:
        """Returns the columns as the dataset stores them."""
        table = _table(self.array.load())
        return pa.table({one.stored_name: one.convert(table[one.name]) for one in self.columns})

    def take(self, loaded: pa.Table, rows: NDArray[np.int64]) -> pa.Table:
        """Returns some rows."""
        return loaded.take(pa.array(rows))


def find_reading(
    arrays: Sequence[Stored], read: Callable[[Stored], NDArray[np.generic]], config: IngestConfig
) -> Reading:
    """Returns how arrays of examples are read: as images, unless they are vectors, or floats that are no pixels.

    Raises:
        DataError: If they are neither.
    """
    for array in arrays:
        if array.dtype.kind not in "uibf" or not array.shape:
            raise DataError(f"{array.where}: expected rows of numbers, found shape {array.shape} of {array.dtype}")
        check_size(array.shape, array.dtype, array.where, config)
    if any(len(array.shape) < 3 for array in arrays):
        return Reading(True, config)
    if config.max_value is not None or all(array.dtype.kind != "f" for array in arrays):
        return Reading(False, config)
    values = [read(array) for array in arrays if array.dtype.kind == "f"]
    low, high = (float(end([end(one) for one in values if one.size] or [0.0])) for end in (np.min, np.max))
    is_whole = all(np.array_equal(one, np.rint(one)) for one in values)
    if (found := brightness_of(low, high, is_whole=is_whole)) is not None:
        return Reading(False, _brightest(config, found[0]), (found[1],))
    shape = "×".join(map(str, arrays[0].shape[1:]))
    held = "NaN" if np.isnan([low, high]).any() else f"numbers from {low:.3g} to {high:.3g}"
    count = int(np.prod(arrays[0].shape[1:]))
    note = (
        f"arrays of {shape} floats with {held} are no pixels: read as a table of {count:,} columns x_0 … x_{count - 1}. "
        "Scale them to 0 to 1 to have images"
    )
    return Reading(True, config, (note,))


def brightness_of(low: float, high: float, *, is_whole: bool) -> tuple[int, str] | None:
    """Returns the brightest value of images of floats, and what to say of it; None for numbers that are no pixels.

    Args:
        low: Lowest number, or NaN.
        high: Highest number, or NaN.
        is_whole: Whether all numbers are whole.
    """
    if low >= 0 and high <= 1:  # false for NaN
        return 1, "images of floats from 0 to 1 scaled to 0 to 255 and rounded"
    if low >= 0 and high <= 255 and (is_whole or high > _HALF_BRIGHT):
        return 255, f"images of floats {'taken as' if is_whole else 'rounded to'} whole numbers from 0 to 255"
    return None


def joined(
    arrays: Sequence[Stored],
    read: Callable[[Stored], NDArray[np.generic]],
    labels: Sequence[NDArray[np.generic]],
    where: str,
) -> pa.Table:
    """Returns the rows of arrays as one table, with a column of labels if there are any.

    Args:
        arrays: The arrays, in order.
        read: Returns the values of an array.
        labels: Labels of each array; empty for a source without labels.
        where: Name of the source in messages.

    Raises:
        DataError: If the arrays differ in their columns, or have too many.
    """
    shapes = {array.shape[1:] for array in arrays}
    if len(shapes) > 1:
        raise DataError(f"{where}: rows of different shapes ({', '.join(map(str, shapes))}). Give all arrays the same")
    width = int(np.prod(arrays[0].shape[1:]))
    if width > MOST_COLUMNS:
        raise DataError(
            f"{arrays[0].where}: {width:,} numbers a row that are no pixels, above the limit of {MOST_COLUMNS:,} columns. "
            "Scale images to 0 to 1, or --set max_value=N with the brightest value there is"
        )
    table = pa.concat_tables([_table(read(array)) for array in arrays])
    return table.append_column(_LABEL, pa.array(np.concatenate(labels))) if labels else table


def survey_vectors(
    arrays: Sequence[Stored],
    table: pa.Table,
    splits: Sequence[int],
    files: tuple[SourceFile, ...],
    where: str,
    config: IngestConfig,
) -> Survey:
    """Returns the survey of arrays whose rows are the rows of a table.

    Args:
        arrays: The arrays, in order.
        table: Their rows; see `joined`.
        splits: The source's own split of each array, as an index into SPLITS; ignored for a single array.
        files: Every file of the source.
        where: Name of the source in messages.
        config: Configuration of the ingest.
    """
    sizes = [array.shape[0] for array in arrays]
    own = np.repeat(np.array(splits, np.uint8), sizes) if len(arrays) > 1 else None
    locator = RowLocator(tuple(array.where for array in arrays), tuple(map(range, sizes)))
    config = config.model_copy(update={"label": _LABEL if _LABEL in table.column_names else None})

    def segments(columns: tuple[Understood, ...]) -> list[VectorSegment]:
        return [VectorSegment(num_rows=array.shape[0], array=array, columns=columns) for array in arrays]

    return survey_rows(replace(RawTable.typed(table), splits=own), locator, files, segments, where, config)


def _brightest(config: IngestConfig, value: int) -> IngestConfig:
    return config.model_copy(update={"max_value": value})


def _table(array: NDArray[np.generic]) -> pa.Table:
    """Returns rows of numbers as columns x_0, x_1, …; NaN becomes null."""
    flat = array.reshape(len(array), -1)
    narrow = np.float32 if array.dtype == np.float16 else array.dtype.newbyteorder("=")
    columns = np.ascontiguousarray(flat.T.astype(narrow, copy=False))
    return pa.table({f"x_{place}": pa.array(values, from_pandas=True) for place, values in enumerate(columns)})
