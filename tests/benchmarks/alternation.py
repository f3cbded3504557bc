"""Rows that are measured in turn, A B C A B C …, and compared within a round: what shares the machine slows all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping


def per_second(step: Callable[[], object], seconds: float, units: float = 1.0) -> float:
    """How many units a step that does `units` of them gets through in a second, over at least `seconds`."""
    step()
    started, steps = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        step()
        steps += 1
    return steps * units / (time.perf_counter() - started)


def compare(rows: Mapping[str, Callable[[], float]], rounds: int, unit: str, floors: Mapping[str, float]) -> None:
    """Measures every row in every round, and prints medians and each row's ratio to the first, with its floor."""
    found: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(rounds):
        for name, measure in rows.items():
            found[name].append(measure())
    first = next(iter(rows))
    print(f"{'':<34}{unit:>14}{'ratio':>9}{'min':>9}{'max':>9}")
    for name, values in found.items():
        ratios = [value / base for value, base in zip(values, found[first], strict=True)]
        median = statistics.median(ratios)
        floor = floors.get(name)
        verdict = "" if floor is None else f"  floor {floor} {'ok' if median >= floor else 'BELOW'}"
        print(
            f"{name:<34}{statistics.median(values):>14,.0f}{median:>9.3f}{min(ratios):>9.3f}{max(ratios):>9.3f}{verdict}"
        )
