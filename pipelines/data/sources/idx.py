"""IDX: the format of MNIST and similar datasets.

References:
    LeCun, Cortes & Burges, The MNIST database of handwritten digits (1998), "File formats".
    https://yann.lecun.org/exdb/mnist/
"""

from __future__ import annotations

import gzip
import io
import re
import zlib
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.data.sources.arrays import ArraySegment, check_array, survey_arrays
from pipelines.data.sources.config import IngestConfig
from pipelines.data.sources.spreading import Files, spread
from pipelines.data.sources.survey import Listing, Source, Survey, read_unchanged
from vae.data.manifest import SourceFile
from vae.errors import DataError

_NAME = re.compile(r"^(?P<stem>.*?)[-._]?(?P<what>images|labels)[-._]idx(?P<dims>\d)[-._]ubyte(?P<gz>\.gz)?$", re.I)
_UBYTE = 8
_SPLIT_OF_STEM = {"train": 0, "training": 0, "val": 1, "validation": 1, "t10k": 2, "test": 2}


@dataclass(frozen=True, kw_only=True)
class IdxSegment(ArraySegment):
    """One IDX file of images."""

    listing: Listing
    file: SourceFile

    def load(self) -> NDArray[np.uint8]:
        """Returns all images of the file, of shape (rows, H, W) or with more axes."""
        return parse_idx(read_unchanged(self.listing, self.file), self.listing.location(self.file.path).uri)


def survey(config: IngestConfig, listing: Listing) -> Survey:
    """Surveys the files; see `Source.survey`."""
    pairs = _pairs(listing)
    unlabelled = [images for _, images, labels in pairs if labels is None]
    if 0 < len(unlabelled) < len(pairs):
        missing = ", ".join(unlabelled)
        raise DataError(f"{listing.root}: some images have labels, and {missing} has none. Add its labels file")
    wanted = [path for pair in pairs for path in pair[1:] if path is not None]
    sizes = dict(zip(listing.paths, listing.sizes, strict=True))
    parts = spread(partial(_read, listing), wanted, [sizes[path] for path in wanted])
    read = {one.file.path: one for part in parts for one in part}
    files, segments, labels, examples = [], [], [], []
    for _, path, labels_path in pairs:
        file, shape, _ = read[path]
        examples.append(check_array(shape, np.dtype(np.uint8), path, config))
        files.append(file)
        place = {"listing": listing, "file": file, "where": path, "config": config}
        segments.append(IdxSegment(num_rows=shape[0], **place))
        if labels_path is not None:
            files.append(read[labels_path].file)
            labels.append(_labels(read[labels_path], path, shape[0]))
    splits = [_split_of(stem) for stem, _, _ in pairs]
    return survey_arrays(listing.root, files, segments, examples, labels, splits)


SOURCE = Source("IDX", lambda config, listing: [path for path in listing.paths if _NAME.match(path)], survey)
"""A folder of IDX files, or one IDX file of images."""


class _Read(NamedTuple):
    """Facts of one file."""

    file: SourceFile
    shape: tuple[int, ...]
    labels: NDArray[np.uint8] | None
    """Values of a file of labels."""


def _read(listing: Listing, part: Files) -> list[_Read]:
    """Hashes the files of a part, and reads their labels; called by whichever process has it."""
    found = []
    for path in part.paths:
        data, file = listing.read(path)
        shape = _shape(data, path)
        found.append(_Read(file, shape, parse_idx(data, path) if len(shape) == 1 else None))
    return found


def parse_idx(data: bytes, where: str) -> NDArray[np.uint8]:
    """Returns the array of an IDX file of unsigned bytes, gzipped or not.

    Raises:
        DataError: If it is not IDX, not of unsigned bytes, or not as long as its header says.
    """
    shape = _shape(data, where)
    start, size = 4 + 4 * len(shape), int(np.prod(shape, dtype=object))
    # One byte more than the header says: a longer file is noticed, and a bomb is not unfolded.
    whole = _unzip(data, start + size + 1, where)
    if len(whole) != start + size:
        actual = f"{len(whole) - start:,}" if len(whole) < start + size else "more"
        raise DataError(
            f"{where}: expected {size:,} bytes of data for shape {shape}, found {actual}. Fetch the file again"
        )
    return np.frombuffer(whole, np.uint8, offset=start).reshape(shape)


def _shape(data: bytes, where: str) -> tuple[int, ...]:
    head = _unzip(data, 4 + 4 * 4, where)[: 4 + 4 * 4]
    if len(head) < 4 or head[:2] != b"\0\0" or not 1 <= head[3] <= 4 or len(head) < 4 + 4 * head[3]:
        raise DataError(
            f"{where}: expected an IDX header, found {head[:4].hex(' ') or 'nothing'}. Fetch the file again"
        )
    if head[2] != _UBYTE:
        raise DataError(f"{where}: expected IDX of unsigned bytes (type 08), found type {head[2]:02x}")
    return tuple(int(n) for n in np.frombuffer(head, ">u4", count=head[3], offset=4))


def _unzip(data: bytes, size: int, where: str) -> bytes:
    """Returns the first bytes of a gzip stream, or data that is not gzipped as it is."""
    if data[:2] != b"\x1f\x8b":
        return data
    try:
        return gzip.GzipFile(fileobj=io.BytesIO(data)).read(size)
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(f"{where}: the gzip stream is damaged ({error}). Fetch the file again") from error


def _pairs(listing: Listing) -> list[tuple[str, str, str | None]]:
    """Returns (stem, images, labels) of every set of images, in the order of their splits and stems."""
    paths: dict[tuple[str, str], str] = {}
    # Plain files come first, so that a file unpacked beside its .gz is read once.
    for path in sorted(listing.paths, key=lambda path: (path.lower().endswith(".gz"), path)):
        match = _NAME.match(path)
        if match:
            paths.setdefault((match["stem"].lower(), match["what"].lower()), path)
    pairs = [(stem, path, paths.get((stem, "labels"))) for (stem, what), path in paths.items() if what == "images"]
    if not pairs:
        raise DataError(
            f"{listing.root}: found IDX labels but no images; expected a file like train-images-idx3-ubyte.gz"
        )
    strange = [path for stem, path, _ in pairs if len(pairs) > 1 and _split_of(stem) is None]
    if strange:
        raise DataError(
            f"{listing.root}: cannot tell the split of {', '.join(strange)}. Expected names that begin "
            "with train, t10k, test or validation, or one set of images alone"
        )
    return sorted(pairs, key=lambda pair: (_split_of(pair[0]) or 0, pair[0]))


def _split_of(stem: str) -> int | None:
    # EMNIST writes emnist-letters-train-images-…: the last word says the split.
    return _SPLIT_OF_STEM.get(re.split(r"[-._/]", stem)[-1])


def _labels(read: _Read, images_path: str, num_images: int) -> NDArray[np.uint8]:
    if read.labels is None or read.shape != (num_images,):
        raise DataError(
            f"{read.file.path}: expected {num_images:,} labels, one for each image of {images_path}, found "
            f"shape {read.shape}"
        )
    return read.labels
