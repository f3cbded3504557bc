"""Rows of a benchmark that take turns.

On a shared machine the rounds differ more than the rows do, so rows are compared within a round.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Mapping, Sequence

import torch

Rates = Mapping[str, list[float]]
"""Measurements of each row, round by round."""


def alternate(rows: Mapping[str, Callable[[], float]], rounds: int) -> Rates:
    """Measures every row once a round, A B C A B C …"""
    rates: dict[str, list[float]] = {row: [] for row in rows}
    for _ in range(rounds):
        for row, measure in rows.items():
            rates[row].append(measure())
    return rates


def ratios(rates: Rates, above: str, below: str) -> list[float]:
    """Returns the ratios of two rows, round by round."""
    return [a / b for a, b in zip(rates[above], rates[below], strict=True)]


def print_rates(rates: Rates, unit: str) -> None:
    """Prints median and range of every row."""
    print(f"{unit:<32}{'median':>12}{'min':>12}{'max':>12}")
    for row, values in rates.items():
        print(f"{row:<32}{statistics.median(values):>12,.2f}{min(values):>12,.2f}{max(values):>12,.2f}")


def print_ratio(name: str, values: Sequence[float], floor: float | None = None, ceiling: float | None = None) -> None:
    """Prints the median over rounds, its range, and whether it meets its bound."""
    median = statistics.median(values)
    verdict = ""
    if floor is not None:
        verdict = f"  floor {floor:.2f}  {'ok' if median >= floor else 'BELOW'}"
    if ceiling is not None:
        verdict = f"  ceiling {ceiling:.2f}  {'ok' if median <= ceiling else 'ABOVE'}"
    print(f"{name:<32}{median:>12.3f}{min(values):>12.3f}{max(values):>12.3f}{verdict}", flush=True)


def machine() -> str:
    """Returns a line on this machine."""
    where = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{os.cpu_count()} CPUs"
    load = os.getloadavg()[0]
    return f"torch {torch.__version__}, {torch.get_num_threads()} threads, {where}, load average {load:.1f}"
