"""The work on units: each becomes a file, anywhere, in any order, with the same bytes each time.

Shapes: N rows of a unit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from pipelines.data.apply.inputs import Group
from pipelines.data.apply.output import UnitRecord, keep
from pipelines.data.apply.params import AUGMENT, PARAMS_OF_AUGMENT
from pipelines.data.apply.planning import DECODE, GENERATE, ApplyPlan, Unit, open_input
from pipelines.data.apply.results import Outcome, column_arrays, joined, outcome
from pipelines.models import packaging
from vae.data.conditions import write_condition
from vae.data.manifest import SPLITS
from vae.data.parquet import rows_per_group, write_shard
from vae.data.rows import ATTRIBUTE, IDENTIFIER, LABEL, SOURCE_ROW, arrow_schema
from vae.data.transforms import transform_of
from vae.errors import ConfigError, DataError
from vae.inference.answering import checked, inputs_of, read_latents
from vae.seeds import Stream, derive
from vae.serving import RegisteredVAE
from vae.storage import locate, sha256_of
from vae.training.state import WEIGHTS, load_model

ROW, SPLIT, CONDITION = "row", "split", "condition"
SYNTHETIC, VERSION, SEED = "synthetic", "model_version", "seed"


def pull(uri: str) -> tuple[RegisteredVAE, str]:
    """Returns a registered model, ready to predict, and the SHA-256 of its weights.

    Raises:
        CheckpointError: If it is damaged.
    """
    served = RegisteredVAE()
    with TemporaryDirectory() as scratch:
        folder = packaging.download(uri, Path(scratch))
        served.model = load_model(str(folder), trust_code=True)
        return served, sha256_of(locate(str(folder / WEIGHTS)))


class Worker:
    """A worker that holds the model and makes the files of units."""

    def __init__(self, plan: ApplyPlan, served: RegisteredVAE) -> None:
        self.plan = plan
        self.model = served.model
        self.task, self.params = plan.provenance.task, plan.provenance.params
        self.given = open_input(self.task, plan.source, self.model)

    def write(self, indices: Iterable[int]) -> Iterator[UnitRecord]:
        """Makes the files and records of units, one after the other.

        The next unit is read and the last one written in threads beside the model, so that at most three are held.

        Raises:
            CorruptData: If the input is not what its manifest says.
            DataError: If the model refuses a row, or the disk is full.
        """
        units = [self.plan.units[index] for index in indices]
        with ThreadPoolExecutor(1, "read") as reader, ThreadPoolExecutor(1, "write") as writer:
            read = reader.submit(self._read, units[0]) if units else None
            written: Future[UnitRecord] | None = None
            for unit, following in zip_longest(units, units[1:]):
                assert read is not None
                group = read.result()
                read = reader.submit(self._read, following) if following else None
                made = self.table(unit, group)
                if written:
                    yield written.result()
                written = writer.submit(self._store, unit, *made)
            if written:
                yield written.result()

    def _read(self, unit: Unit) -> Group | None:
        return None if unit.group is None else self.given.read(unit.split, unit.group)

    def _store(self, unit: Unit, table: pa.Table, examples: bool, labels: Any) -> UnitRecord:
        few = [name for name in (SPLIT, CONDITION, SYNTHETIC, VERSION, SEED) if name in table.column_names]
        tabular = examples and transform_of(self.plan.example).stored_row_bytes is None
        group_rows = rows_per_group(self.plan.example) if examples else max(1, unit.rows)
        location = locate(self.plan.output) / unit.shard
        shard = write_shard(location, table, group_rows, None if tabular else few)
        classes = self.plan.example.classes if examples else None
        counts = np.bincount(labels, minlength=len(classes)).tolist() if classes and labels is not None else []
        types = {field.name: str(field.type) for field in table.schema}
        record = UnitRecord(index=unit.index, shard=shard, examples=examples, columns=types, class_counts=tuple(counts))
        keep(self.plan, record)
        return record

    def probe(self) -> None:
        """Asks the model for one row, so that it refuses before any work.

        Raises:
            ConfigError: If the model refuses; repeats its message.
        """
        unit = next((unit for unit in self.plan.units if not self._is_copied(unit)), None)
        if unit is None:
            raise DataError(f"{self.plan.source} has no rows")
        try:
            self._call(unit, self._read(unit), slice(0, 1))
        except ValueError as error:
            raise ConfigError(f"{self.plan.provenance.model} version {self.plan.provenance.version}: {error}") from None

    def table(self, unit: Unit, group: Group | None) -> tuple[pa.Table, bool, Any]:
        """Returns a unit's rows, made of a row group or drawn; whether they are examples; and their labels [N]."""
        if self._is_copied(unit):
            assert group is not None
            return self._examples(unit, group.table, group.labels, None), True, group.labels
        calls = range(0, unit.rows, self.plan.provenance.rows_per_call)
        parts = [slice(start, min(start + calls.step, unit.rows)) for start in calls]
        try:
            made = joined([self._call(unit, group, part) for part in parts])
        except ValueError as error:
            if isinstance(error, DataError):
                raise
            rows = f"{unit.split} rows {unit.first:,} to {unit.first + unit.rows:,}"
            raise DataError(f"{self.plan.source}, {rows}: {error}") from None
        if isinstance(made, dict):
            return self._columns(unit, group, made), False, None
        labels = self._labels(unit, slice(0, unit.rows)) if group is None else group.labels
        transform = transform_of(self.plan.example)
        unchanged = group.table if group is not None and self.task not in (GENERATE, AUGMENT, DECODE) else None
        arrays = transform.to_arrow(transform.aligned(made, self.model.examples), unchanged)
        table = pa.table(arrays, schema=pa.schema(transform.fields()))
        return self._examples(unit, table, labels, None if group is None else group.table), True, labels

    def _is_copied(self, unit: Unit) -> bool:
        return self.task == AUGMENT and unit.group is not None

    def _call(self, unit: Unit, group: Group | None, part: slice) -> Outcome:
        """Asks the model about some rows of a unit."""
        params = {name: value for name, value in self.params.items() if name not in PARAMS_OF_AUGMENT}
        params |= {"task": GENERATE if self.task == AUGMENT else self.task, "seed": self._seed(unit, part.start)}
        task, request = checked(self.model, params | ({"n": part.stop - part.start} if self._is_drawn else {}))
        where = f"task {self.task}"
        if task.takes_pairs(request):
            raise ValueError(
                f"{where}: it works on pairs of rows, and a dataset has none; such a task is for `predict`"
            )
        values = None if self._is_drawn or group is None else group.values[part]
        if values is None:
            x, observed = torch.empty(part.stop - part.start, 0), None
        elif self.task == DECODE:
            x, observed = read_latents(self.model, values, request), None
        else:
            own = torch.from_numpy(values if values.flags.writeable else values.copy())
            x, observed = transform_of(self.model.examples).take(own, where)
        told = task.takes != "rows or pairs" or bool(request.condition)
        empty = task.takes == "rows that may be empty"
        conditions_NK = self._conditions(unit, group, part)
        inputs = inputs_of(self.model, x, observed, request, conditions_NK=conditions_NK, told=told, empty=empty)
        return outcome(task.run(self.model, inputs, request), self.task, self.model.examples, values)

    @property
    def _is_drawn(self) -> bool:
        return self.task in (AUGMENT, GENERATE)

    def _conditions(self, unit: Unit, group: Group | None, part: slice) -> NDArray[np.float32] | None:
        """Returns the conditions of some rows, [N,K]; None for those of the parameters."""
        if self.task == AUGMENT:
            return self._labels(unit, part).astype(np.float32)[:, None]
        if self.params.get(CONDITION) or group is None or group.conditions is None:
            return None
        return group.conditions[part]

    def _seed(self, unit: Unit, start: int) -> int:
        split = SPLITS.index(unit.split)
        return derive(self.plan.provenance.seed, Stream.APPLICATION, split, unit.first + start)

    def _labels(self, unit: Unit, part: slice) -> np.ndarray:
        """Returns the labels of drawn rows: all of the first class, then all of the second."""
        return np.arange(unit.first + part.start, unit.first + part.stop) // self.params["per_class"]

    def _examples(self, unit: Unit, values: pa.Table, labels: Any, beside: pa.Table | None) -> pa.Table:
        """Returns rows of a dataset with the number of the input's row, and for `augment` the origin of each.

        Args:
            unit: The unit.
            values: Table with at least the columns of the examples.
            labels: Class indices [N]; None without classes.
            beside: Table to take the attributes from; None for `values`.
        """
        plan, rows = self.plan, len(values)
        schema = arrow_schema(plan.example)
        numbers = pa.array(np.arange(unit.first, unit.first + rows))
        known = beside if beside is not None else values
        columns = {}
        for field in schema:
            if field.name in values.column_names and field.name != LABEL:
                columns[field.name] = values.column(field.name)
            elif field.name.startswith(ATTRIBUTE):
                there = field.name in known.column_names
                columns[field.name] = (
                    known.column(field.name) if there else pa.array(np.full(rows, np.nan), pa.float32())
                )
        if plan.example.classes is not None:
            columns[LABEL] = pa.array(labels, pa.int32())
        columns[SOURCE_ROW] = numbers
        made = pa.table([columns[name] for name in schema.names], schema=schema)
        if self.task != AUGMENT:  # whose drawn rows have none
            for name in (name for name in known.column_names if name.startswith(IDENTIFIER)):
                made = made.append_column(name, known.column(name))
        origins = self._origins(unit, rows) if self.task == AUGMENT else {}
        for name, array in {ROW: numbers, **origins}.items():
            made = made.append_column(_free(name, made.column_names), array)
        return made

    def _origins(self, unit: Unit, rows: int) -> dict[str, pa.Array]:
        """Returns columns that tell the drawn rows of `augment` from the kept ones, with the model and the seed of each."""
        provenance, drawn = self.plan.provenance, unit.group is None
        version = f"{provenance.model}/{provenance.version}"
        seeds = [self._seed(unit, row - row % provenance.rows_per_call) if drawn else None for row in range(rows)]
        return {
            SYNTHETIC: pa.array([drawn] * rows),
            VERSION: pa.array([version if drawn else None] * rows, pa.string()),
            SEED: pa.array(seeds, pa.int64()),
        }

    def _columns(self, unit: Unit, group: Group | None, columns: Mapping[str, NDArray[Any]]) -> pa.Table:
        """Returns results that are not examples, each with the split and the row of its input."""
        fields, arrays = column_arrays(columns)
        rows = unit.rows
        front: dict[str, pa.Array] = {
            SPLIT: pa.array([unit.split] * rows),
            ROW: pa.array(np.arange(unit.first, unit.first + rows)),
        }
        told = self.model.conditions
        if group is not None and told and not self.params.get(CONDITION):
            texts = (
                [None] * rows if group.conditions is None else [write_condition(told, row) for row in group.conditions]
            )
            front[CONDITION] = pa.array(texts, pa.string())
        if group is not None:
            named = [name for name in group.table.column_names if name.startswith(IDENTIFIER)]
            front |= {name.removeprefix(IDENTIFIER): group.table.column(name).combine_chunks() for name in named}
        taken = [field.name for field in fields]
        fields = [*(pa.field(_free(name, taken), array.type) for name, array in front.items()), *fields]
        return pa.Table.from_arrays([*front.values(), *arrays], schema=pa.schema(fields))


def _free(name: str, taken: list[str]) -> str:
    """Returns a name, with underscores added until no column has it."""
    while name in taken:
        name += "_"
    return name
