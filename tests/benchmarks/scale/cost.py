"""A model of the time of a step in which ranks sum their gradients, fitted to measured steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares


@dataclass(frozen=True)
class Point:
    """A step of some ranks."""

    ranks: int
    rate: float
    """Bytes a second that a rank's link carries."""
    latency: float
    """Seconds of a message from one rank to another, beside its bytes."""
    num_bytes: float
    """Bytes of the gradients."""
    compute: float
    """Seconds of computing, in which nothing is sent."""

    @property
    def stages(self) -> int:
        """Messages that follow each other in an all-reduce in a ring."""
        return 2 * (self.ranks - 1)

    @property
    def sent(self) -> float:
        """Bytes that each rank sends in an all-reduce in a ring."""
        return self.stages / self.ranks * self.num_bytes


@dataclass(frozen=True)
class Cost:
    """t(N) = compute + overhead + rounds · latency · 2(N − 1) + bytes · 2(N − 1)/N / bandwidth.

    The bandwidth is that of the link, or what the processors carry if that is less: N ranks share two.
    """

    overhead: float
    """Seconds of a step that depend on nothing."""
    rounds: float
    """All-reduces of a step that follow each other."""
    handling: float
    """Processor seconds for each byte that a rank sends."""

    def bandwidth(self, point: Point) -> float:
        """Returns the bytes a second that a rank sends."""
        return min(point.rate, PROCESSORS / (point.ranks * self.handling)) if self.handling else point.rate

    def seconds(self, point: Point) -> float:
        """Returns the seconds of a step."""
        waiting = self.rounds * point.latency * point.stages
        return point.compute + self.overhead + waiting + point.sent / self.bandwidth(point)


PROCESSORS = 2


def fit(points: Sequence[Point], seconds: Sequence[float]) -> Cost:
    """Returns the cost whose relative errors on measured steps have the least sum of squares."""
    measured = np.array(seconds)

    def cost(numbers: Sequence[float]) -> Cost:
        # In units that make all three about 1.
        return Cost(1e-3 * numbers[0], numbers[1], 1e-9 * numbers[2])

    def errors(numbers: Sequence[float]) -> np.ndarray:
        return np.array([cost(numbers).seconds(point) for point in points]) / measured - 1

    return cost(least_squares(errors, [1.0, 1.0, 1.0], bounds=(0, np.inf), diff_step=1e-3).x)
