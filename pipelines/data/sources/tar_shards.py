"""Tar files of images, as webdataset writes them: files of one key are one sample, such as 0001.jpg and 0001.cls.

References:
    The WebDataset format. https://github.com/webdataset/webdataset
"""

from __future__ import annotations

import io
import json
import tarfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.data.sources.attributes import survey_attributes
from pipelines.data.sources.config import MEMORY_ADVICE, IngestConfig
from pipelines.data.sources.decoding import SUFFIXES as IMAGE_SUFFIXES
from pipelines.data.sources.decoding import ImageShape, common_shape, readings_of
from pipelines.data.sources.encoded import EncodedReader, probe_images
from pipelines.data.sources.folders import own_splits
from pipelines.data.sources.problems import Problem
from pipelines.data.sources.segments import starts_of
from pipelines.data.sources.spreading import Files, spread
from pipelines.data.sources.survey import Listing, Source, Survey, read_unchanged
from pipelines.data.sources.tables.encoding import decompressed
from pipelines.data.sources.tables.survey import group_files
from vae.data.manifest import SourceFile
from vae.errors import DataError

SUFFIXES = (".tar", ".tar.gz", ".tar.zst")
_CLASS, _JSON, _TEXT = "cls", "json", "txt"
_LABEL_KEYS = ("label", "class", "cls")


class Sample(NamedTuple):
    """The files of one key."""

    key: str
    files: dict[str, bytes]
    """Content of each file, by its ending without the first point."""

    def image(self, ending: str | None) -> tuple[str, bytes] | None:
        """Returns the ending and the content of the image; None if there is none.

        Raises:
            DataError: If there are several, and no ending is given.
        """
        found = [name for name in self.files if f".{name}".endswith(IMAGE_SUFFIXES) and ending in (None, name)]
        if len(found) > 1:
            raise DataError(f"several images of key {self.key!r} ({', '.join(found)}). Use --set image={found[0]}")
        return (found[0], self.files[found[0]]) if found else None


@dataclass(frozen=True)
class TarGroup:
    """Neighbouring tar files."""

    listing: Listing
    files: tuple[SourceFile, ...]
    config: IngestConfig

    def load(self) -> pa.Array:
        """Returns the encoded images of the files."""
        images = []
        for file in self.files:
            for sample in _samples(read_unchanged(self.listing, file), file.path, self.config):
                found = sample.image(self.config.image)
                images += [] if found is None else [found[1]]
        return pa.array(images, pa.large_binary())


@dataclass(frozen=True)
class TarPlaces:
    """Shard and name of each image."""

    shards: tuple[str, ...]
    starts: tuple[int, ...]
    """First image of each shard."""
    names: tuple[str, ...]

    def problem(self, row: int, what: str) -> Problem:
        """Returns a problem of one image."""
        shard = int(np.searchsorted(self.starts, row, side="right")) - 1
        return Problem(self.shards[shard], f"{self.names[row]}: {what}", row - self.starts[shard])


class _Content:
    """Content of tar files, without the images.

    Args:
        config: Configuration of the ingest.
    """

    def __init__(self, config: IngestConfig) -> None:
        self.config = config
        self.files: list[SourceFile] = []
        self.sizes: list[int] = []
        """Number of images of each file."""
        self.names: list[str] = []
        """Name of each image."""
        self.shapes: list[ImageShape | None] = []
        self.problems: list[Problem] = []
        self.beside: list[dict[str, bytes]] = []
        """Other files of each image's key, by their ending."""
        self.used: set[str] = set()
        """Endings of files that are read, beside the images."""
        self._lonely = 0

    def add(self, path: str, data: bytes, file: SourceFile) -> None:
        """Adds the samples of a file."""
        images, start = [], len(self.names)
        for sample in _samples(data, path, self.config):
            found = sample.image(self.config.image)
            if found is None:
                self._lonely += 1
                continue
            images.append(found[1])
            self.names.append(f"{sample.key}.{found[0]}")
            self.beside.append({ending: content for ending, content in sample.files.items() if ending != found[0]})
        name = lambda place, what: Problem(path, f"{self.names[start + place]}: {what}", place)  # noqa: E731
        shapes, problems = probe_images(images, self.config, name)
        self.shapes += shapes
        self.problems += problems
        self.files.append(file)
        self.sizes.append(len(images))

    def extend(self, other: _Content) -> None:
        """Adds the samples of further files."""
        for name in ("files", "sizes", "names", "shapes", "problems", "beside"):
            getattr(self, name).extend(getattr(other, name))
        self._lonely += other._lonely

    def texts(self, ending: str) -> list[str | None]:
        """Returns the text of a file of each sample; None where there is none."""
        self.used.add(ending)
        found = (files.get(ending) for files in self.beside)
        return [None if data is None else data.decode("utf-8", "replace").strip() for data in found]

    def values(self, key: str) -> list[Any]:
        """Returns a value of the JSON file of each sample; None where there is none."""
        values = []
        for name, text in zip(self.names, self.texts(_JSON), strict=True):
            try:
                fields = json.loads(text or "{}")
            except ValueError as error:
                raise DataError(f"the JSON file of {name} cannot be read: {error}. Mend it") from error
            values.append(fields.get(key) if isinstance(fields, dict) else None)
        return values

    def has(self, ending: str) -> bool:
        """Returns whether a sample has a file of an ending."""
        return any(ending in files for files in self.beside)

    def notes(self) -> list[str]:
        """Returns what to say of files that are not read."""
        rest = Counter(ending for files in self.beside for ending in files if ending not in self.used)
        shown = ", ".join(f"{number:,} .{ending}" for ending, number in rest.most_common())
        notes = [f"{shown} in the tar files left out"] if rest else []
        return [*notes, *([f"{self._lonely:,} × key without an image left out"] if self._lonely else [])]


def survey(config: IngestConfig, listing: Listing) -> Survey:
    """Surveys the files; see `Source.survey`."""
    content = _Content(config)
    for part in spread(partial(_read, listing, config), listing.paths, listing.sizes):
        content.extend(part)
    if not content.names:
        raise DataError(f"{listing.root}: 0 examples. No tar file holds an image; expected files such as 0001.jpg")
    places = TarPlaces(tuple(listing.paths), tuple(starts_of(content.sizes).tolist()), tuple(content.names))
    classes, labels, unlabelled = _classes(content, config, listing.root)
    lacking = [places.problem(row, "no class, which others have") for row in np.flatnonzero(unlabelled).tolist()]
    problems = [*content.problems, *lacking]
    columns, values = survey_attributes(_attributes(content, config, listing.root), listing.root, config.categorical)
    example = common_shape(content.shapes, config, listing.root, problems)
    groups, group_of_row = group_files(content.files, content.sizes)
    reader = EncodedReader(
        tuple(TarGroup(listing, group.files, config) for group in groups),
        tuple(starts_of([group.num_rows for group in groups]).tolist()),
        places,
        example,
        config,
    )
    readings = readings_of(content.shapes)
    return Survey(
        files=tuple(content.files),
        example=example,
        num_rows=len(content.names),
        reader=reader,
        classes=classes,
        labels=labels,
        attributes=columns,
        attribute_values=values,
        own_splits=own_splits(listing.paths, content.sizes),
        excluded=np.array([shape is None for shape in content.shapes]) | unlabelled,
        groups=group_of_row,
        problems=tuple(problems),
        notes=(*content.notes(), *readings.values()),
        reading=tuple(readings),
    )


SOURCE = Source("tar files of images", lambda config, listing: listing.matching(SUFFIXES), survey)
"""One tar file of images, or a folder of them."""


def _read(listing: Listing, config: IngestConfig, part: Files) -> _Content:
    """Returns the content of some files; called by whichever process has them."""
    content = _Content(config)
    for path in part.paths:
        content.add(path, *listing.read(path))
    return content


def _samples(data: bytes, path: str, config: IngestConfig) -> list[Sample]:
    """Returns the samples of a tar file, in order.

    Raises:
        DataError: If it is damaged, unfolds to too many bytes, or has a file twice.
    """
    if len(data) > config.max_memory_bytes:
        raise DataError(f"{path}: {len(data):,} bytes, above the limit of {config.max_memory_bytes:,}. {MEMORY_ADVICE}")
    data = decompressed(data, path, config.max_memory_bytes)
    samples: dict[str, dict[str, bytes]] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            for member in archive:
                folder, _, name = member.name.rpartition("/")
                stem, _, ending = name.partition(".")
                if not member.isreg() or not stem or not ending:
                    continue
                files = samples.setdefault(f"{folder}/{stem}" if folder else stem, {})
                if ending.lower() in files:
                    raise DataError(f"{path}: holds {member.name} twice. Write it again, with different keys")
                files[ending.lower()] = data[member.offset_data : member.offset_data + member.size]
            rest = data[archive.offset :].strip(b"\0")
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise DataError(f"{path}: not a whole tar file: {error}. Fetch or write it again") from error
    if rest:
        raise DataError(f"{path}: damaged after {len(samples):,} samples. Fetch or write it again")
    return [Sample(key, files) for key, files in samples.items()]


def _classes(
    content: _Content, config: IngestConfig, where: str
) -> tuple[tuple[str, ...] | None, NDArray[np.int32] | None, NDArray[np.bool_]]:
    """Returns the classes, the labels, and which images have none though others have."""
    values = _labels(content, config, where)
    if values is None:
        return None, None, np.zeros(len(content.names), bool)
    names = sorted({str(value) for value in values if value is not None})
    if all(name.lstrip("+-").isdigit() for name in names):
        names.sort(key=int)  # 10 after 9
    index = {name: number for number, name in enumerate(names)}
    labels = np.array([-1 if value is None else index[str(value)] for value in values], np.int32)
    return tuple(names), np.maximum(labels, 0), labels < 0


def _labels(content: _Content, config: IngestConfig, where: str) -> Sequence[Any] | None:
    """Returns the label of each image, from its .cls file, its JSON, or a .txt file of few different texts."""
    if config.label is not None and not content.has(config.label):
        if content.has(_JSON) and any(values := content.values(config.label)):
            return values
        raise DataError(f"{where}: no file .{config.label} and no key {config.label!r} in JSON beside the images")
    if config.label is not None or content.has(_CLASS):
        return content.texts(config.label or _CLASS)
    if content.has(_JSON):
        for key in _LABEL_KEYS:
            values = content.values(key)
            if any(isinstance(value, str | int) for value in values):
                return values
        content.used.discard(_JSON)
    if content.has(_TEXT):
        values = content.texts(_TEXT)
        if len(set(values)) <= min(config.max_categories, len(values) // 2):
            return values
        content.used.discard(_TEXT)
    return None


def _attributes(content: _Content, config: IngestConfig, where: str) -> pa.Table:
    columns = {}
    for name in config.attributes:
        try:
            columns[name] = pa.array(content.values(name), from_pandas=True)
        except pa.ArrowException as error:
            raise DataError(f"{where}: values of several types in key {name!r} of the JSON files: {error}") from error
    return pa.table(columns)
