"""The latent as a map: where examples lie along the two dimensions that carry most.

Shapes: N rows, L latent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.explorer.asking import Ask, Call, told
from pipelines.explorer.models import Subject
from pipelines.explorer.views import Latent
from vae.errors import ConfigError

MOST_POINTS = 400


@dataclass(frozen=True)
class Map:
    """Rows of the data in the latent."""

    call: Call
    rows: Sequence[int]
    """Their numbers, [N]"""
    mean: NDArray[np.float32]
    """[N,L]"""
    classes: Sequence[str] | None
    """[N]"""
    order: Sequence[int]
    """The latent's dimensions, those that tell most rows apart first, [L]"""
    across: int
    up: int

    @property
    def points(self) -> NDArray[np.float32]:
        """[N,2]"""
        return self.mean[:, [self.across, self.up]]


def chart(view: Latent, subject: Subject) -> Map | None:
    """The map of rows that the seed chooses; None where no rows are at hand.

    A dimension is the more informative the more the posterior's mean varies over the rows along it.

    Raises:
        ConfigError: If a dimension is asked for that the latent does not have.
    """
    if subject.rows is None:
        return None
    rows: list[int] = sorted(np.random.default_rng(view.seed).permutation(len(subject.rows))[:MOST_POINTS].tolist())
    given = subject.rows.conditions
    condition = [given[row] for row in rows] if given is not None else []
    beta = {"beta": view.beta} if view.beta != 1 else {}
    call = Call(subject.rows.take(rows), (Ask(subject, told(condition, task="encode", **beta)),))
    mean_NL = call.answers()[0]["mean"]
    order = np.argsort(-mean_NL.var(0), kind="stable").tolist()
    across = order[0] if view.across is None else view.across
    up = next((d for d in order if d != across), across) if view.up is None else view.up
    if max(across, up) >= len(order):
        raise ConfigError(f"link: no dimension {max(across, up)}; there are 0 to {len(order) - 1}")
    classes = None if subject.rows.classes is None else [subject.rows.classes[row] for row in rows]
    return Map(call, rows, mean_NL, classes, order, across, up)
