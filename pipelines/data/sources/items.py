"""Items of a dataset in Python: the dataset at an address, and what one of its items holds."""

from __future__ import annotations

import hashlib
import inspect
import pickle
import tempfile
import threading
import weakref
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import IterableDataset

from pipelines.data.sources.config import IngestConfig
from pipelines.data.sources.segments import load_once
from vae.errors import DataError, did_you_mean
from vae.parts.custom import found_at

_LABELS = ("label", "labels", "target", "targets", "y")
_AS_ARRAYS = ("1", "L", "RGB", "RGBA", "I;16", "I", "F")
_given: dict[str, Any] = {}
"""Datasets that a caller in this process holds, by the addresses that stand for them."""
# A dataset is rarely made for several threads: most share one open file.
_reading = threading.RLock()


class BadItem(Exception):  # noqa: N818  named for what it is about
    """An item that cannot be used; the message says why."""


class Item(NamedTuple):
    """The content of an item: an image with a label and values beside it, or the values of a row."""

    image: NDArray[np.generic] | None
    label: int | str | None
    values: dict[str, Any]
    """Values of a row, or beside an image, by their names."""

    def digest(self, names: Sequence[str]) -> bytes:
        """Returns a hash of the item's content.

        Args:
            names: Values beside an image that count.
        """
        values = self.values if self.image is None else {name: self.values.get(name) for name in names}
        content = hashlib.sha256(repr((self.label, [*values.items()])).encode())
        if self.image is not None:
            content.update(f"{self.image.dtype.str} {self.image.shape}".encode())
            content.update(np.ascontiguousarray(self.image).tobytes())
        return content.digest()


@dataclass(frozen=True)
class Items:
    """The items of a dataset. Picklable: each process opens the dataset at its address."""

    address: str
    config: IngestConfig = field(hash=False, compare=False)

    def load(self) -> Any:
        """Returns the dataset; see `load_once`."""
        return _given[self.address] if self.address in _given else _readable(_at(self.address), self.address)

    def __len__(self) -> int:
        return len(load_once(self))

    def read(self, index: int) -> Item:
        """Reads an item.

        Raises:
            BadItem: If the dataset raises, or the item is of no known form.
            DataError: If the dataset has fewer items than it says, or no field of an item is the image.
        """
        dataset = load_once(self)
        try:
            with _reading:
                raw = dataset[index]
        except IndexError as error:
            raise DataError(
                f"{self.address}: __len__ says {len(dataset):,} items, and item {index} raises IndexError: {error}. "
                "Return the number of items there are"
            ) from error
        except Exception as error:
            raise BadItem(f"raises {type(error).__name__}: {error}") from error
        return parsed(raw, self.config, self.address)

    @property
    def class_names(self) -> Sequence[str]:
        """Names of the classes by their numbers, where the dataset has them as those of torchvision and the Hub do."""
        dataset = load_once(self)
        features = getattr(dataset, "features", None)
        label = self.config.label or "label"
        names = getattr(features[label], "names", None) if isinstance(features, Mapping) and label in features else None
        names = names or getattr(dataset, "classes", None)
        return [*map(str, names)] if isinstance(names, list | tuple) else ()


@contextmanager
def given(data: Any) -> Iterator[str]:
    """Yields an address that stands for a dataset while the block runs, in this process."""
    made = _made(data, type(data).__name__)
    address = base = f"{type(made).__module__}:{type(made).__name__}"
    number = 1
    while address in _given:
        number += 1
        address = f"{base}_{number}"
    _given[address] = _readable(made, address)
    try:
        yield address
    finally:
        del _given[address]


def _at(address: str) -> Any:
    try:
        found = found_at(address, "ingest")
    except ValueError as error:
        raise DataError(str(error).removeprefix("ingest: ")) from None
    return _made(found, address)


def _made(found: Any, address: str) -> Any:
    """Returns what a class or a function returns without arguments; other things as they are."""
    if not (inspect.isclass(found) or inspect.isroutine(found)):
        return found
    try:
        return found()
    except Exception as error:
        raise DataError(
            f"{address}: {address.rpartition(':')[2]}() raises {type(error).__name__}: {error}. It is called without "
            "arguments; to give some, name a function or a variable that holds the dataset"
        ) from error


def _readable(dataset: Any, address: str) -> Any:
    """Returns a dataset whose items can be read in any order: itself, or the stored items of a stream."""
    if isinstance(dataset, torch.utils.data.DataLoader):
        raise DataError(f"{address}: a DataLoader gives batches, expected a dataset. Give its own: loader.dataset")
    if isinstance(dataset, IterableDataset) or (hasattr(dataset, "__iter__") and not hasattr(dataset, "__getitem__")):
        return _Stored(dataset, address)
    if not (hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")) or isinstance(dataset, str | Mapping):
        raise DataError(
            f"{address}: expected a dataset with __len__ and __getitem__, or one to iterate over, found "
            f"{type(dataset).__module__}.{type(dataset).__qualname__}"
        )
    return dataset


class _Stored:
    """Items of a stream, in a file without a name that only this process reads.

    Args:
        stream: Items in order.
        address: Address of the dataset, for messages.
    """

    def __init__(self, stream: Iterable[Any], address: str) -> None:
        self._file, self._ends = tempfile.TemporaryFile(prefix="betaline-"), array("q", [0])  # noqa: SIM115  closed below
        weakref.finalize(self, self._file.close)
        self.features, self.classes = (getattr(stream, name, None) for name in ("features", "classes"))
        items = iter(stream)
        while True:
            try:
                item = next(items)
            except StopIteration:
                break
            except Exception as error:
                raise DataError(
                    f"{address}: item {len(self)} raises {type(error).__name__}: {error}. A stream ends there: mend it, or "
                    "give a dataset with __len__ and __getitem__"
                ) from error
            pickle.dump(item, self._file, protocol=pickle.HIGHEST_PROTOCOL)
            self._ends.append(self._file.tell())

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> Any:
        self._file.seek(self._ends[index])
        return pickle.load(self._file)  # which this object has written


def parsed(raw: Any, config: IngestConfig, where: str) -> Item:
    """Returns what an item of a dataset holds.

    Raises:
        BadItem: If it is of no known form.
        DataError: If several of its fields are images and none is named.
    """
    if hasattr(raw, "_asdict"):
        raw = raw._asdict()
    if isinstance(raw, Mapping):
        return _mapping({str(name): value for name, value in raw.items()}, config, where)
    image, label = raw if isinstance(raw, tuple | list) and len(raw) == 2 else (raw, None)
    pixels = _array(image, config)
    if pixels is None or not pixels.ndim:
        raise BadItem(f"expected an image, an image and its label, or a mapping, found {_described(raw)}")
    if pixels.ndim > 1:
        return Item(pixels, None if label is None else _label(label), {})
    row = {f"x_{place}": value for place, value in enumerate(pixels.tolist())}
    return Item(None, None, row if label is None else row | {"label": _label(label)})


def _mapping(values: dict[str, Any], config: IngestConfig, where: str) -> Item:
    arrays = {name: pixels for name, value in values.items() if (pixels := _array(value, config)) is not None}
    images = [name for name, pixels in arrays.items() if pixels.ndim > 1]
    if config.image is not None and config.image not in images:
        listed = ", ".join(values)
        raise DataError(f"{where}: no image {config.image!r}{did_you_mean(config.image, values)}. Items hold {listed}")
    if config.image is None and len(images) > 1:
        raise DataError(f"{where}: items hold {len(images)} images ({', '.join(images)}). Use --set image=NAME")
    plain = {name: _plain(value) for name, value in values.items() if name not in images}
    if not images:
        return Item(None, None, plain)
    name = config.label or next((name for name in _LABELS if name in plain), None)
    if config.label is not None and config.label not in plain:
        listed = ", ".join(plain)
        raise DataError(f"{where}: no label {config.label!r}{did_you_mean(config.label, plain)}. Items hold {listed}")
    label = None if name is None else _label(plain.pop(name))
    return Item(arrays[config.image or images[0]], label, plain)


def _array(value: Any, config: IngestConfig) -> NDArray[np.generic] | None:
    """Returns an image, a vector or a number of an array library as an array; None for anything else."""
    if isinstance(value, Image.Image):
        return np.asarray(_picture(value, config))
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().numpy()
    if isinstance(value, np.ndarray) or (hasattr(value, "__array__") and not np.isscalar(value)):
        pixels = np.asarray(value)
        return pixels if pixels.dtype.kind in "uibf" else None
    return None


def _picture(picture: Image.Image, config: IngestConfig) -> Image.Image:
    if picture.mode in _AS_ARRAYS and "transparency" not in picture.info:
        return picture
    if picture.mode in ("P", "YCbCr") and "transparency" not in picture.info:
        return picture.convert("RGB")
    if config.color == "keep":
        raise BadItem(f"a picture of mode {picture.mode}, which would lose something. Use --color rgb or --color grey")
    return picture.convert("RGB")


def _plain(value: Any) -> Any:
    """Returns a value of a row as Python's own type."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    return value.tolist() if isinstance(value, torch.Tensor) else value


def _label(value: Any) -> int | str:
    value = _plain(value)
    if isinstance(value, list) and len(value) == 1:
        [value] = value
    if not isinstance(value, int | str):
        raise BadItem(f"expected an integer or text as label, found {_described(value)}")
    return value


def _described(value: Any) -> str:
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    return "None" if value is None else f"{type(value).__name__} {value!r:.40}"
