"""Transforms of examples: one class for each kind of data, with every conversion of its values.

A transform knows the forms that values take: as a dataset's shards store them, as a batch holds them, as a model scores
them, and as callers write and get them. A new kind of data is one file here and its line in `transform_of`.
"""

from __future__ import annotations

from functools import lru_cache

from vae.data.schema import ExampleSpec
from vae.data.transforms.columns import Categories, transform_of_column
from vae.data.transforms.images import ImageTransform
from vae.data.transforms.numbers import Numbers
from vae.data.transforms.tables import TableTransform

__all__ = [
    "Categories",
    "ImageTransform",
    "Numbers",
    "TableTransform",
    "Transform",
    "transform_of",
    "transform_of_column",
]

Transform = ImageTransform | TableTransform


@lru_cache(maxsize=64)
def transform_of(examples: ExampleSpec) -> Transform:
    """Returns the transform of examples."""
    return ImageTransform(examples) if examples.columns is None else TableTransform(examples, examples.columns)
