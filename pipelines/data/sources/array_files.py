"""Files of arrays: .npz and .npy, of images or of vectors, with or without labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.data.sources.array_store import SUFFIXES, Stored, is_npz, stored_arrays
from pipelines.data.sources.arrays import ArraySegment, check_array, survey_arrays
from pipelines.data.sources.attributes import survey_attributes
from pipelines.data.sources.config import IngestConfig
from pipelines.data.sources.survey import Listing, Source, Survey
from pipelines.data.sources.vectors import find_reading, joined, survey_vectors
from vae.data.manifest import SourceFile
from vae.data.schema import Column
from vae.errors import DataError

# (split, names of the examples, names of the labels) in well-known files.
_SPLIT_ARRAYS = (
    (0, ("train_images", "x_train", "train_x"), ("train_labels", "y_train", "train_y")),
    (1, ("val_images", "validation_images", "x_val"), ("val_labels", "validation_labels", "y_val")),
    (2, ("test_images", "x_test", "test_x"), ("test_labels", "y_test", "test_y")),
)
_EXAMPLES = ("images", "imgs", "x", "data", "arr_0", "features", "vectors", "embeddings")
_LABELS = ("labels", "y", "targets", "label", "arr_1")
_SHOWN = 10

Read = Callable[[Stored], NDArray[np.generic]]


@dataclass(frozen=True, kw_only=True)
class StoredSegment(ArraySegment):
    """One array of images in a file."""

    array: Stored

    def load(self) -> NDArray[np.generic]:
        """Returns the array as it is stored."""
        return self.array.load()


class _Set(NamedTuple):
    """Arrays of examples that belong together."""

    split: int
    examples: Stored
    labels: Stored | None


def survey(config: IngestConfig, listing: Listing) -> Survey:
    """Surveys the files; see `Source.survey`."""
    where = listing.paths[0] if len(listing.paths) == 1 else listing.root
    if len(listing.paths) > 1 and any(map(is_npz, listing.paths)):
        raise DataError(
            f"{where}: {len(listing.paths)} files of arrays ({', '.join(listing.paths[:5])}), expected one .npz file or "
            "several .npy files. Give one of them"
        )
    contents = {path: listing.read(path) for path in listing.paths}
    arrays = {array.name: array for data, file in contents.values() for array in stored_arrays(data, file, listing)}
    sets = _choose(arrays, where, config)
    used = {array for one in sets for array in (one.examples, one.labels)} | {arrays.get(n) for n in config.attributes}
    aside = [name for name, array in arrays.items() if array not in used]
    files = tuple(dict.fromkeys(array.file for array in arrays.values() if array in used))

    def read(array: Stored) -> NDArray[np.generic]:
        return array.read(contents[array.file.path][0])

    examples, splits = [one.examples for one in sets], [one.split for one in sets]
    labels = [_labels(read(one.labels), one) for one in sets if one.labels is not None]
    reading = find_reading(examples, read, config)
    if reading.is_table:
        surveyed = survey_vectors(examples, joined(examples, read, labels, where), splits, files, where, config)
    else:
        for array in examples:
            _refuse_dark(array, contents[array.file.path][0], config)
        surveyed = _survey_images(sets, labels, files, where, reading.config)
        attributes, values = _attributes(arrays, read, examples, where, config)
        surveyed = replace(surveyed, attributes=attributes, attribute_values=values)
    notes = [f"arrays left aside: {', '.join(aside)}"] if aside else []
    return replace(surveyed, notes=(*notes, *reading.notes, *surveyed.notes))


SOURCE = Source("arrays", lambda config, listing: listing.matching(SUFFIXES), survey)
"""One .npz file, or .npy files that hold one array each."""


def _choose(arrays: Mapping[str, Stored], where: str, config: IngestConfig) -> list[_Set]:
    """Returns every set of examples.

    Raises:
        DataError: If the examples cannot be told, or one set has labels and another none.
    """
    by_lower = {name.lower(): array for name, array in arrays.items()}

    def first(names: tuple[str, ...]) -> Stored | None:
        return next((by_lower[name] for name in names if name in by_lower), None)

    for wanted in (config.image, config.label):
        if wanted is not None and wanted not in arrays:
            raise DataError(f"{where}: no array {wanted!r}. There are: {_described(arrays)}")
    if config.image is None and config.label is None:
        named = [(split, first(examples), first(labels)) for split, examples, labels in _SPLIT_ARRAYS]
        sets = [_Set(split, examples, labels) for split, examples, labels in named if examples is not None]
        if len({one.labels is None for one in sets}) > 1:
            raise DataError(f"{where}: some splits have labels and some have none. Add the missing array")
        if sets:
            return sets
    labels = arrays[config.label] if config.label else first(_LABELS)
    rest = [array for array in arrays.values() if array is not labels]
    deepest = [array for array in rest if len(array.shape) == max(len(one.shape) for one in rest)]
    only = deepest[0] if len(deepest) == 1 else None
    examples = arrays[config.image] if config.image else first(_EXAMPLES) or only
    if examples is None:
        raise DataError(
            f"{where}: cannot tell which array holds the examples. There are: {_described(arrays)}. Use "
            "--set image=NAME, or name it images"
        )
    return [_Set(0, examples, labels)]


def _described(arrays: Mapping[str, Stored]) -> str:
    listed = [str(array) for array in arrays.values()]
    more = f" and {len(listed) - _SHOWN:,} more" if len(listed) > _SHOWN else ""
    return (", ".join(listed[:_SHOWN]) or "none") + more


def _labels(labels: NDArray[np.generic], of: _Set) -> NDArray[np.generic]:
    assert of.labels is not None
    number = of.examples.shape[0] if of.examples.shape else 0
    if labels.shape == (number, 1):
        labels = labels[:, 0]
    if labels.shape != (number,) or labels.dtype.kind not in "iubU":
        raise DataError(
            f"{of.labels.where}: expected {number:,} labels of integers or text, found shape {labels.shape} of "
            f"{labels.dtype}"
        )
    return labels


def _survey_images(
    sets: Sequence[_Set],
    labels: Sequence[NDArray[np.generic]],
    files: tuple[SourceFile, ...],
    where: str,
    config: IngestConfig,
) -> Survey:
    arrays = [one.examples for one in sets]
    examples = [check_array(array.shape, array.dtype, array.where, config) for array in arrays]
    segments = [
        StoredSegment(num_rows=array.shape[0], where=array.where, config=config, array=array) for array in arrays
    ]
    return survey_arrays(where, files, segments, examples, labels, [one.split for one in sets])


def _attributes(
    arrays: Mapping[str, Stored], read: Read, examples: Sequence[Stored], where: str, config: IngestConfig
) -> tuple[tuple[Column, ...], NDArray[np.float32] | None]:
    """Surveys the arrays of attributes. An array of several columns gives several attributes, numbered from 0."""
    if config.attributes and len(examples) > 1:
        raise DataError(
            f"{where}: attributes belong to one array of images, found {len(examples)}. Use --set image=NAME"
        )
    columns: dict[str, NDArray[np.generic]] = {}
    categorical: set[str] = set()
    for name in config.attributes:
        if name not in arrays:
            raise DataError(f"{where}: no array {name!r}. There are: {_described(arrays)}")
        array, number = read(arrays[name]), examples[0].shape[0]
        if array.ndim not in (1, 2) or len(array) != number:
            raise DataError(
                f"{arrays[name].where}: expected {number:,} attributes, or rows of them, found shape {array.shape}"
            )
        numbered = {name: array} if array.ndim == 1 else {f"{name}.{i}": column for i, column in enumerate(array.T)}
        columns |= numbered
        categorical |= numbered.keys() if name in config.categorical else set()
    # `from_pandas` makes NaN null.
    table = pa.table({name: pa.array(values, from_pandas=True) for name, values in columns.items()})
    return survey_attributes(table, where, categorical)


def _refuse_dark(array: Stored, data: bytes, config: IngestConfig) -> None:
    """Refuses bytes that never exceed 1: as values from 0 to 255, binary images would all be black."""
    if config.max_value is None and array.dtype == np.uint8:
        pixels = array.sample(data)
        if pixels.size and pixels.max() == 1:
            raise DataError(f"{array.where}: the values are 0 and 1. Use --set max_value=1 for binary images")
