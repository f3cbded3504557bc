"""Map of the latent space: examples along the two dimensions that carry the most information.

Shapes: N rows, L latent dimensions.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.explorer.asking import Ask, Call, params_of
from pipelines.explorer.models import Rows, Subject
from pipelines.explorer.views import Latent
from vae.errors import ConfigError
from vae.inference import carried
from vae.inference.answering import Request
from vae.inference.answering.reading import read_inputs

MOST_POINTS = 400
MOST_MAPS = 8
"""Maps of a model that are kept in memory, at most, for other axes and other visitors."""
_TURN = threading.Lock()


@dataclass(frozen=True)
class Codes:
    """Rows of the data in the latent space."""

    call: Call
    rows: Sequence[int]
    """Numbers of the rows, [N]."""
    mean: NDArray[np.float32]
    """Posterior means, [N,L]."""
    classes: Sequence[str] | None
    """Class of each row [N]; None for data without classes."""
    order: Sequence[int]
    """Latent dimensions [L], the most informative first, as the task `traverse` has them."""
    carried: NDArray[np.float32]
    """Information of each dimension about these rows, [L]."""
    in_nats: bool
    """True if the information is a KL in nats; see `vae.inference.Carried`."""


@dataclass(frozen=True)
class Map:
    """Codes along two dimensions."""

    codes: Codes
    across: int
    up: int

    @property
    def call(self) -> Call:
        """Call that gives the codes."""
        return self.codes.call

    @property
    def points(self) -> NDArray[np.float32]:
        """Coordinates of the rows, [N,2]."""
        return self.codes.mean[:, [self.across, self.up]]


def chart(view: Latent, subject: Subject) -> Map | None:
    """Returns the map of rows that the seed chooses; None for a model without rows.

    Raises:
        ConfigError: If the view names a dimension that the latent space does not have.
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


def _codes(view: Latent, subject: Subject, data: Rows) -> Codes:
    rows: list[int] = sorted(np.random.default_rng(view.seed).permutation(len(data))[:MOST_POINTS].tolist())
    condition = [] if data.conditions is None else [data.conditions[row] for row in rows]
    params = params_of(condition, view.beta, task="encode")
    call = Call(data.take(rows), (Ask(subject, params),))
    latent = carried(subject.model, read_inputs(subject.model, call.inputs, Request(**params)))
    return Codes(
        call=call,
        rows=rows,
        mean=latent.mean.cpu().numpy(),
        classes=None if data.classes is None else [data.classes[row] for row in rows],
        order=latent.per_dimension.argsort(descending=True, stable=True).tolist(),
        carried=latent.per_dimension.cpu().numpy(),
        in_nats=latent.in_nats,
    )
