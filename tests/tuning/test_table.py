"""The table of a search: its columns, the order of its rows, and the marks of a row."""

from __future__ import annotations

from tuning.frontier import Trial
from tuning.table import SearchTable


def trial(name: str, body: str, beta: float, rate: float | None, distortion: float = 50.0) -> Trial:
    parameters = {"training.seed": 0, "objective.beta": beta, "model.encoder": body}
    return Trial(name, parameters, "finished", 3, None if rate is None else distortion, rate)


def test_rows_are_in_order_and_marked() -> None:
    """Columns begin with the architecture and β, by which rows are ordered; a trial without figures is on no front."""
    trials = [trial("d", "mlp", 10.0, 9.0), trial("c", "mlp", 2.0, 5.0), trial("b", "conv", 4.0, None)]
    table = SearchTable(trials, "c")
    assert table.parameters == ["model.encoder", "objective.beta", "training.seed"]
    marks = [(row.trial.trial_id, row.is_chosen, row.is_on_front) for row in table.rows]
    assert marks == [("b", False, False), ("c", True, True), ("d", False, False)]
    assert not any(row.is_chosen for row in SearchTable(trials).rows)
