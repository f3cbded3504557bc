"""Models to look at, and rows of the data that they were trained on.

Shapes: N rows, C channels, H height, W width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipelines.explorer.kinds import Kind, kind_named
from vae.data.conditions import example_condition
from vae.inference.answering import abilities, answer
from vae.model import VAE

MOST_ROWS = 1000
MOST_CONDITIONS = 256


@dataclass(frozen=True, kw_only=True)
class Offer:
    """A registered version."""

    name: str
    version: str
    aliases: tuple[str, ...] = ()

    @property
    def reference(self) -> str:
        """Reference as NAME/VERSION."""
        return f"{self.name}/{self.version}"

    @property
    def label(self) -> str:
        """Reference with the aliases, for a list of choices."""
        return " ".join([self.reference, *(f"@{alias}" for alias in self.aliases)])

    @property
    def uri(self) -> str:
        """Address that MLflow loads."""
        return f"models:/{self.reference}"

    def is_meant_by(self, reference: str) -> bool:
        """Tells whether NAME/VERSION or NAME@ALIAS is this version."""
        return reference in (self.reference, *(f"{self.name}@{alias}" for alias in self.aliases))


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Rows of a dataset, as `predict` takes them."""

    values: NDArray[np.uint8] | pd.DataFrame
    """Images [N,C,H,W], or a data frame."""
    dataset_id: str
    conditions: Sequence[str] | None = None
    """Condition of each row [N]; None for an unconditional model."""
    classes: Sequence[str] | None = None
    """Class of each row [N]; None for data without classes."""

    def __len__(self) -> int:
        return len(self.values)

    def take(self, numbers: Sequence[int]) -> Any:
        """Returns the rows of some numbers."""
        return taken(self.values, numbers)


def taken(values: Any, numbers: Sequence[int]) -> Any:
    """Returns some rows of an array or of a data frame."""
    return values.iloc[list(numbers)] if isinstance(values, pd.DataFrame) else values[list(numbers)]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A pulled model, and rows to show it."""

    offer: Offer
    model: VAE
    rows: Rows | None = None
    """Rows of the training data; None if the dataset is out of reach."""
    memory: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)
    """Results that may be wanted again, for as long as the model is in memory."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one example."""
        return self.model.examples.shape

    @property
    def kind(self) -> Kind:
        """Kind of the examples."""
        return kind_named(self.model.examples.kind)

    @cached_property
    def abilities(self) -> Mapping[str, str | None]:
        """Reason why the model cannot do a task, or None, by the name of the task."""
        return abilities(self.model)

    @cached_property
    def conditions(self) -> Sequence[str]:
        """List of all conditions; empty for an unconditional model, or if they are numbers or too many."""
        columns = self.model.conditions
        choices = [column.categories or () for column in columns]
        if not columns or not 0 < math.prod(map(len, choices)) <= MOST_CONDITIONS:
            return ()
        if len(columns) == 1:
            return choices[0]
        names = [column.name for column in columns]
        return [", ".join(f"{n}={v}" for n, v in zip(names, values, strict=True)) for values in product(*choices)]

    @property
    def any_condition(self) -> str:
        """Example of a condition that the model understands; empty for an unconditional model."""
        return next(iter(example_condition(self.model.conditions)), "")

    @property
    def attributes(self) -> Sequence[str]:
        """Names of the directions that `edit` knows."""
        return () if self.abilities["edit"] or self.model.directions is None else self.model.directions.names

    def ask(self, inputs: Any, params: Mapping[str, Any]) -> Any:
        """Returns the answer of `predict`."""
        return answer(self.model, inputs, params)


class Models(Protocol):
    """A source of models."""

    def offers(self) -> Sequence[Offer]:
        """Returns every version by name, the newest first."""
        ...

    def pull(self, reference: str) -> Subject:
        """Returns the model of `NAME`, `NAME@ALIAS` or `NAME/VERSION`.

        Raises:
            RegistryError: If there is none; the message lists what there is.
        """
        ...
