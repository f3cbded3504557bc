"""Text of `betaline ingest --dry-run`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from pipelines.cli.summary import counts
from pipelines.data.ingest import DryRun
from vae.data.schema import Column
from vae.data.transforms import transform_of

SHOWN = 20
"""Most columns, classes or problems that are listed; further ones are counted."""


def dry_run_lines(plan: DryRun) -> Iterator[Any]:
    """Yields what an ingest would do: the dataset, its examples, and the examples it would leave out."""
    yield f"Dataset {plan.dataset_id[:12]}{' (exists already)' if plan.exists else ''}: {counts(plan.rows)}."
    yield f"Folder: {escape(plan.uri)}"
    yield f"Source: {plan.num_sources:,} file{'s' * (plan.num_sources != 1)}, {plan.source_bytes:,} bytes"
    yield f"Size: {plan.estimated_bytes:,} bytes before compression, in {plan.chunks:,} chunks"
    if plan.classes is not None:
        yield f"Classes: {_listed(plan.classes)}"
    yield f"Examples: {transform_of(plan.example).summary}"
    if plan.example.columns:
        yield _columns(plan.example.columns)
    if plan.problems:
        yield f"Left out: {len(plan.problems):,} examples"
        yield from (f"  {escape(str(problem))}" for problem in plan.problems[:SHOWN])
    yield from map(escape, plan.notes)


def _columns(columns: Sequence[Column]) -> Table:
    table = Table("column", "kind", "type", "categories", box=None, pad_edge=False)
    for column in columns[:SHOWN]:
        categories = "" if column.categories is None else f"{len(column.categories):,}"
        table.add_row(escape(column.name), column.kind, column.dtype, categories)
    if (more := len(columns) - SHOWN) > 0:
        table.add_row(f"… and {more:,} more")
    return table


def _listed(names: Sequence[str]) -> str:
    more = len(names) - SHOWN
    return escape(", ".join(names[:SHOWN])) + (f" … and {more:,} more" if more > 0 else "")
