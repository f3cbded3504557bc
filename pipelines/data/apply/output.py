"""The folder that `apply` writes: one file and one record for each unit, and a manifest that is written last.

Until then `.unfinished/` holds what was asked for and the records. By them the same command goes on where an earlier one
was killed, and any other is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import numpy as np
from pyarrow import fs
from pydantic import BaseModel, ConfigDict, ValidationError

from pipelines.data.apply.manifests import Columns, read_manifest
from pipelines.data.apply.planning import ApplyPlan, Unit
from vae.config import differences
from vae.data.manifest import FORMAT_VERSION, MANIFEST_NAME, SPLITS, Manifest, Shard, SplitName
from vae.errors import ConfigError, CorruptData
from vae.storage import Location, locate, sha256_of, write_whole

UNFINISHED, ASKED = ".unfinished", "asked.json"
_VERIFIERS = 4


class UnitRecord(BaseModel):
    """Record of a finished unit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    index: int
    shard: Shard
    examples: bool
    """Whether the file holds examples; else it holds columns of results."""
    columns: dict[str, str]
    class_counts: tuple[int, ...]


def claim(plan: ApplyPlan) -> Manifest | Columns | None:
    """Claims the output folder for a plan; returns its manifest where it is finished already, else None.

    Raises:
        ConfigError: If the folder holds anything else.
        CorruptData: If it is finished and a file is missing or has another size.
    """
    folder = locate(plan.output)
    wanted = plan.provenance.model_dump(mode="json")
    found = read_manifest(folder)
    if found is not None:
        stored = found.ingest if isinstance(found, Manifest) else found.provenance.model_dump(mode="json")
        _refuse_another(folder, stored, wanted)
        _check_sizes(folder, found)
        return found
    asked = folder / UNFINISHED / ASKED
    if not asked.exists():
        if entries := folder.list():
            raise ConfigError(
                f"{folder.uri} holds {len(entries)} files or folders that `betaline apply` did not write, such as "
                f"{min(entry.base_name for entry in entries)}; give an OUTPUT that is empty or not there yet"
            )
        folder.filesystem.create_dir((folder / UNFINISHED).path, recursive=True)
        write_whole(asked, json.dumps(wanted, indent=1).encode(), overwrite=False)
    _refuse_another(folder, json.loads(asked.read()), wanted)
    return None


def keep(plan: ApplyPlan, record: UnitRecord) -> None:
    """Writes a unit's record, after the unit's file: a later attempt checks the file against it."""
    write_whole(_record_of(plan, plan.units[record.index]), record.model_dump_json().encode(), synced=False)


def finished_units(plan: ApplyPlan) -> list[UnitRecord]:
    """Returns the records of an earlier attempt whose files are intact."""
    with ThreadPoolExecutor(_VERIFIERS) as pool:
        return [record for record in pool.map(lambda unit: _finished(plan, unit), plan.units) if record]


def publish(plan: ApplyPlan, records: Iterable[UnitRecord]) -> Manifest | Columns:
    """Writes the manifest without overwriting another, and removes the records."""
    done = sorted(records, key=lambda record: record.index)
    assert [record.index for record in done] == list(range(len(plan.units))), "every unit, and each once"
    folder = locate(plan.output)
    manifest = _dataset(plan, done) if done[0].examples else _columns(plan, done)
    write_whole(folder / MANIFEST_NAME, manifest.model_dump_json(indent=1).encode(), overwrite=False)
    unfinished = folder / UNFINISHED
    if unfinished.exists():
        folder.filesystem.delete_dir(unfinished.path)
    return manifest


def _dataset(plan: ApplyPlan, done: Sequence[UnitRecord]) -> Manifest:
    counts: dict[SplitName, tuple[int, ...]] = {}
    for split in SPLITS if plan.example.classes else ():
        if of_units := [record.class_counts for record in done if plan.units[record.index].split == split]:
            counts[split] = tuple(np.sum(of_units, axis=0).tolist())
    return Manifest.made_now(
        dataset_id=plan.identity,
        name=plan.name,
        example=plan.example,
        splits=_shards(plan, done),
        class_counts=counts,
        sources=plan.sources,
        ingest=plan.provenance.model_dump(mode="json"),
    )


def _columns(plan: ApplyPlan, done: Sequence[UnitRecord]) -> Columns:
    return Columns(
        format_version=FORMAT_VERSION,
        dataset_id=plan.identity,
        name=plan.name,
        created_at=datetime.now(UTC),
        columns=done[0].columns,
        splits=_shards(plan, done),
        provenance=plan.provenance,
    )


def _shards(plan: ApplyPlan, done: Sequence[UnitRecord]) -> dict[SplitName, tuple[Shard, ...]]:
    """Returns the files of each split in the order of the input's rows."""
    shards: dict[SplitName, tuple[Shard, ...]] = {}
    for split in SPLITS:
        if found := tuple(record.shard for record in done if plan.units[record.index].split == split):
            shards[split] = found
    return shards


def _record_of(plan: ApplyPlan, unit: Unit) -> Location:
    return locate(plan.output) / UNFINISHED / f"{unit.shard}.json"


def _finished(plan: ApplyPlan, unit: Unit) -> UnitRecord | None:
    file, place = locate(plan.output) / unit.shard, _record_of(plan, unit)
    if file.info().type != fs.FileType.File or not place.exists():
        return None
    try:
        record = UnitRecord.model_validate_json(place.read())
    except ValidationError:
        return None  # cut short, where files are not written whole: the unit is done again
    shard = record.shard
    same = (record.index, shard.path, shard.rows) == (unit.index, unit.shard, unit.rows)
    return record if same and file.info().size == shard.bytes and sha256_of(file) == shard.sha256 else None


def _refuse_another(folder: Location, stored: dict[str, Any], wanted: dict[str, Any]) -> None:
    if stored == wanted:
        return
    raise ConfigError(
        f"{folder.uri} holds another run of `betaline apply`, or a dataset: {'; '.join(differences(stored, wanted)[:20])}. "
        "Give another OUTPUT, or remove that folder"
    )


def _check_sizes(folder: Location, manifest: Manifest | Columns) -> None:
    for shard in (shard for shards in manifest.splits.values() for shard in shards):
        found = (folder / shard.path).info()
        if found.type != fs.FileType.File or found.size != shard.bytes:
            raise CorruptData(
                f"{(folder / shard.path).uri}: expected {shard.bytes:,} bytes, found {found.size or 0:,}. Remove "
                f"{folder.uri} and run the same command again"
            )
