"""Kinds of data in the explorer: one file for each, named after the kind, which reads and draws its examples."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from numpy.typing import NDArray

from vae.data.schema import DataKind, ExampleSpec
from vae.errors import DataError

if TYPE_CHECKING:
    from pipelines.explorer.models import Subject
    from pipelines.explorer.views import Repair

MOST_BYTES = 8 << 20
"""Bytes of a file, at most."""


@dataclass(frozen=True)
class Panel:
    """One example on the page."""

    name: str
    values: Any
    """An image [C,H,W] float32 in [0, 1] with NaN for missing pixels, or a data frame of one row."""
    white: float = 1.0
    """Value that is drawn white."""


class Content(NamedTuple):
    """Example in a file."""

    x: str
    """Example, for a link."""
    words: str
    """Description of the example."""
    num_rows: int = 1


class Kind(ABC):
    """One kind of data in the explorer. Values are examples as `predict` takes them, one or several."""

    prefix: ClassVar[str]
    """Word before the colon of an own example in a link."""
    upload: ClassVar[str]
    """Label of the button that uploads an own example."""
    accepts: ClassVar[str]
    """Types of files that can be uploaded, as HTML names them."""
    file: ClassVar[str]
    """Name of such a file in a message."""
    editor: ClassVar[Literal["drawing", "cells"] | None] = None
    """Control of the page that changes an example; None for none."""
    takes_noise: ClassVar[bool] = False
    """Whether the page offers to add noise to an example."""

    @abstractmethod
    def described(self, shape: tuple[int, ...]) -> str:
        """Returns examples of a shape in words."""

    @abstractmethod
    def own(self, subject: Subject, text: str, where: str) -> Any:
        """Returns the own example of a link, from the text after the prefix; raises DataError if it is none."""

    @abstractmethod
    def blank(self, subject: Subject) -> Any:
        """Returns an example for a model without rows."""

    @abstractmethod
    def rows(self, examples: ExampleSpec, values: NDArray[Any]) -> Any:
        """Returns rows of a dataset for `predict`."""

    @abstractmethod
    def pair(self, first: Any, second: Any) -> Any:
        """Returns two examples as `predict` takes a pair."""

    @abstractmethod
    def damaged(self, subject: Subject, view: Repair, values: Any) -> Any:
        """Returns an example with the noise and the gaps of a view."""

    @abstractmethod
    def content(self, subject: Subject, data: bytes, row: str) -> Content:
        """Reads an uploaded file; raises DataError if it holds no example of the model."""

    def thumbnail(self, values: Any) -> NDArray[Any] | None:
        """Returns the pixels [C,H,W] of a button that chooses an example; None for the number of its row."""
        return None

    @abstractmethod
    def panels(self, values: Any, names: Sequence[str]) -> list[Panel]:
        """Returns one panel for each row of an answer."""

    def points(self, answer: Any) -> Any:
        """Returns the examples along the path between one pair, from the answer of `interpolate`."""
        return answer

    @abstractmethod
    def repair_numbers(self, values: Any, answers: Sequence[Any]) -> list[tuple[str, str]]:
        """Returns names and values beside a damaged example and its repair."""

    @abstractmethod
    def csv(self, panels: Sequence[Panel]) -> str:
        """Returns a line for each panel with all of its values."""

    @abstractmethod
    def png(self, panels: Sequence[Sequence[Panel]]) -> bytes:
        """Returns rows of panels as a picture, light whatever the page is."""

    def html(self, panels: Sequence[Panel]) -> str | None:
        """Returns panels as HTML with every text escaped; None for images, which the page draws itself."""
        return None


def check_size(data: bytes) -> None:
    """Raises DataError for a file above the limit."""
    if len(data) > MOST_BYTES:
        raise DataError(f"the file has {len(data):,} bytes, above the limit of {MOST_BYTES:,}; give a smaller one")


def kind_named(name: DataKind) -> Kind:
    """Returns the `KIND` of the file with the name of a kind, which is loaded at its first use."""
    return import_module(f"{__name__}.{name}").KIND
