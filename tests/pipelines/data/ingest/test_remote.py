"""The same on a filesystem that is not this machine's."""

from __future__ import annotations

import functools

import fsspec
import pytest

from pipelines.data.ingest import IngestConfig, ingest, plan_ingest, publish, write_chunk
from pipelines.data.ingest.staging import staging_location
from vae.data.catalog import resolve
from vae.data.parquet import Dataset


@pytest.fixture
def remote() -> str:
    """A home in an object store of this process, with nothing in it."""
    store = fsspec.filesystem("memory")
    if store.exists("/betaline"):
        store.rm("/betaline", recursive=True)
    return "fsspec+memory://betaline/home"


def test_remote_home_holds_the_same_dataset(pictures, remote, make) -> None:
    """A dataset in an object store has the identity and the shards of a local one, and reads back checked."""
    config = IngestConfig(source=str(pictures), name="d")
    result = ingest(config, remote, map)
    assert ingest(config, remote, map).reused
    local, there = make(pictures), Dataset.open(resolve(remote, "d"))
    assert there.manifest.splits == Dataset.open(local.uri).manifest.splits
    assert result.dataset_id == local.dataset_id
    there.verify()
    rows = there.read_rows("train", 0, there.num_rows("train"))
    assert (rows.values == Dataset.open(local.uri).read_rows("train", 0, len(rows.values)).values).all()


def test_remote_source_is_read(pictures, remote, make) -> None:
    """A folder in an object store is the same source as on a disk."""
    fsspec.filesystem("memory").put(f"{pictures}/", "/betaline/pictures/", recursive=True)
    assert make("fsspec+memory://betaline/pictures").dataset_id == make(pictures).dataset_id


def test_remote_publishing_twice_keeps_the_first_manifest(pictures, remote) -> None:
    """Where no lock holds off an identical ingest, the second finds the shards moved and the manifest written."""
    todo = plan_ingest(IngestConfig(source=str(pictures), name="d"))
    folder = staging_location(remote, "d", todo.dataset_id)
    write = functools.partial(write_chunk, todo.work, staging_uri=folder.uri)
    records = [write(number) for number in range(len(todo.work.chunks))]
    first = publish(todo, records, remote)
    assert publish(todo, records, remote) == first
    Dataset.open(resolve(remote, "d")).verify()
