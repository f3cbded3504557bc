"""Staging folders: a dataset is written to one, locked while in use, before it is published.

A killed ingest leaves its folder behind, and the same ingest resumes from it. Any other ingest of the same name removes
it. A lock, which the kernel drops with its process, shows that a folder is in use; on an object store without locks, the
folder's age does.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from filelock import FileLock, Timeout
from pyarrow import fs

from vae import progress
from vae.data.manifest import MANIFEST_NAME
from vae.storage import Location, explain_full_disk, locate

STAGING = ".staging"
_ABANDONED_AFTER = timedelta(days=1)

logger = logging.getLogger(__name__)


def dataset_location(home: str, name: str, dataset_id: str) -> Location:
    """Returns the folder of a published dataset."""
    return locate(home) / "datasets" / name / dataset_id


def staging_location(home: str, name: str, dataset_id: str) -> Location:
    """Returns the folder that a dataset is written to before it is published."""
    return locate(home) / "datasets" / name / STAGING / dataset_id


def quarantine_location(home: str, name: str, dataset_id: str) -> Location:
    """Returns the folder of a dataset's bad examples."""
    return locate(home) / "datasets" / name / f"quarantine-{dataset_id[:12]}"


@contextlib.contextmanager
def staging(home: str, name: str, dataset_id: str) -> Iterator[Location]:
    """Yields the locked staging folder of a dataset, after removing abandoned ones.

    Waits while another ingest writes the same dataset on the same disk. If the body raises, the folder stays, so that the
    same ingest can resume from it.
    """
    folder = staging_location(home, name, dataset_id)
    with _held(folder, wait=True):
        sweep(home, name, keep=dataset_id)
        with explain_full_disk(folder):
            folder.filesystem.create_dir(folder.path, recursive=True)
        yield folder


def sweep(home: str, name: str, keep: str) -> list[str]:
    """Removes the folders of abandoned ingests of a name; returns their URIs.

    Args:
        home: Folder of all datasets.
        name: Name of the dataset.
        keep: Identity that is being written now.
    """
    root = locate(home) / "datasets" / name
    staged = {info.base_name for info in (root / STAGING).list() if info.type == fs.FileType.Directory}
    # An interrupted publish leaves shards in the dataset's folder, without the manifest, which is written last.
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
    """Removes a folder and its content."""
    if folder.is_local:
        shutil.rmtree(folder.path)
    elif folder.exists():  # an identical ingest may have removed it: an object store has no locks
        folder.filesystem.delete_dir(folder.path)


def _is_old(folders: Iterable[Location]) -> bool:
    """Returns whether the folders' files were last written more than a day ago; False if they have no times."""
    infos = [info for folder in folders for info in folder.list() if info.type == fs.FileType.File]
    times = [info.mtime for info in infos if info.mtime is not None]
    return bool(times) and datetime.now(UTC) - max(times) > _ABANDONED_AFTER


@contextlib.contextmanager
def _held(folder: Location, *, wait: bool) -> Iterator[bool]:
    """Holds a staging folder's lock, and yields whether it is held: without `wait`, False if another process holds it."""
    if not folder.is_local:
        yield True
        return
    path = Path(f"{folder.path}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    with explain_full_disk(folder), contextlib.suppress(Timeout):
        lock.acquire(blocking=False)
    if not lock.is_locked and wait:
        progress.report("waiting for another ingest of the same dataset")
        lock.acquire()
    try:
        yield lock.is_locked
    finally:
        if lock.is_locked:  # whoever waits sees that the file is gone, and locks a new one
            with contextlib.suppress(PermissionError):  # of Windows, where an open file stays
                path.unlink(missing_ok=True)
        lock.release()
