"""Charts of a search: units, positions of lines and bars, and labels that do not touch."""

from __future__ import annotations

import math
from typing import Any

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pipelines.report.search import bound_note
from pipelines.report.search_charts import frontier, importance, parallel
from pipelines.report.theme import LIGHT
from tuning.frontier import Trial

BODY, BETA, RATE = "model.encoder", "objective.beta", "training.learning_rate"


def trial(name: str, bound: float, **parameters: Any) -> Trial:
    return Trial(name, parameters, "finished", 5, bound - 10, 10.0, bound)


TRIALS = [
    trial("a", 90.0, **{BODY: "mlp 8", BETA: 0.1, RATE: 0.001}),
    trial("b", 80.0, **{BODY: "conv 4", BETA: 1.0, RATE: 0.001}),
    trial("c", 100.0, **{BODY: "mlp 8", BETA: 10.0, RATE: 0.003}),
    Trial("d", {BODY: "mlp 16", BETA: 2.0, RATE: 0.001}, "failed", 0, error="out of memory"),
]


def laid_out(figure: Figure) -> Figure:
    """Returns a figure after its layout."""
    FigureCanvasAgg(figure).draw()
    return figure


def test_frontier_tells_both_units() -> None:
    """The axes above and to the right are those below and to the left, divided by D ln 2."""
    axes = laid_out(frontier(TRIALS[:3], TRIALS[1], 784, LIGHT)).axes[0]
    above, right = axes.child_axes
    bit = 1 / (784 * math.log(2))
    assert above.get_xlim() == pytest.approx([limit * bit for limit in axes.get_xlim()])
    assert right.get_ylim() == pytest.approx([limit * bit for limit in axes.get_ylim()])
    assert (above.get_xlabel(), right.get_ylabel()) == ("rate (bits per dimension)", "distortion (bits per dimension)")


def test_parallel_has_a_line_for_each_trial() -> None:
    """Labels are placed by name, β by its logarithm, the bound by its size; a failed trial's line ends before the bound."""
    axes = laid_out(parallel(TRIALS, TRIALS[1], LIGHT)).axes[0]
    lines = [list(line.get_ydata()) for line in axes.lines if len(line.get_ydata()) == 4]
    failed, worst, middle, best, chosen = lines
    assert failed == pytest.approx([1 / 2, math.log10(20) / 2, 0, math.nan], nan_ok=True)
    assert worst == pytest.approx([5 / 6, 1, 1, 1])
    assert middle == pytest.approx([5 / 6, 0, 0, 0.5])
    assert best == chosen == pytest.approx([1 / 6, 0.5, 0, 0])
    words = [text.get_text() for text in axes.texts]
    assert {"architecture", "β", "learning_rate", "mlp 8", "0.1", "0.003", "80"} <= set(words)


def test_labels_do_not_touch() -> None:
    """With many long labels and values close together, no two boxes of text overlap, and all are inside the figure."""
    trials = [
        trial(str(n), 80.0 + 1.3**n, **{BODY: f"conv 32-64-128 residual_blocks={n} hidden=256", BETA: 1 + n / 50})
        for n in range(9)
    ]
    figure = laid_out(parallel(trials, trials[0], LIGHT))
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert not any(one.overlaps(other) for index, one in enumerate(boxes) for other in boxes[:index])
    assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in boxes)
    assert all(figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1 for box in boxes)


def test_importance_names_what_lies_in_combinations() -> None:
    """The bars add up to 100."""
    axes = laid_out(importance({BETA: 0.6, BODY: 0.3}, LIGHT)).axes[0]
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([60, 30, 10])  # pyright: ignore
    assert [label.get_text() for label in axes.get_yticklabels()] == ["β", "architecture", "in combination"]


def test_charts_are_drawn_of_little() -> None:
    """One trial, one setting, and no example size give a chart as well."""
    only = trial("a", 9.0, **{BETA: 1.0})
    for figure in (
        parallel(TRIALS[:1], TRIALS[0], LIGHT),
        parallel([only], only, LIGHT),
        frontier(TRIALS[:1], None, 8, LIGHT),
        frontier(TRIALS[:1], None, None, LIGHT),
        importance({BETA: 1.0}, LIGHT),
    ):
        figure.draw_without_rendering()
        assert figure.axes


def test_bound_that_is_no_sum_is_explained() -> None:
    """A tighter bound than distortion + rate has a note; a negative ELBO, and a trial without a bound, have none."""
    assert bound_note(TRIALS) == ""
    assert "importance-weighted" in bound_note([*TRIALS, Trial("e", {}, "finished", 5, 80.0, 10.0, 88.5)])
