"""What commands say when a run is over."""

from __future__ import annotations

from typing import Any

import pytest

from pipelines.cli.summary import bound_note, drift_verdict


def finding(what: str, drifted: bool) -> dict[str, Any]:
    return {"what": what, "drifted": drifted}


@pytest.mark.parametrize(
    ("findings", "words"),
    [
        ([("nll", False), ("error", False)], "no drift: none of 2 figures moved further than it may"),
        ([("nll", True), ("error", False), ("share", True)], "drifted: nll, share moved further than it may"),
    ],
)
def test_drift_ends_in_a_verdict(findings: list[tuple[str, bool]], words: str) -> None:
    """The table is summed up in a sentence, with the figures that moved."""
    assert drift_verdict([finding(*one) for one in findings]) == words


def test_bound_that_is_no_sum_is_explained() -> None:
    """A distortion and a rate that do not add up to the bound say why; those of the ELBO do add up."""
    assert bound_note({"kind": "elbo", "samples": 1}) == ""
    assert "looser than that of iwae with 20 draws" in bound_note({"kind": "iwae", "samples": 20})
