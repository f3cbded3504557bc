"""IDX: the format MNIST and its kin are distributed in.

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

import numpy as np
from numpy.typing import NDArray

from pipelines.data.sources.config import IngestConfig
from pipelines.data.sources.parts import PartsReader
from pipelines.data.sources.pixels import check_array, to_pixels
from pipelines.data.sources.survey import Listing, Survey, read_files, read_unchanged, source_file
from vae.data.manifest import SourceFile
from vae.errors import DataError

_NAME = re.compile(r"^(?P<stem>.*?)[-._]?(?P<what>images|labels)[-._]idx(?P<dims>\d)[-._]ubyte(?P<gz>\.gz)?$", re.I)
_UBYTE = 8
_SPLIT_OF_STEM = {"train": 0, "training": 0, "val": 1, "validation": 1, "t10k": 2, "test": 2}


@dataclass(frozen=True)
class IdxPart:
    """One file of images."""

    listing: Listing
    file: SourceFile
    first_row: int
    num_rows: int
    config: IngestConfig

    def load(self) -> NDArray[np.uint8]:
        """All its images, of shape (rows, H, W) or more."""
        return parse_idx(read_unchanged(self.listing, self.file), self.listing.location(self.file.path).uri)

    def finish(self, raw: NDArray[np.uint8], rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """See `Part.finish`."""
        return to_pixels(raw[rows], self.file.path, self.config)


class IdxSource:
    """A folder of IDX files, or one file of images."""

    @staticmethod
    def claims(listing: Listing) -> bool:
        """Whether a file is named as IDX files are."""
        return any(_NAME.match(path) for path in listing.paths)

    @staticmethod
    def survey(config: IngestConfig, listing: Listing) -> Survey:
        """See `Source.survey`."""
        pairs = _pairs(listing)
        labelled = all(labels is not None for _, _, labels in pairs)
        if not labelled and any(labels is not None for _, _, labels in pairs):
            missing = ", ".join(images for _, images, labels in pairs if labels is None)
            raise DataError(f"{listing.root}: some images have labels, and {missing} has none. Add its labels file")
        files, parts, labels, splits, specs = [], [], [], [], set()
        for stem, images_path, labels_path in pairs:
            [data] = read_files(listing, [images_path])
            shape = _shape(data, images_path)
            specs.add(check_array(shape, np.dtype(np.uint8), images_path, config))
            files.append(source_file(images_path, data))
            parts.append(IdxPart(listing, files[-1], sum(p.num_rows for p in parts), shape[0], config))
            splits.append(np.full(shape[0], _split_of(stem), np.uint8))
            if labels_path is not None:
                [label_data] = read_files(listing, [labels_path])
                files.append(source_file(labels_path, label_data))
                labels.append(_labels(label_data, labels_path, images_path, shape[0]))
        if len(specs) > 1:
            sizes = ", ".join(sorted(f"{s.height}×{s.width}" for s in specs))
            raise DataError(
                f"{listing.root}: the files hold images of different sizes ({sizes}). Use --resize HEIGHTxWIDTH"
            )
        values, indices = np.unique(np.concatenate(labels), return_inverse=True) if labelled else (None, None)
        return Survey(
            files=tuple(files),
            example=specs.pop(),
            num_rows=sum(part.num_rows for part in parts),
            reader=PartsReader(tuple(parts)),
            classes=None if values is None else tuple(str(value) for value in values),
            labels=None if indices is None else indices.astype(np.int32),
            own_splits=np.concatenate(splits) if len(parts) > 1 else None,
        )


def parse_idx(data: bytes, where: str) -> NDArray[np.uint8]:
    """The array an IDX file of unsigned bytes holds; gzipped or not.

    Raises:
        DataError: If it is not IDX, not of unsigned bytes, or does not have the length its header promises.
    """
    shape = _shape(data, where)
    start, size = 4 + 4 * len(shape), int(np.prod(shape, dtype=object))
    try:
        # One byte more than promised, so that a longer file is noticed and a bomb is not unfolded.
        whole = gzip.GzipFile(fileobj=io.BytesIO(data)).read(start + size + 1) if _is_gzip(data) else data
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(f"{where}: the gzip stream is damaged ({error}). Fetch the file again") from error
    if len(whole) != start + size:
        found = f"{len(whole) - start:,}" if len(whole) < start + size else "more"
        raise DataError(
            f"{where}: expected {size:,} bytes of data for shape {shape}, found {found}. Fetch the file again"
        )
    return np.frombuffer(whole, np.uint8, offset=start).reshape(shape)


def _shape(data: bytes, where: str) -> tuple[int, ...]:
    try:
        head = gzip.GzipFile(fileobj=io.BytesIO(data)).read(4 + 4 * 4) if _is_gzip(data) else data[: 4 + 4 * 4]
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(f"{where}: the gzip stream is damaged ({error}). Fetch the file again") from error
    if len(head) < 4 or head[:2] != b"\0\0" or not 1 <= head[3] <= 4 or len(head) < 4 + 4 * head[3]:
        raise DataError(
            f"{where}: expected an IDX header, found {head[:4].hex(' ') or 'nothing'}. Fetch the file again"
        )
    if head[2] != _UBYTE:
        raise DataError(f"{where}: expected IDX of unsigned bytes (type 08), found type {head[2]:02x}")
    return tuple(int(n) for n in np.frombuffer(head, ">u4", count=head[3], offset=4))


def _is_gzip(data: bytes) -> bool:
    return data[:2] == b"\x1f\x8b"


def _pairs(listing: Listing) -> list[tuple[str, str, str | None]]:
    """(stem, images, labels) of every set of images, in the order of their stems."""
    found: dict[tuple[str, str], str] = {}
    # Plain files come first, so that a file unpacked beside its .gz is read once.
    for path in sorted(listing.paths, key=lambda path: (path.lower().endswith(".gz"), path)):
        match = _NAME.match(path)
        if match:
            found.setdefault((match["stem"].lower(), match["what"].lower()), path)
    pairs = [(stem, path, found.get((stem, "labels"))) for (stem, what), path in found.items() if what == "images"]
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


def _labels(data: bytes, labels_path: str, images_path: str, num_images: int) -> NDArray[np.uint8]:
    labels = parse_idx(data, labels_path)
    if labels.shape != (num_images,):
        raise DataError(
            f"{labels_path}: expected {num_images:,} labels, one for each image of {images_path}, found "
            f"shape {labels.shape}"
        )
    return labels
