"""Files on any pyarrow filesystem: where a URI points, and writes that are whole or absent.

A path without a scheme is local. On a local filesystem a file appears under its name only after its bytes are
on the disk; object stores do the same for every object by themselves.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import stat
import tempfile
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
from pyarrow import fs

from vae.errors import DataError

# A colon in what comes before an @ is a password's, unless a port follows it. Also the query's own names for secrets.
_CREDENTIALS = re.compile(r"^[^/]*://[^/?#@]*:(?!\d+(?:[/?]|$)).*@|[?&](?:client_secret|sig)=")


@dataclass(frozen=True)
class Location:
    """A folder or file: the filesystem it is on, its path there, and how to name it to a reader."""

    filesystem: fs.FileSystem
    path: str
    uri: str
    """Name by which `locate` finds it again: a plain path where it is local, else a URI."""

    @property
    def is_local(self) -> bool:
        """Whether the path is one of this machine's own."""
        return isinstance(self.filesystem, fs.LocalFileSystem)

    def __truediv__(self, name: str) -> Location:
        place, options = self._split_uri()
        step = quote(name) if self._is_quoted else name
        return Location(self.filesystem, f"{self.path.rstrip('/')}/{name}", f"{place}/{step}{options}")

    @property
    def parent(self) -> Location:
        """The folder it is in."""
        place, options = self._split_uri()
        path, uri = (text.rpartition("/")[0] for text in (self.path.rstrip("/"), place))
        return Location(self.filesystem, path or "/", f"{uri}{options}" or "/")

    @property
    def _is_quoted(self) -> bool:
        """Whether its URI is one of pyarrow's own; a plain path, and one that fsspec reads, is taken as it is written."""
        return not isinstance(self.filesystem, fs.LocalFileSystem | fs.PyFileSystem)

    def _split_uri(self) -> tuple[str, str]:
        """Returns the URI without the options at its end, and those: "" or "?region=…"."""
        place, mark, options = self.uri.partition("?") if self._is_quoted else (self.uri, "", "")
        return place.rstrip("/"), mark + options

    def info(self) -> fs.FileInfo:
        """Returns the file's or folder's facts; their type is NotFound where nothing exists."""
        info = self.filesystem.get_file_info(self.path)
        assert isinstance(info, fs.FileInfo)
        return info

    def exists(self) -> bool:
        """Returns whether a file or folder exists."""
        return self.info().type != fs.FileType.NotFound

    def list(self, *, recursive: bool = False) -> list[fs.FileInfo]:
        """Lists a folder in no particular order; empty where it does not exist."""
        return self.filesystem.get_file_info(fs.FileSelector(self.path, allow_not_found=True, recursive=recursive))

    def read(self) -> bytes:
        """Reads the whole file."""
        if self.is_local:
            return Path(self.path).read_bytes()
        with self.filesystem.open_input_stream(self.path) as stream:
            return stream.readall()


def locate(uri: str) -> Location:
    """Returns the location of a path or URI. Touches nothing.

    Raises:
        DataError: If the URI's scheme is unknown, its filesystem cannot be reached, or it carries credentials.
    """
    refuse_credentials(uri)
    if "://" not in uri:
        path = Path(os.path.abspath(os.path.expanduser(uri))).as_posix()
        return Location(fs.LocalFileSystem(), path, path)
    try:
        filesystem, path = fs.FileSystem.from_uri(uri)
    except ImportError as error:
        raise DataError(f"cannot use {uri}: huggingface_hub is missing. pip install 'betaline[hub]'") from error
    except (pa.ArrowInvalid, OSError, ValueError) as error:
        raise DataError(
            f"cannot use {uri}: {error}. Expected a path, or a URI such as file://…, s3://…, gs://… or hdfs://…"
        ) from error
    if "#" in uri and not isinstance(filesystem, fs.PyFileSystem):
        raise DataError(f"cannot use {uri}: what follows # would be lost. Write %23 for a # in a name")
    filesystem = _through_proxy(filesystem)
    # A local file:// URI is shown as the path it means.
    return Location(filesystem, path, path if isinstance(filesystem, fs.LocalFileSystem) else uri)


def _through_proxy(filesystem: fs.FileSystem) -> fs.FileSystem:
    """Returns a bucket's filesystem by way of the environment's proxy, for which pyarrow does not look; or as it is."""
    if filesystem.type_name != "s3":
        return filesystem
    options = filesystem.__reduce__()[1][0]  # its arguments, which it gives out nowhere else
    host = options["endpoint_override"].partition(":")[0] or f"s3.{options['region']}.amazonaws.com"
    proxy = urllib.request.getproxies().get(options["scheme"])
    if not proxy or urllib.request.proxy_bypass(host):
        return filesystem
    return fs.S3FileSystem(**{**options, "proxy_options": proxy})


def has_credentials(uri: str) -> bool:
    """Returns whether a URI carries a password or a key."""
    return _CREDENTIALS.search(uri) is not None


def refuse_credentials(uri: str) -> None:
    """Refuses a URI that carries a secret: URIs go into specifications, parameters, manifests and logs.

    Raises:
        DataError: If it carries one; does not repeat it.
    """
    if has_credentials(uri):
        raise DataError(
            f"a {uri.partition('://')[0]}:// URI carries a password or key, which would be kept wherever the URI is. Give "
            "credentials by the environment or the provider's own files (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
            "~/.aws/credentials, GOOGLE_APPLICATION_CREDENTIALS, …), and the URI without them"
        )


def sha256_of(location: Location) -> str:
    """Returns the SHA-256 of a file as hex; reads it in pieces."""
    if location.is_local:
        with open(location.path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    digest = hashlib.sha256()
    with location.filesystem.open_input_stream(location.path) as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def mark_of(location: Location, digest: str) -> Path | None:
    """Returns the file by which this machine remembers that a local file, as it now is, has a digest; None elsewhere.

    It is in a folder of the user's own below the machine's temporary files, so that each process need not hash again.
    """
    if not location.is_local or not hasattr(os, "getuid"):
        return None  # on Windows no mode says whose a folder is
    folder = Path(tempfile.gettempdir()) / f"betaline-checked-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        owner, state = folder.lstat(), os.stat(location.path)
    except OSError:
        return None
    if owner.st_uid != os.getuid() or not stat.S_ISDIR(owner.st_mode) or owner.st_mode & 0o077:
        return None
    facts = (location.path, digest, state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
    return folder / hashlib.sha256(repr(facts).encode()).hexdigest()


def write_whole(location: Location, data: bytes | pa.Buffer, *, overwrite: bool = True, synced: bool = True) -> bool:
    """Writes a file so that a reader sees all of it or nothing.

    Without `overwrite`, of several writers at once on a local disk exactly one wins. Object stores give no
    such promise through pyarrow: there the check comes first, and the last of two writers within that instant
    stays.

    Args:
        location: The file.
        data: All of its bytes.
        overwrite: Whether the file may replace another.
        synced: Whether it is on the disk when this returns. Without it a power failure may cut it short or lose it, which
            is cheaper where it can be told and made again.

    Returns:
        Whether the file was written: False only without `overwrite`, where one was there already.

    Raises:
        DataError: If the disk is full.
    """
    with explain_full_disk(location):
        if location.is_local:
            return _write_local(Path(location.path), data, overwrite=overwrite, synced=synced)
        if not overwrite and location.exists():
            return False
        with location.filesystem.open_output_stream(location.path) as stream:
            stream.write(data)
        return True


def _write_local(path: Path, data: bytes | pa.Buffer, *, overwrite: bool, synced: bool) -> bool:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    try:
        with open(partial, "wb") as file:
            file.write(data)
            if synced:
                file.flush()
                os.fsync(file.fileno())
        if overwrite:
            os.replace(partial, path)
        else:
            try:
                os.link(partial, path)  # fails where the name is taken, which a rename would not
            except FileExistsError:
                return False
    finally:
        partial.unlink(missing_ok=True)
    if synced:
        sync_folder(path.parent)
    return True


def sync_folder(folder: Path) -> None:
    """Writes a local folder's list of names to the disk."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except PermissionError:
        return  # Windows opens no folder, and keeps a journal of names
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def explain_full_disk(location: Location) -> Iterator[None]:
    """Turns the operating system's "no space left" into an error that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DataError(
            f"no space left while writing {location.uri}. Published datasets are untouched. Free some "
            "space and run the same command again: what is already staged is kept and used"
        ) from error
