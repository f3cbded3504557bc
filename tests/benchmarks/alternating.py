"""Rows of a benchmark that take turns: on a shared machine the rounds differ more than the rows do, so rows are compared
within a round.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Mapping, Sequence

import torch

Rates = Mapping[str, list[float]]
"""For each row what it measured, round by round."""


def alternate(rows: Mapping[str, Callable[[], float]], rounds: int) -> Rates:
    """Measures every row once a round, A B C A B C …"""
    found: dict[str, list[float]] = {row: [] for row in rows}
    for _ in range(rounds):
        for row, measure in rows.items():
            found[row].append(measure())
    return found


def ratios(rates: Rates, above: str, below: str) -> list[float]:
    """One row over another, round by round."""
    return [a / b for a, b in zip(rates[above], rates[below], strict=True)]


def print_rates(rates: Rates, unit: str) -> None:
    """Median and range of every row."""
    print(f"{unit:<32}{'median':>12}{'min':>12}{'max':>12}")
    for row, values in rates.items():
        print(f"{row:<32}{statistics.median(values):>12,.2f}{min(values):>12,.2f}{max(values):>12,.2f}")


def print_ratio(name: str, values: Sequence[float], floor: float | None = None, ceiling: float | None = None) -> None:
    """The median over rounds, its range, and whether it keeps to its bound."""
    median = statistics.median(values)
    verdict = ""
    if floor is not None:
        verdict = f"  floor {floor:.2f}  {'ok' if median >= floor else 'BELOW'}"
    if ceiling is not None:
        verdict = f"  ceiling {ceiling:.2f}  {'ok' if median <= ceiling else 'ABOVE'}"
    print(f"{name:<32}{median:>12.3f}{min(values):>12.3f}{max(values):>12.3f}{verdict}", flush=True)


def machine() -> str:
    """Where this was measured, in a line."""
    where = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{os.cpu_count()} CPUs"
    load = os.getloadavg()[0]
    return f"torch {torch.__version__}, {torch.get_num_threads()} threads, {where}, load average {load:.1f}"
