"""What a caller asks of a model: the parameters of one call."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import Any, Literal

import numpy as np

from vae.inference import Interpolation, Sampler
from vae.parts.directions import Method

Output = Literal["mean", "std", "sample", "ess"]


@dataclass(frozen=True)
class Request:
    """The parameters of one call; each task looks at its own."""

    task: str = "reconstruct"
    n: int = 16
    """Examples to generate, imputations of a row, points of a path, values of a dimension."""
    condition: Sequence[str] = ()
    """What the rows are: one entry for each, or one for all."""
    target: Sequence[str] = ()
    """The condition to transfer rows to, as `condition`."""
    seed: int = 0
    temperature: float = 1.0
    output: Output = "mean"
    """The expected example, its standard deviation, draws of it, or the effective number of draws of each row."""
    num_samples: int = 100
    """Draws of the latent for each row."""
    sampler: Sampler = "prior"
    beta: float = 1.0
    """For models with β gates."""
    path: Interpolation = "linear"
    dimensions: Sequence[int] = ()
    """Of the latent, to traverse; none stands for all."""
    extent: float = 3.0
    """How far from 0 a dimension is taken."""
    attribute: str = ""
    """The direction to edit along."""
    strength: float = 1.0
    """How far along it."""
    method: Method = "means"
    """How the direction was learned."""

    @property
    def where(self) -> str:
        """What asks, for messages."""
        return f"task {self.task}"


CHOICES: Mapping[str, tuple[str, ...]] = {
    "output": ("mean", "std", "sample", "ess"),
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
        ValueError: If there is no such parameter, or a value is not of its type.
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
    """Refuse a name that is not among the choices.

    Raises:
        ValueError: With the choices, and the nearest.
    """
    if name not in choices:
        by_lower = {choice.lower(): choice for choice in choices}
        near = difflib.get_close_matches(name.lower(), by_lower, n=1)
        hint = f"; did you mean `{by_lower[near[0]]}`?" if near else ""
        raise ValueError(f"unknown {what} {name!r}: this model knows {', '.join(choices)}{hint}")
