"""Text of `betaline ingest`: what it would do, and what it understood of a table's columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from pipelines.cli.summary import counts
from pipelines.cluster.progress import amount
from pipelines.data.ingest import DryRun
from pipelines.data.sources.tables.columns import Understood
from vae.data.transforms import transform_of

SHOWN = 20
"""Most columns, classes or problems that are listed; further ones are counted."""
VALUES = 60
"""Most characters of a column's range and examples."""
_ROLES = {"out": "left out"}


def dry_run_lines(plan: DryRun) -> Iterator[Any]:
    """Yields what an ingest would do: the dataset, its examples, and the examples it would leave out."""
    yield f"Dataset {plan.dataset_id[:12]}{' (exists already)' if plan.exists else ''}: {counts(plan.rows)}."
    yield f"Folder: {escape(plan.uri)}"
    yield f"Source: {plan.num_sources:,} file{'s' * (plan.num_sources != 1)}, {plan.source_bytes:,} bytes"
    yield f"Size: {plan.estimated_bytes:,} bytes before compression, in {plan.chunks:,} chunks"
    if plan.cost is not None:
        needed = (plan.cost.stored_bytes, plan.cost.memory_bytes, plan.cost.temporary_bytes)
        stored, memory, temporary = (amount(number, "bytes") for number in needed)
        yield f"Needs: about {stored} for the dataset; in each process {memory} of memory, {temporary} of temporary files"
    if plan.classes is not None:
        yield f"Classes: {_listed(plan.classes)}"
    yield f"Examples: {transform_of(plan.example).summary}"
    if plan.understood:
        yield from column_lines(plan.understood)
    if plan.problems:
        yield f"Left out: {len(plan.problems):,} examples"
        yield from (f"  {escape(str(problem))}" for problem in plan.problems[:SHOWN])
    yield from map(escape, plan.notes)


def column_lines(columns: Sequence[Understood]) -> Iterator[Any]:
    """Yields a table of what each column was understood to be, and a line for each remark."""
    table = Table("column", "role", "type", "missing", "distinct", "values", box=None, pad_edge=False)
    shown = sorted(columns, key=lambda column: not column.remarks)[:SHOWN] if len(columns) > SHOWN else columns
    for one in shown:
        ends = f"{one.least} … {one.largest}: " if one.least else ""
        cells = [one.name, _ROLES.get(one.role, one.role), one.type, f"{one.missing:,}", f"{one.distinct:,}"]
        values = ends + ", ".join(one.examples)
        cells.append(values if len(values) <= VALUES else f"{values[: VALUES - 1]}…")
        table.add_row(*map(escape, cells), style="" if one.is_stored else "dim")
    if (more := len(columns) - len(shown)) > 0:
        table.add_row(f"… and {more:,} more")
    yield table
    remarks = [f"{one.name}: {remark}." for one in columns for remark in one.remarks]
    yield from map(escape, remarks[:SHOWN])
    if (more := len(remarks) - SHOWN) > 0:
        yield f"… and {more:,} more remarks; all are in columns.yaml beside the dataset's manifest."


def _listed(names: Sequence[str]) -> str:
    more = len(names) - SHOWN
    return escape(", ".join(names[:SHOWN])) + (f" … and {more:,} more" if more > 0 else "")
