"""Curves of columns: rising functions from a column's standard deviations to the numbers that a model scores.

A curve takes u, a number in standard deviations from its column's mean, and gives x. A column without a curve has x = u.
Each kind of curve is one class, for all columns of a table that have it: `fit` finds the numbers that a schema stores, and
the module computes x, u, and log dx/du, which a likelihood adds to the density of x to give that of u.

Dates have quantile curves too. A sine and a cosine of the day in the year would be two numbers for one column, would lose
the year, and have no density on the line.

Shapes: N values of a column, G columns of one kind, K numbers of a curve; `...` is any shape.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vae.data.schema import WHOLE, Column, Curve

Values = NDArray[np.float64]
CurveChoice = Literal["standard", "auto", "parametric"]

LEAST_VALUES = 30
"""Entries of a column below which it keeps its standard deviations."""
LEAST_MASS = 0.1
"""Share of a column's entries from which a value at the edge of its range is a point mass."""
MOST_KNOTS, LEAST_KNOTS, VALUES_PER_KNOT = 500, 16, 20
"""Limits of the number of knots of a quantile curve, and the entries for each."""
_TINY = 1e-6


class Curves(nn.Module):
    """The curves of one kind of some columns.

    Args:
        numbers_GK: What the schema stores for each.
    """

    def __init__(self, numbers_GK: Sequence[Sequence[float]]) -> None:
        super().__init__()
        self.numbers_KG: Tensor
        numbers = torch.tensor(numbers_GK, dtype=torch.float64).T.contiguous()
        self.register_buffer("numbers_KG", numbers, persistent=False)

    def forward(self, u: Tensor) -> Tensor:
        """Returns x of u, [...,G] each."""
        raise NotImplementedError

    def inverse(self, x: Tensor) -> Tensor:
        """Returns u of x, [...,G] each."""
        raise NotImplementedError

    def log_slope(self, x: Tensor) -> Tensor:
        """Returns log dx/du at x, [...,G] each."""
        raise NotImplementedError


class QuantileCurves(Curves):
    """x is normal: a line between knots at equal distances of x, from −R to R and one step beyond.

    Entries that are equal spread over the cell of the line that is nearer to them than to the next ones. Beyond the outer
    knots one unit of x is one standard deviation, or more where the data is wider apart.
    """

    def __init__(self, numbers_GK: Sequence[Sequence[float]]) -> None:
        super().__init__(numbers_GK)
        self.columns_G: Tensor
        self.register_buffer("columns_G", torch.arange(len(numbers_GK)), persistent=False)
        reach_G, knots_KG = self.numbers_KG[0], self.numbers_KG[1:]
        self.step_G: Tensor
        self.register_buffer("step_G", 2 * reach_G / (len(knots_KG) - 3), persistent=False)
        self.start_G: Tensor
        self.register_buffer("start_G", -reach_G - self.step_G, persistent=False)
        self.widths_KG: Tensor
        self.register_buffer("widths_KG", knots_KG.diff(dim=0), persistent=False)
        self.log_slope_KG: Tensor
        self.register_buffer("log_slope_KG", (self.step_G / knots_KG.diff(dim=0)).log(), persistent=False)

    @staticmethod
    def fit(u_N: Values, lattice: float, num_rows: int) -> tuple[float, ...]:
        """Returns R and the knots, in order.

        Args:
            u_N: Entries.
            lattice: Distance that neighbouring values have at least; ∞ for numbers that are anywhere.
            num_rows: Rows of the table that were read, which say how many knots all of its curves have.
        """
        values, counts = np.unique(u_N, return_counts=True)
        gaps = np.minimum(np.diff(values), lattice) / 2
        lower, upper = np.append(gaps[0], gaps), np.append(gaps, gaps[-1])
        edges = np.stack([values - lower, values + upper], axis=1).ravel()
        ends = np.cumsum(counts) / len(u_N)
        shares = np.stack([ends - counts / len(u_N), ends], axis=1).ravel()
        num_knots = int(np.clip(num_rows // VALUES_PER_KNOT, LEAST_KNOTS, MOST_KNOTS))
        reach = float(torch.special.ndtri(torch.tensor(1 - 0.5 / len(u_N), dtype=torch.float64)))
        x = np.linspace(-reach, reach, num_knots)
        knots = np.interp(torch.special.ndtr(torch.from_numpy(x)).numpy(), shares, edges)
        least = 1e-9 * max(1.0, float(np.abs(knots).max()))  # rounding can make neighbours equal
        knots = np.maximum.accumulate(knots - least * np.arange(num_knots)) + least * np.arange(num_knots)
        below, above = (max(x[1] - x[0], float(width)) for width in (knots[1] - knots[0], knots[-1] - knots[-2]))
        return (reach, float(knots[0] - below), *knots.tolist(), float(knots[-1] + above))

    def forward(self, u: Tensor) -> Tensor:
        knots_KG, rows_NG = self.numbers_KG[1:], u.reshape(-1, u.shape[-1])
        inner_GK = knots_KG[1:-1].T.contiguous()
        segment_NG = torch.searchsorted(inner_GK, rows_NG.T.contiguous(), right=True).T
        lower = knots_KG[segment_NG, self.columns_G]
        width = (knots_KG[segment_NG + 1, self.columns_G] - lower).clamp(min=_TINY**2)
        return (self.start_G + self.step_G * (segment_NG + (rows_NG - lower) / width)).view_as(u)

    def inverse(self, x: Tensor) -> Tensor:
        place = (x - self.start_G) / self.step_G
        segment = self._segment(place)
        return (
            self.numbers_KG[segment + 1, self.columns_G] + (place - segment) * self.widths_KG[segment, self.columns_G]
        )

    def log_slope(self, x: Tensor) -> Tensor:
        return self.log_slope_KG[self._segment((x - self.start_G) / self.step_G), self.columns_G]

    def _segment(self, place: Tensor) -> Tensor:
        return place.nan_to_num(0.0).floor().clamp(0, len(self.log_slope_KG) - 1).long()


class LogCurves(Curves):
    """x is the standardised logarithm of a positive number, so that a Gaussian of x is a log-normal of the number."""

    @staticmethod
    def fit(u_N: Values, column: Column) -> tuple[float, ...]:
        """Returns the u of 0 with its sign changed, and the mean and the standard deviation of log(u − u of 0)."""
        logs_N = np.log(np.maximum(u_N + column.mean / column.std, _TINY))
        return column.mean / column.std, float(logs_N.mean()), float(logs_N.std()) or 1.0

    def forward(self, u: Tensor) -> Tensor:
        zero_G, mean_G, std_G = self.numbers_KG
        return ((u + zero_G).clamp(min=_TINY).log() - mean_G) / std_G

    def inverse(self, x: Tensor) -> Tensor:
        zero_G, mean_G, std_G = self.numbers_KG
        return (mean_G + x * std_G).exp() - zero_G

    def log_slope(self, x: Tensor) -> Tensor:
        _, mean_G, std_G = self.numbers_KG
        return -(mean_G + x * std_G) - std_G.log()


class LogitCurves(Curves):
    """x is the standardised logit of a share, which is moved away from 0 and 1 by half of one of the entries."""

    @staticmethod
    def fit(u_N: Values, column: Column) -> tuple[float, ...]:
        """Returns the share at u = 0, its slope in u, and the mean and the standard deviation of the logit."""
        whole = 1.0 if (column.largest or 0) <= 1 else 100.0
        away = 0.5 / len(u_N)
        share, slope = away + (1 - 2 * away) * column.mean / whole, (1 - 2 * away) * column.std / whole
        shares_N = share + slope * u_N
        logits_N = np.log(shares_N / (1 - shares_N))
        return share, slope, float(logits_N.mean()), float(logits_N.std()) or 1.0

    def forward(self, u: Tensor) -> Tensor:
        share_G, slope_G, mean_G, std_G = self.numbers_KG
        return (torch.special.logit(share_G + slope_G * u, eps=_TINY**2) - mean_G) / std_G

    def inverse(self, x: Tensor) -> Tensor:
        share_G, slope_G, mean_G, std_G = self.numbers_KG
        return ((mean_G + x * std_G).sigmoid() - share_G) / slope_G

    def log_slope(self, x: Tensor) -> Tensor:
        _, slope_G, mean_G, std_G = self.numbers_KG
        logit = mean_G + x * std_G
        return slope_G.log() - std_G.log() - nn.functional.logsigmoid(logit) - nn.functional.logsigmoid(-logit)


class ShiftCurves(Curves):
    """x is the number itself in standard deviations from 0, for counts and truth values."""

    def forward(self, u: Tensor) -> Tensor:
        return u + self.numbers_KG[0]

    def inverse(self, x: Tensor) -> Tensor:
        return x - self.numbers_KG[0]

    def log_slope(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x)


KINDS = {"quantile": QuantileCurves, "log": LogCurves, "logit": LogitCurves, "shift": ShiftCurves}


def curves_of(columns: Sequence[Column]) -> list[tuple[list[int], Curves]]:
    """Returns the numbers of the columns that have curves of one kind, with these curves, for every kind."""
    groups: dict[tuple[str, int], list[int]] = {}
    for number, column in enumerate(columns):
        if column.curve is not None:
            groups.setdefault((column.curve.kind, len(column.curve.numbers)), []).append(number)
    return [
        (members, KINDS[kind]([column.curve.numbers for n in members if (column := columns[n]).curve]))
        for (kind, _), members in groups.items()
    ]


def fit_curve(values_N: Values, column: Column, choice: CurveChoice) -> Curve | None:
    """Returns the curve of a column by its type; None where it keeps its standard deviations.

    auto: quantile for all numbers but truth values. parametric: log for positive numbers and amounts of money, logit for
    shares, none for the others; counts stay counts. Either way a value at the edge of the range that many entries have is
    a point mass beside the curve of the others.

    Args:
        values_N: Entries of the training split, NaN where missing; see `vae.data.statistics`.
        column: The column, with its mean and standard deviation.
        choice: What to choose from.
    """
    entries_N = values_N[~np.isnan(values_N)]
    if choice == "standard" or column.categories is not None or len(entries_N) < LEAST_VALUES:
        return None
    if column.type == "boolean" or (column.type, choice) == ("count", "parametric"):
        return Curve("shift", (column.mean / column.std,))
    mass = _point_mass(entries_N)
    others_N = entries_N[entries_N != mass]
    if len(np.unique(others_N)) < 3:
        return None
    u_N = (others_N - column.mean) / column.std
    kind = "quantile" if choice == "auto" else _parametric(others_N, column)
    match kind:
        case "quantile":
            numbers = QuantileCurves.fit(u_N, _lattice(others_N, column) / column.std, len(values_N))
        case "log":
            numbers = LogCurves.fit(u_N, column)
        case "logit":
            numbers = LogitCurves.fit(u_N, column)
        case _:
            return None
    if mass is None:
        return Curve(kind, numbers)
    (x_N,) = KINDS[kind]([numbers])(torch.from_numpy(u_N)[:, None]).T
    beyond = math.ceil(float(x_N.abs().max())) + 0.5
    return Curve(kind, numbers, (mass, -beyond if mass < others_N[0] else beyond))


def _parametric(values_N: Values, column: Column) -> Literal["log", "logit", "standard"]:
    if column.type in ("positive", "money") and values_N.min() > 0:
        return "log"
    return "logit" if column.type == "share" and values_N.min() >= 0 and values_N.max() <= 100 else "standard"


def _point_mass(values_N: Values) -> float | None:
    """Returns the value at an edge of the range that at least `LEAST_MASS` of the entries have; None if there is none."""
    shares = {edge: float((values_N == edge).mean()) for edge in (float(values_N.min()), float(values_N.max()))}
    edge = max(shares, key=lambda one: shares[one])
    return edge if shares[edge] >= LEAST_MASS else None


def _lattice(values_N: Values, column: Column) -> float:
    """Returns the step of a column's values that are its whole multiples; ∞ if they lie anywhere."""
    if column.type in WHOLE:
        return 1.0
    gaps = np.diff(np.unique(values_N))
    steps = gaps / gaps.min()
    is_lattice = len(gaps) < len(values_N) / 2 and np.abs(steps - np.round(steps)).max() < 1e-3
    return float(gaps.min()) if is_lattice else math.inf
