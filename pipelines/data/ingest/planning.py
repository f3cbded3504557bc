"""What an ingest will do: which row goes into which shard of which split, and what the result is called."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pyarrow import fs

from pipelines.data.ingest.chunks import Chunk, ChunkWork
from pipelines.data.ingest.splits import assign_splits, draw_rows, order_rows
from pipelines.data.sources import BUILT_IN, IngestConfig, RejectedSource, Survey, survey_source
from vae.data.manifest import SPLITS, SplitName, derive_dataset_id
from vae.data.parquet import rows_per_group
from vae.data.schema import ExampleSpec
from vae.errors import DataError
from vae.storage import locate

# A chunk is a shard: about a sixteenth of the source, so that a few workers share even a small one evenly.
_CHUNKS_WANTED, _MIN_CHUNK_BYTES, _MAX_CHUNK_BYTES = 16, 4 << 20, 128 << 20

ADVICE = "Mend the source, or leave bad examples out with --on-bad quarantine"


@dataclass(frozen=True)
class IngestPlan:
    """All that an ingest will do. Picklable."""

    config: IngestConfig
    survey: Survey
    work: ChunkWork

    @property
    def dataset_id(self) -> str:
        """The identity of the dataset it makes."""
        return self.work.dataset_id

    @property
    def num_rows(self) -> dict[SplitName, int]:
        """Rows planned for each split, before any that cannot be decoded are left out."""
        return {split: len(rows) for split, rows in self.work.order.items()}


def plan(config: IngestConfig) -> IngestPlan:
    """Survey the source, assign splits, and cut the shuffled rows into chunks.

    Raises:
        RejectedSource: With everything that is wrong, unless bad examples go to quarantine.
        DataError: If the source cannot be ingested whatever is left out.
    """
    config = config.absolute()
    survey = survey_source(config)
    if survey.problems and config.on_bad == "reject":
        raise RejectedSource(config.source, survey.problems, ADVICE)
    survey = draw_rows(survey, config.max_rows, config.seed)
    splits, problems = assign_splits(survey, config.split, config.seed)
    if problems:
        raise RejectedSource(
            config.source,
            problems,
            "Add examples, leave the class out, or hold nothing out (--split 0,0)",
        )
    order = order_rows(survey, splits, config.seed)
    if not any(len(rows) for rows in order.values()):
        left = f" left: all {survey.num_rows:,} are bad" if survey.num_rows else ""
        raise DataError(f"{config.source}: 0 examples{left}")
    if not len(order["train"]):
        raise DataError(f"{config.source}: 0 examples for training. Add examples, or hold fewer out")
    # A file is the same whatever it is called; within a folder, names tell classes and splits.
    single = config.source not in BUILT_IN and locate(config.source).info().type == fs.FileType.File
    sources = [file.sha256 if single else f"{file.sha256} {file.path}" for file in survey.files]
    group_rows, chunks = _cut(order, row_bytes(survey.example))
    work = ChunkWork(
        dataset_id=derive_dataset_id(sources, config.identity()),
        reader=survey.reader,
        example=survey.schema,
        order=order,
        labels=survey.labels,
        chunks=chunks,
        group_rows=group_rows,
        attribute_values=survey.attribute_values,
    )
    return IngestPlan(config, survey, work)


def row_bytes(example: ExampleSpec) -> int:
    """Bytes of one example in memory, about."""
    # Eight bytes for a number or a short text: an estimate, for the size of chunks.
    return max(8, example.row_bytes) if example.columns is not None else example.row_bytes


def _cut(order: dict[SplitName, NDArray[np.int64]], row_bytes: int) -> tuple[int, tuple[Chunk, ...]]:
    """(rows of a row group, chunks of whole row groups)."""
    group_rows = rows_per_group(row_bytes)
    total = sum(len(rows) for rows in order.values()) * row_bytes
    wanted = min(max(total // _CHUNKS_WANTED, _MIN_CHUNK_BYTES), _MAX_CHUNK_BYTES)
    rows = group_rows * max(1, wanted // (group_rows * row_bytes))
    chunks = [
        Chunk(split, start, min(start + rows, len(order[split])), f"{split}-{start // rows:05d}.parquet")
        for split in SPLITS
        for start in range(0, len(order[split]), rows)
    ]
    return group_rows, tuple(chunks)
