"""The transform of a table's rows.

Shapes: N rows, D columns.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from vae.data.binarization import Binarization
from vae.data.schema import Column, ExampleSpec
from vae.data.transforms.columns import recoded, transform_of_column
from vae.data.transforms.frames import filled, frame_of
from vae.data.transforms.units import Units
from vae.draws import RowDraws
from vae.errors import CorruptData

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

MOST_ONE_HOT = 256
"""Largest number of columns of zeros and ones that stand for the categories of a column."""


class TableTransform:
    """Conversions of a table's rows: numbers in their own unit and codes in a dataset, standardised in a model.

    Args:
        examples: Schema of the rows.
        columns: Columns of the table.
    """

    dtype = np.float64
    noun = "a table"
    """The examples in a message: a dataset "holds a table"."""
    before_shape = "a table"
    """Words before the shape of an example in a message."""
    bodies = "`table`"
    """Kinds of bodies that read the examples, in a message."""
    families = frozenset({"information", "imputation", "synthesis"})
    """Families of metrics that can be measured; see `vae.metrics.suite`."""
    refines_imputation = True
    """Whether `vae.metrics.uses.fill_in` improves the proposals."""
    new_examples: Literal["mean", "sample"] = "sample"
    """Values of new examples unless a caller says otherwise: draws, because means of columns vary too little."""
    stacks = False
    """Whether a column of results can hold several examples for each row."""

    def __init__(self, examples: ExampleSpec, columns: Sequence[Column]) -> None:
        self.examples = examples
        self.columns = columns
        self.names = [column.name for column in columns]
        self.transforms = [transform_of_column(column) for column in columns]
        self.is_number_D = np.array([column.categories is None for column in columns])
        self._units: dict[torch.device, Units] = {}

    @property
    def summary(self) -> str:
        """The examples in a few words."""
        return f"rows of {len(self.columns)} columns"

    @property
    def described(self) -> str:
        """The examples in a message about examples that do not fit a model."""
        return f"rows of a table with {len(self.columns)} columns"

    # --- a dataset's shards ---------------------------------------------------------------------------------------

    @property
    def stored_row_bytes(self) -> int | None:
        """Bytes of a row's values in a shard; None, because those of text vary."""
        return None

    def fields(self) -> list[pa.Field]:
        """Returns the columns of a shard that hold the values."""
        return [pa.field(column.name, pa.type_for_alias(column.dtype)) for column in self.columns]

    def from_arrow(self, table: pa.Table, part: slice) -> NDArray[np.float64]:
        """Returns the values of some rows of a shard, [N,D].

        Raises:
            CorruptData: If a category is none of its column's.
        """
        rows = table.slice(part.start, part.stop - part.start)
        values_ND = np.empty((rows.num_rows, len(self.columns)))
        for places in self._alike:
            try:
                values_ND[:, places] = self._read_alike(rows, places)
            except CorruptData:
                for place in places:  # one of them has a category that it lacks, and says so with its own name
                    self._read_alike(rows, [place])
                raise
        return values_ND

    @cached_property
    def _alike(self) -> list[list[int]]:
        """Places of the columns that are stored alike, and are read together: a call for each takes long for thousands."""
        alike: dict[Any, list[int]] = {}
        for place, column in enumerate(self.columns):
            alike.setdefault((column.dtype, column.categories, column.type == "time"), []).append(place)
        return list(alike.values())

    def _read_alike(self, rows: pa.Table, places: Sequence[int]) -> NDArray[np.float64]:
        """Returns columns that are stored alike, [N,columns]."""
        stored = [chunk for place in places for chunk in rows.column(self.names[place]).chunks]
        kind = rows.schema.field(self.names[places[0]]).type
        joined = pa.chunked_array([pa.concat_arrays(stored)] if stored else [], kind)
        return self.transforms[places[0]].from_arrow(joined).reshape(len(places), -1).T

    def to_arrow(self, values: NDArray[np.float64], given: pa.Table | None = None) -> list[pa.Array]:
        """Returns values as a shard stores them.

        Args:
            values: [N,D].
            given: Stored rows that the values were made from; a number that did not change keeps all its digits.
        """
        return [
            one.to_arrow(values_N, None if given is None else given.column(one.column.name).combine_chunks())
            for one, values_N in zip(self.transforms, values.T, strict=True)
        ]

    # --- a model --------------------------------------------------------------------------------------------------

    def binarized(
        self, values_ND: NDArray[Any], policy: Binarization | None, split: str, first_row: int, where: str
    ) -> NDArray[Any]:
        """Returns the values as they are: only pixels are binarised."""
        return values_ND

    def prepare(
        self, values: Tensor, policy: Binarization | None = None, source: RowDraws | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Returns a batch's values as the likelihood scores them, and which of them are observed, [N,D] each.

        Numbers become float32 standard deviations from their column's mean, or what its curve makes of them; categories
        stay codes, and what is missing is 0. A number outside of its column's plausible range counts as missing. Nothing is
        drawn.
        """
        units = self._units_on(values.device)
        observed = units.plausible(values)
        # In float64 up to here: float32 keeps 4 of the 3,600 seconds of an hour, as Unix time.
        return units.model_numbers(values).float().masked_fill(~observed, 0), observed

    def as_numbers(self, x: Tensor, observed: Tensor | None) -> tuple[Tensor, Tensor]:
        """Returns prepared rows with a column of zeros and ones for each category, and which entries are observed.

        More than `MOST_ONE_HOT` categories of a column share that many columns, so that the width has a bound.
        """
        observed = torch.ones_like(x, dtype=torch.bool) if observed is None else observed
        parts, masks = [], []
        for number, size in enumerate(self._sizes):
            column = x[:, number]
            parts.append(F.one_hot(column.long() % size, size).float() if size else column[:, None])
            masks.append(observed[:, number, None].expand_as(parts[-1]))
        return torch.cat(parts, 1), torch.cat(masks, 1)

    def is_number(self) -> Tensor:
        """Returns which columns of `as_numbers` are not of categories."""
        return torch.tensor([not size for size in self._sizes for _ in range(max(size, 1))])

    def log_slopes(self, x: Tensor) -> Tensor:
        """Returns the log dx/du of the curve at each number of `as_numbers`: 0 without a curve, NaN at a point mass."""
        slopes = self._units_on(x.device).log_slope(x)
        parts = [slopes[:, number, None].expand(-1, max(size, 1)) for number, size in enumerate(self._sizes)]
        return torch.cat(parts, 1)

    @property
    def _sizes(self) -> list[int]:
        """Number of columns that `as_numbers` makes of the categories of each column; 0 for numbers."""
        return [min(len(column.categories or ()), MOST_ONE_HOT) for column in self.columns]

    def in_units(self, x: Tensor) -> Tensor:
        """Returns prepared rows [...,D] in the columns' own units and in float64, categories as codes."""
        return self._units_on(x.device).column_values(x)

    def standardised(self, x: Tensor) -> Tensor:
        """Returns prepared rows [...,D] in standard deviations from their column's mean, categories as codes."""
        return self._units_on(x.device).standardised(x)

    def restore(self, x: Tensor) -> NDArray[np.float64]:
        """Returns a model's rows [...,D] as a dataset holds them, within the bounds of its values: [N,D]."""
        values = self.in_units(x.cpu()).flatten(0, -2).numpy()
        return _stacked(
            [one.generated(column) for one, column in zip(self.transforms, values.T, strict=True)], len(values)
        )

    def missed(self, values: NDArray[np.float64], x: Tensor) -> NDArray[np.float64]:
        """Returns the differences of numbers from a model's answer, in standard deviations, [N,D]; NaN for categories."""
        return np.where(self.is_number_D, (values - self.restore(x)) / self.units, np.nan)

    @property
    def units(self) -> NDArray[np.float64]:
        """Unit in which a model scores each column, [D]: its standard deviation; 1 of categories."""
        return np.array([column.std for column in self.columns])

    def costly(self, x: Tensor, position: int, entry: int) -> tuple[str, str]:
        """Describes one value of a batch: a clause that goes on after the row's name, and the place of the value."""
        value = self.in_units(x)[position, entry].item()
        return f", column {self.names[entry]!r}, holds {self.transforms[entry].shown(value)} and", ""

    def aligned(self, values: NDArray[Any], data: ExampleSpec) -> NDArray[np.float64]:
        """Returns the values of a dataset in the order of these columns and by their codes; NaN for other categories."""
        assert data.columns is not None, "callers check the schema"
        places = {column.name: number for number, column in enumerate(data.columns)}
        columns = []
        for column in self.columns:
            values_N, source = values[:, places[column.name]], data.columns[places[column.name]]
            columns.append(recoded(values_N, source.categories, column.categories))
        return _stacked(columns, len(values))

    def _units_on(self, device: torch.device) -> Units:
        if device not in self._units:
            self._units[device] = Units(self.columns).to(device)
        return self._units[device]

    # --- callers --------------------------------------------------------------------------------------------------

    def values_of(self, rows: Any, where: str) -> NDArray[np.float64]:
        """Reads a caller's rows as a dataset holds them, [N,D].

        Args:
            rows: Rows as `frame_of` takes them. None, NaN and NA are missing.
            where: Name of the request in messages.

        Raises:
            ValueError: If a column is missing, a category is unknown, or a value is no number.
        """
        frame = frame_of(rows, self.names, where)
        columns: Any = frame
        return _stacked([one.read(columns[one.column.name], where) for one in self.transforms], len(frame))

    def read(self, rows: Any, where: str, *, noisy: bool = False) -> tuple[Tensor, Tensor | None]:
        """Reads a caller's rows as the model scores them; see `values_of` and `prepare`."""
        if rows is None:
            raise ValueError(f"{where} needs inputs, got None")
        return self.take(torch.from_numpy(self.values_of(rows, where)), where)

    def take(self, values_ND: Tensor, where: str) -> tuple[Tensor, Tensor | None]:
        """Returns a dataset's rows as `prepare` does, and logs how many numbers are implausible, with the first."""
        x, observed_ND = self.prepare(values_ND)
        assert observed_ND is not None, "tables have a mask"
        if absurd := (~observed_ND & ~values_ND.isnan()).nonzero().tolist():
            row, number = absurd[0]
            column, shown = self.columns[number], self.transforms[number].shown
            texts = [shown(value or 0.0) for value in (values_ND[row, number].item(), column.lowest, column.highest)]
            log.warning(
                "%s: %d values are absurd and count as missing; the first: column %r, row %d: %s is not within %s to %s",
                *(where, len(absurd), column.name, row, *texts),
            )
        return x, observed_ND

    def read_pairs(self, pairs: Any, where: str) -> tuple[Tensor, Tensor | None]:
        """Reads pairs of successive rows; see `read`."""
        x, observed = self.read(pairs, where)
        if len(x) % 2:
            raise ValueError(f"{where}: expected pairs, two successive rows each, found {len(x)} rows")
        return x, observed

    def write(
        self, x: Tensor, levels: Mapping[str, Sequence[Any]] | None = None, beside: Mapping[str, Tensor] | None = None
    ) -> pd.DataFrame:
        """Returns a model's rows [N,…,D] as a data frame in the dataset's types.

        Args:
            x: Prepared rows.
            levels: Names and labels of the dimensions between N and D, which the index then holds beside `row`.
            beside: Arrays that explain the levels; the index says the same.
        """
        import pandas as pd

        frame = self.write_values(self.restore(x))
        if not levels:
            return frame
        index = {"row": range(len(x)), **levels}
        return frame.set_axis(pd.MultiIndex.from_product([*index.values()], names=[*index]))

    def write_values(self, values_ND: NDArray[np.float64]) -> pd.DataFrame:
        """Returns the data frame that `values_of` reads as these values, in the dataset's types."""
        import pandas as pd

        columns = zip(self.transforms, values_ND.T, strict=True)
        return pd.DataFrame({one.column.name: one.write(values_N) for one, values_N in columns})

    def write_spread(self, std: Tensor) -> pd.DataFrame:
        """Returns standard deviations in each column's unit; of categories √(1 − probability)."""
        import pandas as pd

        units = [1.0 if column.categories else column.std for column in self.columns]
        return pd.DataFrame(std.cpu().numpy().astype(np.float64) * units, columns=self.names)

    def store_spread(self, std: Tensor) -> dict[str, NDArray[np.float64]]:
        """Returns the same as columns by name."""
        spread: Any = self.write_spread(std)
        return {name: spread[name].to_numpy() for name in self.names}

    def keep_given(self, written: pd.DataFrame, given: Any, where: str) -> pd.DataFrame:
        """Returns imputed rows, one or several for each given row, with every given value put back as it was.

        Args:
            written: N·M rows, the M of a given row together.
            given: N rows, as `values_of` takes them.
            where: Name of the request in messages.
        """
        import pandas as pd

        frame = frame_of(given, self.names, where, warn=False)
        kept = {}
        for name in self.names:
            own = frame[name].repeat(len(written) // max(len(frame), 1)).set_axis(written.index)
            kept[name] = filled(own, written[name])
        return pd.DataFrame(kept, index=written.index)


def _stacked(columns: Sequence[NDArray[np.float64]], num_rows: int) -> NDArray[np.float64]:
    return np.stack(columns, axis=1) if columns else np.empty((num_rows, 0))
