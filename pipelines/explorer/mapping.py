"""The latent as a map: where examples lie along the two dimensions that carry most.

Shapes: N rows, L latent.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.explorer.asking import Ask, Call, told
from pipelines.explorer.models import Rows, Subject
from pipelines.explorer.views import Latent
from vae.errors import ConfigError
from vae.inference import carried
from vae.inference.answering import Request
from vae.inference.answering.reading import read_inputs

MOST_POINTS = 400
MOST_MAPS = 8
"""Of a model, kept for who turns the axes, comes back, or looks at the same link."""
_TURN = threading.Lock()


@dataclass(frozen=True)
class Codes:
    """Rows of the data in the latent."""

    call: Call
    rows: Sequence[int]
    """Their numbers, [N]"""
    mean: NDArray[np.float32]
    """[N,L]"""
    classes: Sequence[str] | None
    """[N]"""
    order: Sequence[int]
    """The latent's dimensions, the most informative first, as the task `traverse` has them, [L]"""
    carried: NDArray[np.float32]
    """What each dimension tells of these rows, [L]"""
    in_nats: bool
    """Whether that is a KL in nats; see `vae.inference.Carried`."""


@dataclass(frozen=True)
class Map:
    """Codes along two dimensions."""

    codes: Codes
    across: int
    up: int

    @property
    def points(self) -> NDArray[np.float32]:
        """[N,2]"""
        return self.codes.mean[:, [self.across, self.up]]


def chart(view: Latent, subject: Subject) -> Map | None:
    """The map of rows that the seed chooses; None where no rows are at hand.

    Raises:
        ConfigError: If a dimension is asked for that the latent does not have.
    """
    if subject.rows is None:
        return None
    key = (view.seed, view.beta)
    codes = subject.memory.get(key) or _codes(view, subject, subject.rows)
    with _TURN:
        subject.memory[key] = codes
        while len(subject.memory) > MOST_MAPS:
            del subject.memory[next(iter(subject.memory))]
    order = codes.order
    across = order[0] if view.across is None else view.across
    up = next((d for d in order if d != across), across) if view.up is None else view.up
    if max(across, up) >= len(order):
        raise ConfigError(f"link: no dimension {max(across, up)}; there are 0 to {len(order) - 1}")
    return Map(codes, across, up)


def _codes(view: Latent, subject: Subject, given: Rows) -> Codes:
    rows: list[int] = sorted(np.random.default_rng(view.seed).permutation(len(given))[:MOST_POINTS].tolist())
    condition = [] if given.conditions is None else [given.conditions[row] for row in rows]
    asked = told(condition, task="encode", **({"beta": view.beta} if view.beta != 1 else {}))
    call = Call(given.take(rows), (Ask(subject, asked),))
    found = carried(subject.model, read_inputs(subject.model, call.inputs, Request(**asked)))
    return Codes(
        call=call,
        rows=rows,
        mean=found.mean.cpu().numpy(),
        classes=None if given.classes is None else [given.classes[row] for row in rows],
        order=found.per_dimension.argsort(descending=True, stable=True).tolist(),
        carried=found.per_dimension.cpu().numpy(),
        in_nats=found.in_nats,
    )
