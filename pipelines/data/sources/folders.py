"""Facts in the paths of a source's files: splits, and the keys of Hive folders such as year=2020."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.data.sources.tables.raw import RawTable
from vae.data.manifest import SPLITS

SPLIT_NAMES = {
    "train": 0, "training": 0, "val": 1, "valid": 1, "validation": 1, "test": 2, "testing": 2,
}  # fmt: skip
"""Split, as an index into SPLITS, by the name of a folder."""
_PREFIX = re.compile(rf"(?i)({'|'.join(sorted(SPLIT_NAMES, key=len, reverse=True))})(?![a-z])")
_NULL = "__HIVE_DEFAULT_PARTITION__"
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_SPLIT = "split"


def split_of(path: str) -> int | None:
    """Returns the split that a file's folder or name says, as an index into SPLITS; None if it says none.

    Examples: `split=train/a.parquet`, `train/a.csv`, `data/test-00000-of-00001.parquet`, `validation.csv`.
    """
    *folders, name = path.split("/")
    named = [folder.lower().removeprefix(f"{_SPLIT}=") for folder in folders]
    known = [SPLIT_NAMES[folder] for folder in named if folder in SPLIT_NAMES]
    if known:
        return known[0]
    found = _PREFIX.match(name)
    return SPLIT_NAMES[found[1].lower()] if found else None


def own_splits(paths: Sequence[str], sizes: Sequence[int]) -> NDArray[np.uint8] | None:
    """Returns the split of each row of some files, as an index into SPLITS, if all paths say one and there are several."""
    splits = [split_of(path) for path in paths]
    if None in splits or len(set(splits)) < 2:
        return None
    return np.repeat(np.array(splits, np.uint8), sizes)


@dataclass(frozen=True)
class HiveKeys:
    """Keys that all paths of a source have, which become columns."""

    types: tuple[tuple[str, str], ...] = ()
    """Name of each key, and the Arrow type of its values: integers if all are, else text."""

    @classmethod
    def of(cls, paths: Sequence[str], columns: Sequence[str] = ()) -> HiveKeys:
        """Returns the keys of the paths, but for `split` where it names the splits, and for columns of the files."""
        pairs = [_pairs(path) for path in paths]
        names = [name for name in pairs[0] if name not in columns and all(name in pair for pair in pairs)]
        if _SPLIT in names and all(pair[_SPLIT].lower() in SPLIT_NAMES for pair in pairs):
            names.remove(_SPLIT)
        values = {name: {pair[name] for pair in pairs} - {_NULL} for name in names}
        return cls(tuple((name, "int64" if all(map(_INTEGER.fullmatch, values[name])) else "string") for name in names))

    def add_to(self, raw: RawTable, path: str) -> RawTable:
        """Returns the rows of a file with a column for each key."""
        pairs, table = _pairs(path), raw.table
        for name, dtype in self.types:
            kind = pa.string() if raw.is_text else pa.type_for_alias(dtype)
            value = None if pairs[name] == _NULL else pa.scalar(pairs[name]).cast(kind)
            column = pa.nulls(len(table), kind) if value is None else pa.repeat(value, len(table))
            table = table.append_column(name, column)
        return replace(raw, table=table)


def notes_on_splits(paths: Sequence[str]) -> list[str]:
    """Returns what to say of splits by the paths of files."""
    splits = own_splits(paths, [1] * len(paths))
    if splits is None:
        return []
    counts = ", ".join(f"{SPLITS[split]} {(splits == split).sum():,}" for split in np.unique(splits))
    return [f"splits by the names of the files or their folders (files: {counts})"]


def notes_on_keys(paths: Sequence[str], keys: HiveKeys) -> list[str]:
    """Returns what to say of the keys of the folders."""
    names = [name for name, _ in keys.types]
    notes = [f"keys of the folders taken as columns: {', '.join(names)}"] if names else []
    has_splits = own_splits(paths, [1] * len(paths)) is not None
    rest = {name for path in paths for name in _pairs(path)} - set(names) - ({_SPLIT} if has_splits else set())
    return [*notes, *([f"keys of the folders left out: {', '.join(sorted(rest))}"] if rest else [])]


def _pairs(path: str) -> dict[str, str]:
    """Returns the keys and values of the folders of a path."""
    parts = [part.partition("=") for part in path.split("/")[:-1]]
    return {unquote(key): unquote(value) for key, mark, value in parts if key and mark}
