"""What a person looks at, as data: every view is a frozen section that fits into the query of a link."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlencode

from pydantic import BeforeValidator, Field, PlainSerializer

from vae.config import Section, parse
from vae.errors import ConfigError
from vae.inference import Interpolation
from vae.parts.directions import Method

MOST_LINK = 32_000
"""Characters of a link; what is longer, servers and chats cut off."""


def _read_moves(value: Any) -> Any:
    """`3:0.5,7:-1.25` as ((3, 0.5), (7, -1.25))."""
    if not isinstance(value, str):
        return value
    try:
        return tuple((int(k), float(v)) for k, v in (move.split(":") for move in value.split(",") if move))
    except ValueError:
        raise ValueError(f"moved must be DIMENSION:VALUE, several with commas between, got {value[:80]!r}") from None


def _write_moves(moves: tuple[tuple[int, float], ...]) -> str:
    return ",".join(f"{dimension}:{value:g}" for dimension, value in moves)


Moves = Annotated[
    tuple[tuple[int, float], ...], BeforeValidator(_read_moves), PlainSerializer(_write_moves, return_type=str)
]
Draws = Annotated[int, Field(ge=1, le=5000)]


class View(Section):
    """What every view says."""

    name: ClassVar[str]
    """In the link."""
    title: ClassVar[str]
    task: ClassVar[str]
    """Whose refusal, if the model has one, is shown instead of the view."""

    model: str = ""
    """NAME@ALIAS or NAME/VERSION."""
    seed: Annotated[int, Field(ge=0, lt=1 << 31)] = 0
    """Of every draw, and of the rows that are offered."""
    x: str = ""
    """The example: `row:7` of the dataset's, `png:…`, an image of one's own, or `json:…`, a table's row of one's own; empty
    stands for the first row."""
    condition: str = ""
    """What the model is told; empty stands for the row's own, or the likeliest."""
    beta: Annotated[float, Field(ge=1e-3, le=1e3)] = 1.0
    """For models with β gates."""

    @property
    def link(self) -> str:
        """Path and query that lead here again."""
        query = urlencode(self.model_dump(mode="json", exclude_defaults=True))
        return f"/{self.name}?{query}" if query else f"/{self.name}"

    @property
    def shareable(self) -> bool:
        """Whether the link is short enough to be sent around."""
        return len(self.link) <= MOST_LINK


class Latent(View):
    """A point of the latent and what it decodes to."""

    name: ClassVar[str] = "latent"
    title: ClassVar[str] = "Latent"
    task: ClassVar[str] = "traverse"
    moved: Moves = ()
    """Dimensions and what they are set to, away from the example's own."""
    across: Annotated[int, Field(ge=0)] | None = None
    """The dimension to the right of the map; the most informative by default."""
    up: Annotated[int, Field(ge=0)] | None = None
    """The dimension upwards; the second by default."""
    output: Literal["mean", "sample"] = "mean"
    """The expected example, or a draw of it by the seed."""


class Path(View):
    """The way from one example to another."""

    name: ClassVar[str] = "interpolate"
    title: ClassVar[str] = "Interpolate"
    task: ClassVar[str] = "interpolate"
    other: str = ""
    """Where the way ends, as `x`."""
    path: Interpolation = "linear"
    n: Annotated[int, Field(ge=2, le=24)] = 9
    """Points, both ends among them."""


class Repair(View):
    """An example with noise or gaps, and what the model makes of it."""

    name: ClassVar[str] = "repair"
    title: ClassVar[str] = "Reconstruct"
    task: ClassVar[str] = "reconstruct"
    do: Literal["reconstruct", "denoise", "impute"] = "reconstruct"
    noise: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Standard deviation of noise added to an image's pixels, which are in [0, 1], by the seed."""
    holes: str = ""
    """Of an image, where it is rubbed out: a PNG of the same size, white there."""
    cells: str = ""
    """Of a table's row, what is changed: JSON of columns and values, null for a gap."""
    draws: Draws = 200
    """Of the latent."""


class Transfer(View):
    """An example under another condition."""

    name: ClassVar[str] = "transfer"
    title: ClassVar[str] = "Transfer"
    task: ClassVar[str] = "transfer"
    target: str = ""
    """The condition to give it; empty stands for that of `other`."""
    other: str = ""
    """An example whose condition is found out, as `x`."""


class Edit(View):
    """An example with more or less of an attribute."""

    name: ClassVar[str] = "edit"
    title: ClassVar[str] = "Edit"
    task: ClassVar[str] = "edit"
    attribute: str = ""
    """The first by default."""
    strength: Annotated[float, Field(ge=-10, le=10)] = 1.0
    method: Method = "means"


class Rate(View):
    """An example as a model with β gates rebuilds it at one β and another."""

    name: ClassVar[str] = "rate"
    title: ClassVar[str] = "Rate β"
    task: ClassVar[str] = "reconstruct"


class Compare(View):
    """Two versions on the same rows."""

    name: ClassVar[str] = "compare"
    title: ClassVar[str] = "Compare"
    task: ClassVar[str] = "reconstruct"
    against: str = ""
    """NAME@ALIAS or NAME/VERSION of the second."""
    n: Annotated[int, Field(ge=1, le=24)] = 6
    """Rows, chosen by the seed."""
    draws: Draws = 100


VIEWS: tuple[type[View], ...] = (Latent, Path, Repair, Transfer, Edit, Rate, Compare)


def read_view(name: str, query: Mapping[str, str]) -> View:
    """The view of a link.

    Raises:
        ConfigError: If there is no such view, or the query is none of its.
    """
    kind = next((kind for kind in VIEWS if kind.name == name), None)
    if kind is None:
        raise ConfigError(f"no view {name[:40]!r}; there are {', '.join(kind.name for kind in VIEWS)}")
    return parse(kind, query, "link")


def moved_to(view: View, kind: type[View]) -> View:
    """Another view of the same example."""
    shared = view.model_dump(include={"model", "seed", "x", "condition", "beta"})
    return kind(**(shared if kind is not Compare else {name: shared[name] for name in ("model", "seed")}))
