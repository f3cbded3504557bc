"""The parameters of one call to a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import Any, Literal

import numpy as np

from vae.errors import did_you_mean
from vae.inference import Interpolation, Sampler
from vae.parts.directions import Method

Output = Literal["auto", "mean", "std", "sample", "ess"]


@dataclass(frozen=True)
class Request:
    """Parameters of one call; each task uses its own."""

    task: str = "reconstruct"
    n: int = 16
    """Number of examples to generate, imputations of a row, points of a path, or values of a dimension."""
    condition: Sequence[str] = ()
    """Conditions of the rows: one entry for each, or one for all."""
    target: Sequence[str] = ()
    """Conditions to transfer rows to, as `condition`."""
    seed: int = 0
    temperature: float = 1.0
    output: Output = "auto"
    """Result: the expected example, its standard deviation, draws of it, or the effective number of draws of each row.
    auto: draws where new rows of a table are made, else the expected example."""
    num_samples: int = 100
    """Draws of the latent for each row."""
    sampler: Sampler = "prior"
    where: str = ""
    """Constraints that generated rows of a table meet, such as `sex=F,age>60`; see `vae.data.constraints`."""
    beta: float = 1.0
    """Weight of the rate, for models with β gates."""
    path: Interpolation = "linear"
    dimensions: Sequence[int] = ()
    """Dimensions of the latent to traverse; none stands for all."""
    extent: float = 3.0
    """Largest distance of a traversed dimension from 0."""
    attribute: str = ""
    """Name of the direction to edit along."""
    strength: float = 1.0
    """Steps along the direction."""
    method: Method = "means"
    """Method by which the direction was learned."""

    @property
    def place(self) -> str:
        """Name of the request in messages."""
        return f"task {self.task}"


CHOICES: Mapping[str, tuple[str, ...]] = {
    "output": ("auto", "mean", "std", "sample", "ess"),
    "sampler": ("prior", "aggregate"),
    "path": ("linear", "spherical", "geodesic"),
    "method": ("means", "probe"),
}


ENTRIES: Mapping[str, type] = {"condition": str, "target": str, "dimensions": int}
"""Type of the entries of each parameter that is a list."""

_ACCEPTED: Mapping[type, type] = {str: str, int: Integral, float: Real}
_EXPECTED: Mapping[type, str] = {str: "text", int: "a whole number", float: "a number"}


def read_request(params: Mapping[str, Any]) -> Request:
    """Returns the request that the parameters of a call state, with numbers and lists of NumPy as Python's own.

    Raises:
        ValueError: If a parameter is unknown, or a value is not of its type.
    """
    defaults = {field.name: field.default for field in fields(Request)}
    for name in params:
        choose("parameter", name, [*defaults])
    return Request(**{name: _read(name, value, type(defaults[name])) for name, value in params.items()})


def _read(name: str, value: Any, kind: type) -> Any:
    """Returns a parameter's value, or its list of values, as Python's own type; refuses any other."""
    entry = ENTRIES.get(name, kind)
    values = value if name in ENTRIES else [value]
    fits = isinstance(values, list | tuple | np.ndarray) and all(
        isinstance(one, _ACCEPTED[entry]) and not isinstance(one, bool) for one in values
    )
    if not fits:
        expected = _EXPECTED[entry]
        if name in ENTRIES:
            expected = f"a list, each entry {expected}, such as [{entry(3)!r}]"
        raise ValueError(f"parameter {name}: expected {expected}, got {repr(value)[:200]}")
    return [entry(one) for one in values] if name in ENTRIES else entry(value)


def choose(what: str, name: str, choices: Sequence[str]) -> None:
    """Refuses a name that is not among the choices.

    Raises:
        ValueError: If it is unknown; lists the choices and the nearest of them.
    """
    if name not in choices:
        raise ValueError(f"unknown {what} {name!r}{did_you_mean(name, choices)}: this model knows {', '.join(choices)}")
