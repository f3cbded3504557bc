"""Arrays in .npz and .npy files, by their headers. Never unpickled."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO

import numpy as np
from numpy.typing import NDArray

from pipelines.data.sources.survey import Listing, read_unchanged
from vae.data.manifest import SourceFile
from vae.errors import DataError

SUFFIXES = (".npz", ".npy")
# Bytes to look at for the brightest value.
_SAMPLE_BYTES = 4 << 20
# What reading a damaged file raises.
_DAMAGED = (zipfile.BadZipFile, zlib.error, ValueError, EOFError, OSError)


@dataclass(frozen=True)
class Stored:
    """An array in a file, by its header. Hashable."""

    listing: Listing
    file: SourceFile
    name: str
    """Name in the .npz file, or of the .npy file without its ending."""
    shape: tuple[int, ...]
    dtype: np.dtype

    def __str__(self) -> str:
        return f"{self.name} {self.shape} {self.dtype}"

    @property
    def where(self) -> str:
        """Name of the array in messages."""
        return f"{self.file.path}, array {self.name!r}" if is_npz(self.file.path) else self.file.path

    def load(self) -> NDArray[np.generic]:
        """Returns the array, if its file is unchanged."""
        return self.read(read_unchanged(self.listing, self.file))

    def read(self, data: bytes) -> NDArray[np.generic]:
        """Returns the array from the bytes of its file.

        Raises:
            DataError: If it is damaged, or holds Python objects.
        """
        try:
            loaded = np.load(io.BytesIO(data), allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return loaded
            with loaded as archive:
                return archive[self.name]
        except _DAMAGED as error:
            raise DataError(f"{self.where}: cannot be read: {error}. Write it again") from error

    def sample(self, data: bytes) -> NDArray[np.generic]:
        """Returns the first few megabytes of the array, flat, from the bytes of its file."""
        if not is_npz(self.file.path):
            return _sample(io.BytesIO(data), self.dtype)
        with zipfile.ZipFile(io.BytesIO(data)) as archive, archive.open(f"{self.name}.npy") as stream:
            return _sample(stream, self.dtype)


def is_npz(path: str) -> bool:
    """Returns whether a file holds several arrays."""
    return path.lower().endswith(".npz")


def stored_arrays(data: bytes, file: SourceFile, listing: Listing) -> Iterator[Stored]:
    """Yields the arrays of a file, without unfolding any.

    Raises:
        DataError: If the file is damaged.
    """
    try:
        if not is_npz(file.path):
            yield Stored(listing, file, PurePosixPath(file.path).stem, *_read_header(io.BytesIO(data)))
            return
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for name in archive.namelist():
                if name.endswith(".npy"):
                    with archive.open(name) as stream:
                        yield Stored(listing, file, name.removesuffix(".npy"), *_read_header(stream))
    except _DAMAGED as error:
        kind = ".npz" if is_npz(file.path) else ".npy"
        raise DataError(f"{file.path}: not a whole {kind} file: {error}. Fetch or write it again") from error


def _read_header(stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    return shape, dtype


def _sample(stream: IO[bytes], dtype: np.dtype) -> NDArray[np.generic]:
    _read_header(stream)
    data = stream.read(_SAMPLE_BYTES)
    return np.frombuffer(data[: len(data) // dtype.itemsize * dtype.itemsize], dtype)
