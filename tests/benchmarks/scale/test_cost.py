"""The model of a step finds the constants that made its points."""

from __future__ import annotations

import pytest

from tests.benchmarks.scale.cost import Cost, Point, fit


def test_fit_finds_the_constants_of_exact_points() -> None:
    """Steps made by known constants, some bound by the link and some by the processors, give those constants back."""
    true = Cost(overhead=0.003, rounds=2.0, handling=2e-9)
    points = [
        Point(ranks, rate, latency, num_bytes, 0.02)
        for ranks in (2, 3, 4)
        for rate in (1.25e8, 1.25e9)
        for latency in (1e-4, 1e-3)
        for num_bytes in (4e5, 1.2e7)
    ]
    found = fit(points, [true.seconds(point) for point in points])
    assert (found.overhead, found.rounds, found.handling) == pytest.approx((0.003, 2.0, 2e-9), rel=1e-3)


def test_step_of_a_ring_is_known_in_closed_form() -> None:
    """Four ranks send 3/2 of the gradients in six stages of an all-reduce."""
    point = Point(4, 1e8, 1e-3, 1e6, 0.02)
    assert Cost(0.0, 1.0, 0.0).seconds(point) == pytest.approx(0.02 + 6e-3 + 1.5e6 / 1e8)
