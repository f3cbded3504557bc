"""Views of the explorer as data: each is a frozen section that fits into the query of a link."""

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
"""Characters of a link, at most: servers and chats cut off longer ones."""


def _read_moves(value: Any) -> Any:
    """Reads `3:0.5,7:-1.25` as ((3, 0.5), (7, -1.25))."""
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
    """Fields of every view."""

    name: ClassVar[str]
    """Name of the view in the link."""
    title: ClassVar[str]
    """Title of the view on the page."""
    task: ClassVar[str]
    """Task of `predict` that the view needs; a model that cannot do it gets its refusal instead of the view."""

    model: str = ""
    """Model as NAME@ALIAS or NAME/VERSION; empty for the first champion."""
    seed: Annotated[int, Field(ge=0, lt=1 << 31)] = 0
    """Seed of every draw, and of the rows that are offered."""
    x: str = ""
    """Example: `row:7` of the dataset, `png:…` for an own image, `json:…` for an own row; empty for the first row."""
    condition: str = ""
    """Condition of the example; empty for the row's own one, or the likeliest."""
    beta: Annotated[float, Field(ge=1e-3, le=1e3)] = 1.0
    """β of a model with β gates; other models know only 1."""

    @property
    def link(self) -> str:
        """Path and query that lead to this view again."""
        query = urlencode(self.model_dump(mode="json", exclude_defaults=True))
        return f"/{self.name}?{query}" if query else f"/{self.name}"

    @property
    def shareable(self) -> bool:
        """True if the link is short enough to be shared."""
        return len(self.link) <= MOST_LINK


class Latent(View):
    """A point of the latent space, and its decoded example."""

    name: ClassVar[str] = "latent"
    title: ClassVar[str] = "Latent"
    task: ClassVar[str] = "traverse"
    moved: Moves = ()
    """Dimensions that are set to values other than the example's own."""
    across: Annotated[int, Field(ge=0)] | None = None
    """Horizontal dimension of the map; None for the most informative one."""
    up: Annotated[int, Field(ge=0)] | None = None
    """Vertical dimension of the map; None for the second most informative one."""
    output: Literal["", "mean", "sample"] = ""
    """Decoded example: its mean, or a draw by the seed; empty for a draw of a table and the mean of images."""


class Path(View):
    """The path from one example to another."""

    name: ClassVar[str] = "interpolate"
    title: ClassVar[str] = "Interpolate"
    task: ClassVar[str] = "interpolate"
    other: str = ""
    """Example at the end of the path, written as `x`; empty for a row of another class."""
    path: Interpolation = "linear"
    n: Annotated[int, Field(ge=2, le=24)] = 9
    """Points of the path, with both ends."""


class Repair(View):
    """An example with noise or gaps, and its reconstruction."""

    name: ClassVar[str] = "repair"
    title: ClassVar[str] = "Reconstruct"
    task: ClassVar[str] = "reconstruct"
    do: Literal["reconstruct", "denoise", "impute"] = "reconstruct"
    noise: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Standard deviation of noise added to an image's pixels, which are in [0, 1], by the seed."""
    holes: str = ""
    """Erased pixels of an image: a PNG of the same size, white for erased ones."""
    cells: str = ""
    """Changed cells of a table's row: JSON of columns and values, null for a gap."""
    draws: Draws = 200
    """Draws of the latent, for denoising and imputing."""


class Transfer(View):
    """An example under another condition."""

    name: ClassVar[str] = "transfer"
    title: ClassVar[str] = "Transfer"
    task: ClassVar[str] = "transfer"
    target: str = ""
    """New condition; empty for that of `other`."""
    other: str = ""
    """Example whose condition is estimated and used, written as `x`."""


class Edit(View):
    """An example with more or less of an attribute."""

    name: ClassVar[str] = "edit"
    title: ClassVar[str] = "Edit"
    task: ClassVar[str] = "edit"
    attribute: str = ""
    """Name of the attribute; empty for the first one."""
    strength: Annotated[float, Field(ge=-10, le=10)] = 1.0
    method: Method = "means"


class Rate(View):
    """The reconstruction of an example at any β, by a model with β gates."""

    name: ClassVar[str] = "rate"
    title: ClassVar[str] = "Rate β"
    task: ClassVar[str] = "reconstruct"


class Compare(View):
    """Two versions on the same rows."""

    name: ClassVar[str] = "compare"
    title: ClassVar[str] = "Compare"
    task: ClassVar[str] = "reconstruct"
    against: str = ""
    """Second model as NAME@ALIAS or NAME/VERSION; empty for the challenger, or the newest other version."""
    n: Annotated[int, Field(ge=1, le=24)] = 6
    """Rows to compare on, chosen by the seed."""
    draws: Draws = 100
    """Draws of the latent, for log p(x)."""


VIEWS: tuple[type[View], ...] = (Latent, Path, Repair, Transfer, Edit, Rate, Compare)


def read_view(name: str, query: Mapping[str, str]) -> View:
    """Returns the view of a link.

    Raises:
        ConfigError: If there is no such view, or the query does not fit it.
    """
    kind = next((kind for kind in VIEWS if kind.name == name), None)
    if kind is None:
        raise ConfigError(f"no view {name[:40]!r}; there are {', '.join(kind.name for kind in VIEWS)}")
    return parse(kind, query, "link")


def moved_to(view: View, kind: type[View]) -> View:
    """Returns another view of the same example."""
    shared = view.model_dump(include={"model", "seed", "x", "condition", "beta"})
    return kind(**(shared if kind is not Compare else {name: shared[name] for name in ("model", "seed")}))
