"""What a caller asks of a model: the parameters of one call."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from vae.directions import Method
from vae.inference import Interpolation, Sampler

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


def choose(what: str, name: str, choices: Sequence[str]) -> None:
    """Refuse a name that is not among the choices.

    Raises:
        ValueError: With the choices, and the nearest.
    """
    if name not in choices:
        near = difflib.get_close_matches(name, choices, n=1)
        hint = f"; did you mean `{near[0]}`?" if near else ""
        raise ValueError(f"unknown {what} {name!r}: this model knows {', '.join(choices)}{hint}")
