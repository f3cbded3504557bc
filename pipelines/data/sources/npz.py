"""An .npz file of images, with or without labels. Never unpickled."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.data.sources.arrays import ArraySegment, check_array, survey_arrays
from pipelines.data.sources.attributes import survey_attributes
from pipelines.data.sources.config import IngestConfig
from pipelines.data.sources.survey import Listing, Source, Survey, read_unchanged
from vae.data.manifest import SourceFile
from vae.data.schema import Column
from vae.errors import DataError

# (split, names of the images, names of the labels) in well-known files.
_SPLIT_ARRAYS = (
    (0, ("train_images", "x_train", "train_x"), ("train_labels", "y_train", "train_y")),
    (1, ("val_images", "validation_images", "x_val"), ("val_labels", "validation_labels", "y_val")),
    (2, ("test_images", "x_test", "test_x"), ("test_labels", "y_test", "test_y")),
)
_IMAGES = ("images", "imgs", "x", "data", "arr_0")
_LABELS = ("labels", "y", "targets", "label", "arr_1")
# Bytes to look at for the brightest value.
_SAMPLE_BYTES = 4 << 20

# What reading a damaged file raises.
_DAMAGED = (zipfile.BadZipFile, zlib.error, ValueError, EOFError, OSError)

Header = tuple[tuple[int, ...], np.dtype]


@dataclass(frozen=True, kw_only=True)
class NpzSegment(ArraySegment):
    """One array of images in an .npz file."""

    listing: Listing
    file: SourceFile
    array: str
    """Name of the array."""

    def load(self) -> NDArray[np.generic]:
        """Returns the array as it is stored."""
        return _load_array(read_unchanged(self.listing, self.file), self.array, self.file.path)


def survey(config: IngestConfig, listing: Listing) -> Survey:
    """Surveys the file; see `Source.survey`."""
    paths = listing.matching((".npz",))
    if len(paths) > 1:
        shown = ", ".join(paths[:5])
        raise DataError(f"{listing.root}: {len(paths)} .npz files ({shown}); give one of them")
    [path] = paths
    data, file = listing.read(path)
    headers = _headers(data, path)
    segments, splits, labels, examples = [], [], [], []
    for split, images, labels_name in _choose(headers, path, config):
        shape, dtype = headers[images]
        where = f"{path}, array {images!r}"
        examples.append(check_array(shape, dtype, where, config))
        _refuse_dark(data, images, dtype, where, config)
        place = {"listing": listing, "file": file, "array": images, "where": where, "config": config}
        segments.append(NpzSegment(num_rows=shape[0], **place))
        splits.append(split)
        if labels_name is not None:
            labels.append(_labels(data, labels_name, path, shape[0]))
    if labels and len(labels) < len(segments):
        raise DataError(f"{path}: some splits have labels and some have none. Add the missing array")
    attributes, values = _attributes(data, headers, path, segments, config)
    known = {"attributes": attributes, "attribute_values": values}
    return survey_arrays(path, (file,), segments, examples, labels, splits, **known)


SOURCE = Source("arrays", lambda config, listing: listing.matching((".npz",)), survey)
"""One .npz file, or a folder with one."""


def _headers(data: bytes, where: str) -> dict[str, Header]:
    """Returns the shape and type of every array, without unfolding any."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = [name for name in archive.namelist() if name.endswith(".npy")]
            headers = {}
            for name in names:
                with archive.open(name) as stream:
                    headers[name.removesuffix(".npy")] = _read_header(stream)
            return headers
    except _DAMAGED as error:
        raise DataError(f"{where}: not a whole .npz file: {error}. Fetch or write it again") from error


def _read_header(stream: IO[bytes]) -> Header:
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    return shape, dtype


def _choose(headers: Mapping[str, Header], where: str, config: IngestConfig) -> list[tuple[int, str, str | None]]:
    """Returns (split, array of images, array of labels) of every set of images."""
    by_lower = {name.lower(): name for name in headers}

    def first(names: tuple[str, ...]) -> str | None:
        return next((by_lower[name] for name in names if name in by_lower), None)

    for wanted in (config.image, config.label):
        if wanted is not None and wanted not in headers:
            raise DataError(f"{where}: no array {wanted!r}. There are: {_describe(headers)}")
    if config.image is None and config.label is None:
        sets = [(split, first(images), first(labels)) for split, images, labels in _SPLIT_ARRAYS]
        present = [(split, images, labels) for split, images, labels in sets if images is not None]
        if present:
            return present
    large = [name for name, (shape, _) in headers.items() if len(shape) >= 3]
    images = config.image or first(_IMAGES) or (large[0] if len(large) == 1 else None)
    if images is None:
        raise DataError(
            f"{where}: cannot tell which array holds the images. There are: {_describe(headers)}. Use "
            "--set image=NAME, or name it images"
        )
    return [(0, images, config.label or first(_LABELS))]


def _describe(headers: Mapping[str, Header]) -> str:
    return ", ".join(f"{name} {shape} {dtype}" for name, (shape, dtype) in headers.items()) or "none"


def _load_array(data: bytes, name: str, where: str) -> NDArray[np.generic]:
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            return archive[name]
    except _DAMAGED as error:
        raise DataError(f"{where}, array {name!r}: cannot be read: {error}. Write it again") from error


def _labels(data: bytes, name: str, where: str, num_images: int) -> NDArray[np.generic]:
    labels = _load_array(data, name, where)
    if labels.shape == (num_images, 1):
        labels = labels[:, 0]
    if labels.shape != (num_images,) or labels.dtype.kind not in "iubU":
        raise DataError(
            f"{where}, array {name!r}: expected {num_images:,} labels of integers or text, found shape "
            f"{labels.shape} of {labels.dtype}"
        )
    return labels


def _attributes(
    data: bytes, headers: Mapping[str, Header], path: str, segments: Sequence[NpzSegment], config: IngestConfig
) -> tuple[tuple[Column, ...], NDArray[np.float32] | None]:
    """Surveys the arrays of attributes. An array of several columns gives several attributes, numbered from 0."""
    if config.attributes and len(segments) > 1:
        raise DataError(
            f"{path}: attributes belong to one array of images, found {len(segments)}. Use --set image=NAME"
        )
    columns: dict[str, NDArray[np.generic]] = {}
    categorical: set[str] = set()
    for name in config.attributes:
        if name not in headers:
            raise DataError(f"{path}: no array {name!r}. There are: {_describe(headers)}")
        array = _load_array(data, name, path)
        if array.ndim not in (1, 2) or len(array) != segments[0].num_rows:
            raise DataError(
                f"{path}, array {name!r}: expected {segments[0].num_rows:,} attributes, or rows of them, found shape "
                f"{array.shape}"
            )
        numbered = {name: array} if array.ndim == 1 else {f"{name}.{i}": column for i, column in enumerate(array.T)}
        columns |= numbered
        categorical |= numbered.keys() if name in config.categorical else set()
    # `from_pandas` makes NaN null.
    table = pa.table({name: pa.array(values, from_pandas=True) for name, values in columns.items()})
    return survey_attributes(table, path, categorical)


def _refuse_dark(data: bytes, name: str, dtype: np.dtype, where: str, config: IngestConfig) -> None:
    """Refuses bytes that never exceed 1: as values from 0 to 255, binary images would all be black."""
    if config.max_value is not None or dtype != np.uint8:
        return
    with zipfile.ZipFile(io.BytesIO(data)) as archive, archive.open(f"{name}.npy") as stream:
        _read_header(stream)
        pixels = np.frombuffer(stream.read(_SAMPLE_BYTES), np.uint8)
    if pixels.size and pixels.max() == 1:
        raise DataError(f"{where}: the values are 0 and 1. Use --set max_value=1 for binary images")
