"""Where a dataset is put together before it is published: one folder for each identity, locked while used.

A killed ingest leaves its folder behind, and the same ingest goes on from there. Any other ingest of that
name sweeps it away. Whether a folder is in use is told by a lock that the kernel drops with its process; on
an object store, which has no locks, by its age.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pyarrow import fs

from vae.data.manifest import MANIFEST_NAME
from vae.storage import Location, explain_full_disk, locate

STAGING = ".staging"
_ABANDONED_AFTER = timedelta(days=1)

logger = logging.getLogger(__name__)


def dataset_location(home: str, name: str, dataset_id: str) -> Location:
    """Where a dataset is published."""
    return locate(home) / "datasets" / name / dataset_id


def staging_location(home: str, name: str, dataset_id: str) -> Location:
    """Where a dataset is put together."""
    return locate(home) / "datasets" / name / STAGING / dataset_id


@contextlib.contextmanager
def staging(home: str, name: str, dataset_id: str) -> Iterator[Location]:
    """The staging folder of a dataset, held against other ingests, after abandoned ones are swept.

    Waits while another ingest of the same dataset on the same disk is at work. The folder stays where the
    body raises, so that the same ingest can go on from it.
    """
    folder = staging_location(home, name, dataset_id)
    with _held(folder, wait=True):
        sweep(home, name, keep=dataset_id)
        with explain_full_disk(folder):
            folder.filesystem.create_dir(folder.path, recursive=True)
        yield folder


def sweep(home: str, name: str, keep: str) -> list[str]:
    """Remove what abandoned ingests of a name left behind.

    Args:
        keep: The identity that is being made now.

    Returns:
        The folders removed.
    """
    root = locate(home) / "datasets" / name
    staged = {info.base_name for info in (root / STAGING).list() if info.type == fs.FileType.Directory}
    # A publish that was cut short leaves shards in the dataset's folder, without the manifest that comes
    # last.
    unfinished = {
        info.base_name
        for info in root.list()
        if info.type == fs.FileType.Directory
        and len(info.base_name) == 64
        and not (root / info.base_name / MANIFEST_NAME).exists()
    }
    removed = []
    for identity in sorted((staged | unfinished) - {keep}):
        folder = root / STAGING / identity
        with _held(folder, wait=False) as held:
            both = (folder, root / identity)
            if held and (folder.is_local or _is_old(both)):
                for location in both:
                    if location.exists() and not (location / MANIFEST_NAME).exists():
                        remove(location)
                        removed.append(location.uri)
    if removed:
        logger.info("swept %d abandoned folders of %s", len(removed), root.uri)
    return removed


def remove(folder: Location) -> None:
    """Remove a folder and all it holds."""
    if folder.is_local:
        shutil.rmtree(folder.path)
    elif folder.exists():  # unless an identical ingest, which no lock holds off there, removed it first
        folder.filesystem.delete_dir(folder.path)


def _is_old(folders: Iterable[Location]) -> bool:
    """Whether nothing in the folders was written for a day. What has no time at all is left alone."""
    infos = [info for folder in folders for info in folder.list() if info.type == fs.FileType.File]
    times = [info.mtime for info in infos if info.mtime is not None]
    return bool(times) and datetime.now(UTC) - max(times) > _ABANDONED_AFTER


@contextlib.contextmanager
def _held(folder: Location, *, wait: bool) -> Iterator[bool]:
    """Hold a staging folder's lock. Gives whether it is held; without `wait`, False where another holds
    it.
    """
    if not folder.is_local:
        yield True
        return
    path = Path(f"{folder.path}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with explain_full_disk(folder):
        handle = _lock(path, wait=wait)
    if handle is None:
        yield False
        return
    try:
        yield True
    finally:
        path.unlink(missing_ok=True)
        os.close(handle)


def _lock(path: Path, *, wait: bool) -> int | None:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not wait:
                os.close(handle)
                return None
            logger.info("another ingest of the same dataset is at work; waiting for it (%s)", path)
            fcntl.flock(handle, fcntl.LOCK_EX)
        # The last holder removes the file: a lock on a removed file holds nobody off.
        if path.exists() and os.fstat(handle).st_ino == path.stat().st_ino:
            return handle
        os.close(handle)
