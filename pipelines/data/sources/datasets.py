"""Datasets in Python, by an address such as `mypackage.data:Cells`: images with labels and attributes, or rows."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.data.sources.arrays import check_array, to_pixels
from pipelines.data.sources.attributes import survey_attributes
from pipelines.data.sources.config import IngestConfig
from pipelines.data.sources.item_rows import Rows, typed
from pipelines.data.sources.items import BadItem, Item, Items
from pipelines.data.sources.problems import Problem
from pipelines.data.sources.segments import Segment
from pipelines.data.sources.survey import Block, Listing, Source, Survey
from pipelines.data.sources.tables.columns import Understood
from pipelines.data.sources.tables.raw import RawTable
from pipelines.data.sources.tables.survey import RowLocator, survey_rows
from pipelines.data.sources.vectors import brightness_of
from vae import progress
from vae.data.manifest import SourceFile
from vae.data.schema import ExampleSpec
from vae.errors import DataError, did_you_mean

_REPORTED = 256
"""Items between two reports of progress."""
_AGAIN = (
    "a dataset must give the same item each time. Leave random augmentation out (betaline augments while it trains: "
    "data.augment), or draw it from a seed that depends on the index alone"
)


@dataclass(frozen=True)
class ImageReader:
    """A reader of images by their position in the dataset."""

    items: Items
    digests: NDArray[np.uint64]
    """First bytes of the hash of each item, [N]."""
    example: ExampleSpec
    config: IngestConfig
    """Configuration with the brightest value of images of floats."""

    def read(self, rows: NDArray[np.int64]) -> Block:
        """Reads the images at some positions; see `Reader.read`."""
        pixels = np.empty((len(rows), self.example.row_bytes), np.uint8)
        kept: list[int] = []
        problems: list[Problem] = []
        for row in rows.tolist():
            item = _again(self.items, row, self.digests[row], self.config.attributes)
            assert item.image is not None
            try:
                pixels[len(kept)] = to_pixels(item.image[None], "", self.config)[0]
            except DataError as error:
                problems.append(problem(row, str(error).removeprefix(": ")))
                continue
            kept.append(row)
        return Block(np.array(kept, np.int64), pixels[: len(kept)], tuple(problems))


@dataclass(frozen=True, kw_only=True)
class RowSegment(Segment):
    """All rows of a dataset."""

    items: Items
    columns: tuple[Understood, ...]
    digests: NDArray[np.uint64] = field(hash=False, compare=False)

    def load(self) -> pa.Table:
        """Returns the columns as the dataset stores them."""
        rows = Rows(self.items.address)
        for index, digest in enumerate(self.digests):
            rows.add(_again(self.items, index, digest, ()).values if digest else {})
        return typed(rows.table(), self.columns)

    def take(self, loaded: pa.Table, rows: NDArray[np.int64]) -> pa.Table:
        """Returns some rows."""
        return loaded.take(pa.array(rows))


def survey(config: IngestConfig, listing: Listing) -> Survey:
    """Surveys every item of the dataset; see `Source.survey`."""
    items = Items(config.source, config)
    number = len(items)
    if not number:
        raise DataError(f"{config.source}: 0 items, expected at least one. __len__ returns 0")
    seen = _Seen(items, number, config)
    for index in range(number):
        if index % _REPORTED == 0:
            progress.report("reading and hashing", index, number, "items")
        try:
            seen.add(index, items.read(index))
        except BadItem as error:
            seen.leave_out(index, str(error))
    if seen.first is None:
        raise DataError(f"{config.source}: all {number:,} items are bad, the first: {seen.problems[0]}")
    return seen.images() if seen.first.image is not None else seen.rows_of_table()


SOURCE = Source("datasets in Python", lambda config, listing: [listing.root] if config.is_address else [], survey)
"""A dataset at an address, a torch `Dataset` or anything else with `__len__` and `__getitem__`, or a stream of items."""


def problem(index: int, what: str) -> Problem:
    """Returns a problem of one item."""
    return Problem(f"item {index}", what)


def _again(items: Items, index: int, digest: Any, names: Sequence[str]) -> Item:
    """Reads an item once more.

    Raises:
        DataError: If it differs from the item that was surveyed.
    """
    try:
        item = items.read(index)
    except BadItem as error:
        raise DataError(f"{items.address}: item {index} {error} when it is read again; {_AGAIN}") from error
    if _short(item.digest(names)) != digest:
        raise DataError(f"{items.address}: two readings of item {index} differ; {_AGAIN}")
    return item


def _short(digest: bytes) -> np.uint64:
    # Never 0, which stands for an item that is left out.
    return np.frombuffer(digest[:8], np.uint64)[0] | np.uint64(1)


class _Seen:
    """The facts of a dataset, gathered item by item.

    Args:
        items: The dataset.
        number: Number of its items.
        config: Configuration of the ingest.
    """

    def __init__(self, items: Items, number: int, config: IngestConfig) -> None:
        self.items, self.number, self.config, self.where = items, number, config, config.source
        self.first: Item | None = None
        self.first_index = 0
        self.problems: list[Problem] = []
        self.digests = np.zeros(number, np.uint64)
        self.hash, self.num_bytes = hashlib.sha256(), 0
        self.labels: list[int | str | None] = []
        self.values: dict[str, list[Any]] = {name: [] for name in config.attributes}
        self.example: ExampleSpec | None = None
        self.rows = Rows(config.source)
        self.low, self.high, self.is_whole = np.inf, -np.inf, True

    def add(self, index: int, item: Item) -> None:
        """Adds an item.

        Raises:
            BadItem: If it is not like the first.
            DataError: If no item can be used.
        """
        digest = item.digest(self.config.attributes)
        if self.first is None:
            self._begin(index, item, digest)
        assert self.first is not None
        if (item.image is None) != (self.first.image is None):
            raise BadItem(f"expected {_kind(self.first)} like item {self.first_index}, found {_kind(item)}")
        if (item.label is None) != (self.first.label is None):
            has = "a label" if item.label is None else "no label"
            raise BadItem(f"expected {has} like item {self.first_index}, found {item.label!r}")
        if item.image is None:
            self._check_names(item.values)
            self.rows.add(item.values)
            self.num_bytes += len(repr(item.values))
        else:
            self._look(item.image)
            self.num_bytes += item.image.nbytes
        self.labels.append(item.label)
        for name, values in self.values.items():
            values.append(item.values.get(name))
        self.digests[index] = _short(digest)
        self.hash.update(digest)

    def leave_out(self, index: int, what: str) -> None:
        """Notes the problem of an item."""
        self.problems.append(problem(index, what))
        self.labels.append(None)
        for values in [*self.values.values()]:
            values.append(None)
        self.rows.add({})
        self.hash.update(b"left out")

    def _begin(self, index: int, item: Item, digest: bytes) -> None:
        self.first, self.first_index = item, index
        _again(self.items, index, _short(digest), self.config.attributes)
        if item.image is not None:
            self.example = self._example(item.image, self.where)
            for name in self.config.attributes:
                if name not in item.values:
                    listed = ", ".join(item.values) or "no values beside the image"
                    raise DataError(
                        f"{self.where}: no attribute {name!r}{did_you_mean(name, item.values)}. Items hold {listed}"
                    )

    def _example(self, image: NDArray[np.generic], where: str) -> ExampleSpec:
        # What the brightest value of floats is, all items together tell.
        config = self.config.model_copy(update={"max_value": 1}) if self._is_unclear(image) else self.config
        return check_array((1, *image.shape), image.dtype, where, config)

    def _is_unclear(self, image: NDArray[np.generic]) -> bool:
        return image.dtype.kind == "f" and self.config.max_value is None

    def _look(self, image: NDArray[np.generic]) -> None:
        """Checks the form of an image, and notes the range of its values."""
        assert self.first is not None
        expected = self.first.image
        assert expected is not None
        if image.dtype != expected.dtype:
            raise BadItem(f"expected {expected.dtype} like item {self.first_index}, found {image.dtype}")
        if image.shape != expected.shape:
            try:
                same = self._example(image, "") == self.example
            except DataError as error:
                raise BadItem(str(error).removeprefix(": ")) from error
            if not same:
                raise BadItem(
                    f"expected shape {_shape(expected)} like item {self.first_index}, found {_shape(image)}. Use "
                    "--resize HEIGHTxWIDTH, --color grey or --color rgb to make them one"
                )
        self.low, self.high = np.minimum(self.low, image.min()), np.maximum(self.high, image.max())
        self.is_whole = self.is_whole and (image.dtype.kind != "f" or bool((image == np.rint(image)).all()))

    def _check_names(self, values: dict[str, Any]) -> None:
        assert self.first is not None
        missing = [name for name in self.first.values if name not in values]
        extra = [name for name in values if name not in self.first.values]
        if missing or extra:
            wrong = f"without {', '.join(missing)}" if missing else f"with {', '.join(extra)} beside them"
            raise BadItem(f"expected the columns of item {self.first_index}, found an item {wrong}")

    def images(self) -> Survey:
        """Returns the survey of images."""
        assert self.first is not None
        assert self.first.image is not None
        assert self.example is not None
        config, notes = self._bright(self.first.image)
        attributes, coded = survey_attributes(self._table(), self.where, set(config.categorical))
        excluded = self.digests == 0
        classes, labels = self._classes(excluded)
        aside = [name for name in self.first.values if name not in config.attributes]
        if aside:
            notes = (*notes, f"left aside beside the images: {', '.join(aside)}. Use --set attributes={aside!r}")
        return Survey(
            files=self._file(),
            example=self.example,
            num_rows=self.number,
            reader=ImageReader(self.items, self.digests, self.example, config),
            classes=classes,
            labels=labels,
            attributes=attributes,
            attribute_values=coded,
            excluded=excluded,
            problems=tuple(self.problems),
            notes=notes,
        )

    def rows_of_table(self) -> Survey:
        """Returns the survey of rows of a table."""
        table = self.rows.table()
        raw = replace(RawTable.typed(table), malformed=self.digests == 0, problems=tuple(self.problems))
        locator = RowLocator((self.where,), (range(self.number),))

        def segments(columns: tuple[Understood, ...]) -> list[RowSegment]:
            return [RowSegment(num_rows=self.number, items=self.items, columns=columns, digests=self.digests)]

        return survey_rows(raw, locator, self._file(), segments, self.where, self.config)

    def _file(self) -> tuple[SourceFile, ...]:
        return (SourceFile(path=self.where, bytes=self.num_bytes, sha256=self.hash.hexdigest()),)

    def _bright(self, image: NDArray[np.generic]) -> tuple[IngestConfig, tuple[str, ...]]:
        if self.config.max_value is None and image.dtype == np.uint8 and self.high == 1:
            raise DataError(f"{self.where}: the values are 0 and 1. Use --set max_value=1 for binary images")
        if not self._is_unclear(image):
            return self.config, ()
        found = brightness_of(float(self.low), float(self.high), is_whole=self.is_whole)
        if found is None:
            raise DataError(
                f"{self.where}: images of numbers from {self.low:.3g} to {self.high:.3g}, expected 0 to 1. Leave out what "
                "normalizes them, such as transforms.Normalize, or use --set max_value=N with the brightest value"
            )
        return self.config.model_copy(update={"max_value": found[0]}), (found[1],)

    def _table(self) -> pa.Table:
        columns = {}
        for name, values in self.values.items():
            try:
                columns[name] = pa.array(values, from_pandas=True)
            except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
                raise DataError(f"{self.where}: attribute {name!r} is not of one type in all items: {error}") from error
        return pa.table(columns)

    def _classes(self, excluded: NDArray[np.bool_]) -> tuple[tuple[str, ...] | None, NDArray[np.int32] | None]:
        good = {label for label, bad in zip(self.labels, excluded, strict=True) if not bad}
        if None in good:
            return None, None
        is_number = all(isinstance(label, int) for label in good)
        values: list[Any] = sorted(good) if is_number else sorted(good, key=str)
        names = self.items.class_names
        if is_number and names and values[0] >= 0 and values[-1] < len(names):
            values, classes = [*range(len(names))], tuple(names)
        else:
            classes = tuple(str(value) for value in values)
        index = {value: place for place, value in enumerate(values)}
        return classes, np.array([index.get(label, 0) for label in self.labels], np.int32)


def _kind(item: Item) -> str:
    return "an image" if item.image is not None else "a row of values"


def _shape(image: NDArray[np.generic]) -> str:
    return "×".join(map(str, image.shape))
