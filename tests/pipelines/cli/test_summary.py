"""Text of a command when a run has ended."""

from __future__ import annotations

import pytest

from pipelines.cli.summary import bound_note, drift_verdict
from pipelines.models.drift import Finding
from vae.parts.bounds.elbo import Elbo
from vae.parts.bounds.iwae import Iwae


def finding(what: str, drifted: bool) -> Finding:
    return Finding(what=what, unit="nats", expected=0.0, found=0.0, allowed=1.0, drifted=drifted)


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
    assert bound_note(Elbo()) == ""
    assert "looser than that of iwae with 20 draws" in bound_note(Iwae(samples=20))
