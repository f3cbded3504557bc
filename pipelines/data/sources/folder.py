"""A folder of image files, flat or in class folders, which may be in folders named after splits."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.data.sources.config import IngestConfig
from pipelines.data.sources.decoding import (
    SUFFIXES,
    BadImage,
    ImageShape,
    common_shape,
    decode_rows,
    probe,
    readings_of,
    too_large,
)
from pipelines.data.sources.folders import SPLIT_NAMES
from pipelines.data.sources.problems import Problem
from pipelines.data.sources.spreading import Files, spread
from pipelines.data.sources.survey import Block, Listing, Source, Survey, changed_source
from vae.data.manifest import SPLITS, SourceFile
from vae.data.schema import ExampleSpec
from vae.errors import DataError
from vae.storage import Location, locate, sha256_of

_NUM_READERS = 8


@dataclass(frozen=True)
class FolderReader:
    """A reader of image files by their position in the listing."""

    root: str
    paths: tuple[str, ...]
    digests: bytes
    """SHA-256 of every file, 32 bytes each."""
    example: ExampleSpec
    config: IngestConfig

    def read(self, rows: NDArray[np.int64]) -> Block:
        """Reads and decodes the images at some positions; see `Reader.read`."""
        root = locate(self.root)

        def checked() -> Iterator[bytes]:
            for row, data in zip(rows.tolist(), _read_all(root, [self.paths[row] for row in rows]), strict=True):
                expected = self.digests[32 * row : 32 * row + 32]
                actual = hashlib.sha256(data)
                if actual.digest() != expected:
                    raise changed_source((root / self.paths[row]).uri, expected.hex(), actual.hexdigest())
                yield data

        return decode_rows(rows, checked(), self.example, self.config, lambda row, what: Problem(self.paths[row], what))


def survey(config: IngestConfig, listing: Listing) -> Survey:
    """Surveys the images; see `Source.survey`."""
    paths = listing.matching(SUFFIXES)
    own_splits, classes, labels = _read_folders(paths, listing.root)
    files, shapes, problems = _probe_all(listing, paths, config)
    example = common_shape(shapes, config, listing.root, problems)
    digests = b"".join(bytes.fromhex(file.sha256) for file in files)
    readings = readings_of(shapes)
    return Survey(
        files=tuple(files),
        example=example,
        num_rows=len(paths),
        reader=FolderReader(listing.root, tuple(paths), digests, example, config),
        classes=classes,
        labels=labels,
        own_splits=own_splits,
        excluded=np.array([shape is None for shape in shapes]),
        problems=tuple(problems),
        notes=tuple(readings.values()),
        reading=tuple(readings),
    )


SOURCE = Source("images", lambda config, listing: listing.matching(SUFFIXES), survey)
"""A folder of images, or one image."""


def has_classes(paths: Sequence[str]) -> bool:
    """Returns whether images are in class folders."""
    return any(len(parts) - (_split_folder(parts[0]) is not None) > 1 for parts in (path.split("/") for path in paths))


def _read_folders(
    paths: Sequence[str], root: str
) -> tuple[NDArray[np.uint8] | None, tuple[str, ...] | None, NDArray[np.int32] | None]:
    """Returns (own splits, classes, labels) by the names of the folders."""
    parts = [path.split("/") for path in paths]
    splits = None
    if all(len(part) > 1 and _split_folder(part[0]) is not None for part in parts):
        splits = np.array([_split_folder(part[0]) for part in parts], np.uint8)
        parts = [part[1:] for part in parts]
    loose = [path for path, part in zip(paths, parts, strict=True) if len(part) == 1]
    if len(loose) == len(parts):
        return splits, None, None
    if loose:
        raise DataError(
            f"{root}: {len(loose):,} images lie outside the class folders, for example {loose[0]}. Put "
            "every image into a class folder, or all of them into one folder"
        )
    names = [part[0] for part in parts]
    classes = tuple(sorted(set(names)))
    index = {name: number for number, name in enumerate(classes)}
    labels = np.array([index[name] for name in names], np.int32)
    if splits is not None:
        _check_classes(labels, splits, classes, root)
    return splits, classes, labels


def _split_folder(name: str) -> int | None:
    return SPLIT_NAMES.get(name.lower().removeprefix("split="))


def _check_classes(labels: NDArray[np.int32], splits: NDArray[np.uint8], classes: tuple[str, ...], root: str) -> None:
    trained = set(labels[splits == 0].tolist())
    if not trained:
        raise DataError(f"{root}: 0 examples for training: there is no train folder with images")
    for split in (1, 2):
        strange = sorted(set(labels[splits == split].tolist()) - trained)
        if strange:
            raise DataError(
                f"{root}: unknown class {', '.join(repr(classes[i]) for i in strange)} in {SPLITS[split]}. "
                f"Classes in train: {', '.join(classes[i] for i in sorted(trained))}"
            )


class _Probed(NamedTuple):
    """Facts of some consecutive files."""

    files: list[SourceFile]
    shapes: list[ImageShape | None]
    problems: list[Problem]


def _probe_all(listing: Listing, paths: Sequence[str], config: IngestConfig) -> _Probed:
    """Hashes every file, and reads the header of each file below the limit of bytes, in parts."""
    parts = spread(partial(_probe, listing.root, config), paths, listing.only(paths).sizes)
    return _Probed(*([each for one in field for each in one] for field in zip(*parts, strict=True)))


def _probe(root: str, config: IngestConfig, part: Files) -> _Probed:
    """Hashes and reads the files of a part; called by whichever process has it."""
    probed = _Probed([], [], [])
    where, sizes = locate(root), dict(zip(part.paths, part.sizes, strict=True))
    readable = _read_all(where, [path for path in part.paths if sizes[path] <= config.max_file_bytes])
    for path in part.paths:
        try:
            if sizes[path] > config.max_file_bytes:
                size, digest = sizes[path], sha256_of(where / path)
                raise too_large(size, config)
            data = next(readable)
            size, digest = len(data), hashlib.sha256(data).hexdigest()
            probed.shapes.append(probe(data, config))
        except BadImage as error:
            probed.shapes.append(None)
            probed.problems.append(Problem(path, str(error)))
        # Not validated one by one: the values were computed here, and there may be millions.
        probed.files.append(SourceFile.model_construct(path=path, bytes=size, sha256=digest))
    return probed


def _read_all(root: Location, paths: Sequence[str]) -> Iterator[bytes]:
    """Yields the bytes of the files in order; from a remote store, a few requests ahead."""
    if root.is_local:
        for path in paths:
            # Plain calls: for files of a few hundred bytes, anything more costs more than the reading.
            with open(f"{root.path}/{path}", "rb", buffering=0) as file:
                yield file.read()
        return
    with ThreadPoolExecutor(_NUM_READERS) as pool:
        for first in range(0, len(paths), 16 * _NUM_READERS):
            yield from pool.map(lambda path: (root / path).read(), paths[first : first + 16 * _NUM_READERS])
