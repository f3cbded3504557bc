"""Files below a local folder, with symbolic links followed."""

from __future__ import annotations

import errno
import os
import shlex
import stat
from collections.abc import Sequence

from vae import progress
from vae.errors import DataError

_SHOWN = 3


def walk(root: str) -> tuple[list[tuple[str, int]], list[str]]:
    """Returns the relative path and the size in bytes of each file that is not hidden, and what to say of links.

    Raises:
        DataError: If a name is not UTF-8.
        OSError: If a folder cannot be read.
    """
    files: list[tuple[str, int]] = []
    lost: list[str] = []
    root = root.rstrip("/")
    start = len(root) + 1
    for folder, folders, names in os.walk(root, followlinks=True, onerror=_raise):
        folders[:] = [name for name in folders if not name.startswith(".") and not _is_loop(folder, name, lost)]
        progress.report("listing files", len(files), unit="files")
        for name in names:
            if name.startswith("."):
                continue
            path = f"{folder}/{name}"
            try:
                facts = os.stat(path)
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ELOOP):
                    raise
                lost.append(path)
                continue
            if stat.S_ISREG(facts.st_mode):
                files.append((path[start:], facts.st_size))
    _refuse_strange_names(root, [path for path, _ in files])
    return sorted(files), [_lost_links(root, lost)] if lost else []


def unreadable(source: str, error: Exception, paths: Sequence[str] = ()) -> DataError:
    """Returns the error for a source that the system does not let us read.

    Args:
        source: The source as the user named it.
        error: Error of the system, or of a connection.
        paths: Full paths of all local files of the source.
    """
    if not isinstance(error, PermissionError):
        name = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else error
        return DataError(f"{source}: cannot be read: {name}. Try again, or fetch the source once more")
    closed = [path for path in paths if not os.access(path, os.R_OK, effective_ids=True)] or [
        str(error.filename or source)
    ]
    shown = ", ".join(closed[:_SHOWN]) + (", …" if len(closed) > _SHOWN else "")
    return DataError(
        f"{source}: permission denied for {len(closed):,} file{'s' * (len(closed) != 1)} ({shown}). Their owner can allow "
        f"it: chmod -R a+rX {shlex.quote(source)}"
    )


def _raise(error: OSError) -> None:
    raise error


def _is_loop(folder: str, name: str, lost: list[str]) -> bool:
    """Returns whether a folder is a link to one that holds it, and keeps its path."""
    path = os.path.join(folder, name)
    if not os.path.islink(path):
        return False
    loops = os.path.commonpath([target := os.path.realpath(path), os.path.realpath(folder)]) == target
    lost += [path] if loops else []
    return loops


def _lost_links(root: str, lost: Sequence[str]) -> str:
    shown = ", ".join(f"{os.path.relpath(path, root)} → {os.readlink(path)}" for path in lost[:_SHOWN])
    noun = "symbolic link that leads" if len(lost) == 1 else "symbolic links that lead"
    return f"{len(lost):,} {noun} to no file left out ({shown}{', …' if len(lost) > _SHOWN else ''})"


def _refuse_strange_names(root: str, paths: Sequence[str]) -> None:
    strange = [path for path in paths if not _is_utf8(path)]
    if not strange:
        return
    parts = strange[0].split("/")
    place = next(number for number, part in enumerate(parts) if not _is_utf8(part))
    old = os.fsencode(os.path.join(root, *parts[: place + 1]))
    new = old.decode("latin-1") if _is_utf8(root) else "NEW_NAME"
    written = "".join(chr(byte) if 32 <= byte < 127 and byte not in b"'\\" else f"\\x{byte:02x}" for byte in old)
    raise DataError(
        f"{root}: {len(strange):,} file name{'s' * (len(strange) != 1)} not in UTF-8, which a manifest cannot hold. Rename "
        f"each file or folder, the first with: mv -- $'{written}' {shlex.quote(new)}"
    )


def _is_utf8(name: str) -> bool:
    return name.isascii() or not any("\ud800" <= sign <= "\udfff" for sign in name)
