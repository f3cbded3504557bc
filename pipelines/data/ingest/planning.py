"""The plan of an ingest: the split and the shard of every row, and the identity of the dataset."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from pyarrow import fs

from pipelines.data.ingest.chunks import Chunk, ChunkWork
from pipelines.data.ingest.splits import assign_splits, draw_rows, order_rows
from pipelines.data.sources import IngestConfig, RejectedSource, Survey, survey_source
from vae.data.manifest import SPLITS, SplitName, derive_dataset_id
from vae.data.parquet import rows_per_group
from vae.data.schema import ExampleSpec
from vae.errors import DataError
from vae.storage import locate

# A chunk becomes a shard. It is about a sixteenth of the source, so that a few workers share even a small source evenly.
_CHUNKS_WANTED, _MIN_CHUNK_BYTES, _MAX_CHUNK_BYTES = 16, 4 << 20, 128 << 20
# Rows of a table are taken from all over their file, and are in memory twice while they are written.
_MAX_TABLE_CHUNK_BYTES = 32 << 20

ADVICE = "Mend the source, or leave bad examples out with --on-bad quarantine"


@dataclass(frozen=True)
class IngestPlan:
    """The plan of an ingest. Picklable."""

    config: IngestConfig
    survey: Survey
    work: ChunkWork

    @property
    def dataset_id(self) -> str:
        """Identity of the resulting dataset."""
        return self.work.dataset_id

    @property
    def num_rows(self) -> dict[SplitName, int]:
        """Number of rows planned for each split, with the rows that turn out undecodable."""
        return {split: len(rows) for split, rows in self.work.order.items()}


def plan_ingest(config: IngestConfig) -> IngestPlan:
    """Surveys the source, assigns splits, and cuts the shuffled rows into chunks.

    Raises:
        RejectedSource: If examples are bad and the configuration rejects them; holds every problem.
        DataError: If the source cannot be ingested, even without its bad examples.
    """
    config = config.absolute()
    survey = survey_source(config)
    if survey.problems and config.on_bad == "reject":
        raise RejectedSource(config.source, survey.problems, ADVICE)
    survey = draw_rows(survey, config.max_rows, config.seed)
    splits, problems = assign_splits(survey, config.split, config.seed)
    if problems:
        advice = "Add examples, leave the class out, or hold nothing out (--split 0,0)"
        raise RejectedSource(config.source, problems, advice)
    order = order_rows(survey, splits, config.seed)
    if not any(len(rows) for rows in order.values()):
        cause = f" left: all {survey.num_rows:,} are bad" if survey.num_rows else ""
        raise DataError(f"{config.source}: 0 examples{cause}")
    if not len(order["train"]):
        raise DataError(f"{config.source}: 0 examples for training. Add examples, or hold fewer out")
    return IngestPlan(config, survey, _work(config, survey, order))


def _work(config: IngestConfig, survey: Survey, order: dict[SplitName, NDArray[np.int64]]) -> ChunkWork:
    # A single file's name does not matter; in a folder, names give classes and splits.
    single = config.is_address or (config.has_files and locate(config.source).info().type == fs.FileType.File)
    sources = [file.sha256 if single else f"{file.sha256} {file.path}" for file in survey.files]
    group_rows, chunks = _cut(order, survey.example)
    understood = {"understood": [one.reading() for one in survey.understood]} if survey.understood else {}
    reading = {"reading": list(survey.reading)} if survey.reading else {}
    identity = derive_dataset_id(sources, config.identity() | understood | reading)
    lean = replace(survey, files=(), own_splits=None, excluded=None, groups=None, problems=(), understood=())
    return ChunkWork(identity, lean, order, chunks, group_rows)


def _cut(order: dict[SplitName, NDArray[np.int64]], example: ExampleSpec) -> tuple[int, tuple[Chunk, ...]]:
    """Returns the number of rows of a row group, and chunks of whole row groups."""
    group_rows, row_bytes = rows_per_group(example), example.row_bytes
    total = sum(len(rows) for rows in order.values()) * row_bytes
    most = _MAX_CHUNK_BYTES if example.columns is None else _MAX_TABLE_CHUNK_BYTES
    wanted = min(max(total // _CHUNKS_WANTED, _MIN_CHUNK_BYTES), most)
    rows = group_rows * max(1, wanted // (group_rows * row_bytes))
    chunks = [
        Chunk(split, start, min(start + rows, len(order[split])), f"{split}-{start // rows:05d}.parquet")
        for split in SPLITS
        for start in range(0, len(order[split]), rows)
    ]
    return group_rows, tuple(chunks)
