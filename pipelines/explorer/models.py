"""Models to look at, and rows of the data that they learned from.

Shapes: N rows, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vae.data.conditions import example_condition
from vae.data.schema import ExampleSpec
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
        """NAME/VERSION."""
        return f"{self.name}/{self.version}"

    def is_meant_by(self, reference: str) -> bool:
        """Whether NAME/VERSION or NAME@ALIAS is this version."""
        return reference in (self.reference, *(f"{self.name}@{alias}" for alias in self.aliases))

    @property
    def label(self) -> str:
        """The same with its aliases, to choose it by."""
        return " ".join([self.reference, *(f"@{alias}" for alias in self.aliases)])

    @property
    def uri(self) -> str:
        """As MLflow loads it."""
        return f"models:/{self.reference}"


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Rows of a dataset, as `predict` takes them."""

    values: NDArray[np.uint8] | pd.DataFrame
    """Images [N,C,H,W], or a data frame."""
    dataset_id: str
    conditions: Sequence[str] | None = None
    """What the model is told of each, [N]; None for a model that is told nothing."""
    classes: Sequence[str] | None = None
    """Of each, [N]; None where there are none."""

    def __len__(self) -> int:
        return len(self.values)

    def take(self, numbers: Sequence[int]) -> Any:
        """Some of them."""
        return self.values.iloc[list(numbers)] if isinstance(self.values, pd.DataFrame) else self.values[list(numbers)]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A pulled model, and rows to show it."""

    offer: Offer
    model: VAE
    rows: Rows | None = None
    """None where the data that it learned from is out of reach."""
    memory: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)
    """What was found out of it and will be asked for again; it goes when the model goes."""

    @property
    def examples(self) -> ExampleSpec:
        """What one example is."""
        return self.model.examples

    @property
    def is_table(self) -> bool:
        """Whether examples are rows of a table, which are no picture."""
        return self.examples.columns is not None

    @cached_property
    def abilities(self) -> Mapping[str, str | None]:
        """Every task, and why the model cannot do it; None where it can."""
        return abilities(self.model)

    @cached_property
    def conditions(self) -> Sequence[str]:
        """Everything that the model may be told, where that is a list; empty where it is told nothing, or numbers."""
        columns = self.model.conditions
        choices = [column.categories or () for column in columns]
        if not columns or not 0 < int(np.prod([len(names) for names in choices])) <= MOST_CONDITIONS:
            return ()
        if len(columns) == 1:
            return choices[0]
        names = [column.name for column in columns]
        return [", ".join(f"{n}={v}" for n, v in zip(names, values, strict=True)) for values in product(*choices)]

    @property
    def any_condition(self) -> str:
        """One that the model understands; empty for a model that is told nothing."""
        return next(iter(example_condition(self.model.conditions)), "")

    @property
    def attributes(self) -> Sequence[str]:
        """What `edit` knows directions of."""
        return () if self.abilities["edit"] else self.model.directions.names if self.model.directions else ()

    def ask(self, inputs: Any, params: Mapping[str, Any]) -> Any:
        """What `predict` answers."""
        return answer(self.model, inputs, params)


class Models(Protocol):
    """Where models come from."""

    def offers(self) -> Sequence[Offer]:
        """Every version there is, by name, the newest first."""
        ...

    def pull(self, reference: str) -> Subject:
        """The model of `NAME`, `NAME@ALIAS` or `NAME/VERSION`.

        Raises:
            RegistryError: If there is none; says what there is.
        """
        ...
