"""The transform of images.

Shapes: N rows, C channels, H height, W width, D values of an image (C·H·W).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from vae.data.binarization import Binarization, check_binary, static_binarization
from vae.data.schema import ExampleSpec
from vae.draws import RowDraws
from vae.errors import DataError

IMAGE = "image"
"""Name of the column that stores the pixels."""


class ImageTransform:
    """Conversions of images: uint8 pixels in a dataset, float32 in [0, 1] elsewhere.

    Args:
        examples: Schema of the images.
    """

    dtype = np.uint8
    noun = "images"
    """The examples in a message: a dataset "holds images"."""
    before_shape = "images of shape"
    """Words before the shape of an example in a message."""
    bodies = "`mlp` or `conv`"
    """Kinds of bodies that read the examples, in a message."""
    families = frozenset({"reconstruction", "information", "disentanglement", "generation", "denoising", "imputation"})
    """Families of metrics that can be measured; see `vae.metrics.suite`."""
    refines_imputation = False
    """Whether `vae.metrics.uses.fill_in` improves the proposals, which takes minutes to hours for images."""
    new_examples: Literal["mean", "sample"] = "mean"
    """Values of new examples unless a caller says otherwise: means, because a draw of each pixel is grainy."""
    stacks = True
    """Whether a column of results can hold several examples for each row."""

    def __init__(self, examples: ExampleSpec) -> None:
        self.examples = examples

    @property
    def summary(self) -> str:
        """The examples in a few words."""
        channels, height, width = self.examples.shape
        return f"images of {height}x{width} pixels, {channels} channel{'s' * (channels != 1)}"

    @property
    def described(self) -> str:
        """The examples in a message about examples that do not fit a model."""
        return f"images of shape {self.examples.shape}"

    # --- a dataset's shards ---------------------------------------------------------------------------------------

    @property
    def stored_row_bytes(self) -> int | None:
        """Bytes of a row's values in a shard; None where they vary."""
        return self.examples.row_bytes

    def fields(self) -> list[pa.Field]:
        """Returns the columns of a shard that hold the values."""
        metadata = {"shape": json.dumps(self.examples.shape), "layout": "CHW", "dtype": "uint8"}
        return [pa.field(IMAGE, pa.binary(self.examples.row_bytes), nullable=False, metadata=metadata)]

    def from_arrow(self, table: pa.Table, part: slice) -> NDArray[np.uint8]:
        """Returns the pixels of some rows of a shard, [N,D]: a view."""
        return pixels_of(table.column(IMAGE), self.examples.row_bytes)[part]

    def to_arrow(self, values: NDArray[Any], given: pa.Table | None = None) -> list[pa.Array]:
        """Returns pixels as a shard stores them."""
        kind = pa.binary(self.examples.row_bytes)
        return [pa.FixedSizeBinaryArray.from_buffers(kind, len(values), [None, pa.py_buffer(values)])]

    # --- a model --------------------------------------------------------------------------------------------------

    def binarized(
        self, values_ND: NDArray[Any], policy: Binarization | None, split: str, first_row: int, where: str
    ) -> NDArray[Any]:
        """Returns the pixels of rows of a split as a static policy draws them; other policies change nothing.

        Raises:
            DataError: If the policy is `none` and a pixel is grey.
        """
        if policy == "none":
            check_binary(values_ND, f"{where}, {split} rows {first_row} to {first_row + len(values_ND)}")
        if policy != "static":
            return values_ND
        out = values_ND if values_ND.flags.writeable else None  # in place, unless it is a view of Arrow's
        return static_binarization(values_ND, first_row, split, out)

    def prepare(
        self, values: Tensor, policy: Binarization | None = None, source: RowDraws | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Returns a batch's pixels as the likelihood scores them, and None: a mask of missing pixels is the batch's own.

        Args:
            values: uint8 [N,C,H,W].
            policy: Policy by which grey pixels become binary; None keeps them grey.
            source: Source of the draws of a dynamic policy.
        """
        if policy == "dynamic":
            assert source is not None, "a dynamic policy draws"
            return source.binary(values), None
        return values.float().div_(255), None

    def as_numbers(self, x: Tensor, observed: Tensor | None) -> tuple[Tensor, Tensor]:
        """Returns prepared images as rows of numbers, and which of them are observed, [N,D] each."""
        return x.flatten(1), torch.ones_like(x, dtype=torch.bool).flatten(1) if observed is None else observed.flatten(
            1
        )

    def is_number(self) -> Tensor:
        """Returns which columns of `as_numbers` are not of categories, bool [D]: all."""
        return torch.ones(self.examples.num_values, dtype=torch.bool)

    def log_slopes(self, x: Tensor) -> Tensor:
        """Returns zeros, [N,D]: pixels have no curves."""
        return torch.zeros_like(x).flatten(1)

    def in_units(self, x: Tensor) -> Tensor:
        """Returns prepared images as they are."""
        return x

    def standardised(self, x: Tensor) -> Tensor:
        """Returns images as they are: a pixel's unit is its range."""
        return x

    def restore(self, x: Tensor) -> NDArray[np.uint8]:
        """Returns a model's images as a dataset holds them.

        Raises:
            DataError: If a pixel is no finite number.
        """
        pixels = x.cpu().numpy()
        if not np.isfinite(pixels.sum()):
            raise DataError(f"{int((~np.isfinite(pixels)).sum())} of {pixels.size} pixels are not finite")
        levels = pixels * np.float32(255)
        np.rint(levels, out=levels)
        return np.clip(levels, 0, 255, out=levels).astype(np.uint8)

    def missed(self, values: NDArray[Any], x: Tensor) -> NDArray[np.float64]:
        """Returns the differences of pixels in [0, 1] from a model's answer, [N,D]."""
        return (values.reshape(len(values), -1).astype(np.float64) / 255) - x.flatten(1).cpu().numpy()

    @property
    def units(self) -> NDArray[np.float64]:
        """Unit in which a model scores each value, [D]: 1."""
        return np.ones(self.examples.num_values)

    def costly(self, x: Tensor, position: int, entry: int) -> tuple[str, str]:
        """Describes one value of a batch: a clause that goes on after the row's name, and the place of the value."""
        return "", " in one pixel"

    def aligned(self, values: NDArray[Any], data: ExampleSpec) -> NDArray[Any]:
        """Returns the values of a dataset of this shape as they are."""
        return values

    # --- callers --------------------------------------------------------------------------------------------------

    def read(self, images: Any, where: str, *, noisy: bool = False) -> tuple[Tensor, Tensor | None]:
        """Reads a caller's images; nothing is resized.

        Args:
            images: [N,C,H,W], [N,D], or [N,H,W] of one channel: in [0, 1], or uint8; NaN where missing.
            where: Name of the request in messages.
            noisy: Whether pixels may lie outside [0, 1].

        Returns:
            float32 [N,C,H,W], 0 where missing; and which pixels are observed, None where all are.

        Raises:
            ValueError: If the shape or a pixel's value is wrong.
        """
        array = as_array(images, where)
        channels, height, width = shape = self.examples.shape
        allowed = [shape, (self.examples.num_values,), *([(height, width)] if channels == 1 else [])]
        if array.ndim < 2 or array.shape[1:] not in allowed:
            expected = " or ".join(shape_text(("N", *one)) for one in allowed)
            raise ValueError(f"{where}: expected images of shape {expected}, found {shape_text(array.shape)}")
        array = array.reshape(len(array), *shape)
        x = torch.from_numpy(array.astype(np.float32) / (255 if array.dtype == np.uint8 else 1))
        observed = None
        if array.dtype.kind == "f" and (missing := x.isnan()).any():  # whole numbers have no NaN to look for
            x, observed = x.masked_fill(missing, 0), ~missing
        if noisy and not x.isfinite().all():
            raise ValueError(f"{where}: expected finite pixels, or NaN where one is missing; found an infinite one")
        if len(x) and not noisy and not (x.min() >= 0 and x.max() <= 1):
            raise ValueError(
                f"{where}: expected pixels in [0, 1] (or uint8 in 0…255), found {x.min():g} to {x.max():g}"
            )
        return x, observed

    def take(self, values: Tensor, where: str) -> tuple[Tensor, Tensor | None]:
        """Returns a dataset's images as a task takes them: grey pixels stay grey."""
        return self.prepare(values)

    def read_pairs(self, pairs: Any, where: str) -> tuple[Tensor, Tensor | None]:
        """Reads pairs of images [N,2,…] as successive rows; see `read`."""
        array = as_array(pairs, where)
        if array.ndim < 3 or array.shape[1] != 2:
            raise ValueError(f"{where}: expected pairs of images, (N, 2, …), found {shape_text(array.shape)}")
        return self.read(array.reshape(-1, *array.shape[2:]), where)

    def write(
        self, x: Tensor, levels: Mapping[str, Sequence[Any]] | None = None, beside: Mapping[str, Tensor] | None = None
    ) -> Any:
        """Returns images [N,…,C,H,W] as an array; with arrays that explain it beside, a mapping of all."""
        if beside is None:
            return x.cpu().numpy()
        return {name: value.cpu().numpy() for name, value in {**beside, "examples": x}.items()}

    def write_values(self, values: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Returns a dataset's pixels as callers may give them."""
        return values.astype(np.float32) / np.float32(255)

    def write_spread(self, std: Tensor) -> NDArray[np.float32]:
        """Returns standard deviations of pixels as an array."""
        return std.cpu().numpy()

    def store_spread(self, std: Tensor) -> NDArray[np.uint8]:
        """Returns standard deviations of pixels as an image of a dataset."""
        return self.restore(std)

    def keep_given(self, written: Any, given: Any, where: str) -> Any:
        """Returns imputed images, which hold the caller's own pixels already."""
        return written


def as_array(inputs: Any, where: str) -> NDArray[Any]:
    """Returns inputs as one array of numbers; data frames, lists and tensors will do.

    Raises:
        ValueError: If they are not numbers.
    """
    if inputs is None:
        raise ValueError(f"{where} needs inputs, got None")
    array = np.asarray(inputs)
    if array.dtype.kind not in "fiub":
        raise ValueError(
            f"{where}: expected an array of numbers, found {array.dtype} of shape {shape_text(array.shape)}"
        )
    return array


def shape_text(shape: Sequence[Any]) -> str:
    """Returns a shape as Python writes it, with names for sizes."""
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"


def pixels_of(column: pa.ChunkedArray, row_bytes: int) -> NDArray[np.uint8]:
    """Returns a fixed-size binary column as an array [N, row_bytes]: a view where the column is one chunk."""
    array = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):  # no chunk at all, or more than one array can hold
        pieces = [pixels_of(pa.chunked_array([chunk]), row_bytes) for chunk in array.chunks]
        return np.concatenate([np.empty((0, row_bytes), np.uint8), *pieces])
    data = array.buffers()[1]
    flat = np.frombuffer(data, np.uint8, count=len(array) * row_bytes, offset=array.offset * row_bytes)
    return flat.reshape(len(array), row_bytes)
