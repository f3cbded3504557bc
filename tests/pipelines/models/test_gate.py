"""Decisions of the gate on a score, on the metrics beside it, and on the findings."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from pipelines.models.gate import decided
from pipelines.models.versions import Comparison, Score, Version
from pipelines.stages.promote import Evaluation
from vae.training.verdict import Finding

CHAMPION = Score(80.0, "nll_is200", "data")
BETTER = Comparison(-1.0, -1.5, -0.5, 0.99, 512, 10_000)
CLOSE = Comparison(0.25, -0.25, 0.75, 0.99, 10_000, 10_000)


def evaluated(nats: float = 79.0, name: str = "nll_is200", **further: Any) -> Evaluation:
    """A candidate of which only the score is known, and what the test says further."""
    fields = {
        "version": Version("digits", "2", "models:/digits/2", "run-1", None, ()),
        "score": Score(nats, name, "data"),
        **dict.fromkeys(("champion", "champion_score", "comparison", "threshold_nats", "report")),
        "metrics": {},
        "require": (),
        "accept": (),
        "alias": "champion",
        "mlflow_run_id": "run-1",
        "experiment_id": "1",
        "verdict": "",
        "findings": (),
    }
    return Evaluation(**{**fields, **further})


@pytest.mark.parametrize(
    ("candidate", "champion", "promote", "reason"),
    [
        (evaluated(), CHAMPION, True, "nll_is200 79.000 nats beats the champion's 80.000"),
        (evaluated(80.0), CHAMPION, False, "nll_is200 80.000 nats is no better than the champion's 80.000"),
        (
            evaluated(comparison=BETTER),
            CHAMPION,
            True,
            r"79.000 nats beats the champion's 80.000: -1.000 nats per example, 99% interval -1.500 to -0.500, on 512 of "
            "10,000 test rows",
        ),
        (
            evaluated(80.25, comparison=CLOSE),
            CHAMPION,
            False,
            r"80.250 nats is no better than the champion's 80.000: \+0.250 nats per example, 99% interval -0.250 to "
            r"\+0.750, on all 10,000 test rows",
        ),
        (
            evaluated(),
            replace(CHAMPION, num_examples=512),
            False,
            "the champion has changed since the evaluation, and its nll_is200 80.000 is of other test rows; promote the",
        ),
        (evaluated(), None, True, "nll_is200 79.000 nats; there was no champion"),
        (evaluated(threshold_nats=78.5), None, False, "nll_is200 79.000 nats is above the threshold of 78.5"),
        (evaluated(float("nan")), None, False, "nll_is200 nan nats is not finite"),
        (
            evaluated(1.0, "nll_gaussian_is200"),
            CHAMPION,
            False,
            "cannot be compared with the champion's nll_is200 80.000 on dataset data; .* an alias of its own",
        ),
    ],
)
def test_gate_decides_by_the_score_and_says_why(
    candidate: Evaluation, champion: Score | None, promote: bool, reason: str
) -> None:
    """Better on the same protocol and data passes; worse, incomparable, not finite or above the threshold does not."""
    decision = decided(candidate, champion)
    assert decision.promote == promote
    assert re.search(reason, decision.reason)


@pytest.mark.parametrize(
    ("bar", "reason"),
    [
        ("denoise_psnr_db >= 20", None),
        ("test_rate<=4.5", None),
        ("denoise_psnr_db >= 20.5", "denoise_psnr_db >= 20.5 is required, and it is 20.25"),
        ("rate <= 4", "rate <= 4 is required, and it is 4.5"),
        ("denoise_psnr >= 1", "denoise_psnr was not measured .did you mean `denoise_psnr_db`"),
    ],
)
def test_condition_on_a_metric_keeps_the_alias(bar: str, reason: str | None) -> None:
    """A condition that is met changes nothing; one that is missed, or of a metric that was not measured, refuses."""
    metrics = {"test_denoise_psnr_db": 20.25, "test_rate": 4.5}
    decision = decided(evaluated(metrics=metrics, require=("rate <= 100", bar)), None)
    assert decision.promote is (reason is None)
    assert re.search(reason or "there was no champion", decision.reason)


@pytest.mark.parametrize(
    ("findings", "accepted", "refused_for"),
    [
        (["overfitted", "collapsed"], (), "collapsed"),
        (["overfitted", "diverged"], (), "diverged"),
        (["collapsed"], ("collapsed",), None),
        (["collapsed", "diverged"], ("collapsed",), "diverged"),
        (["under_regularised", "overfitted"], (), None),
        ([], (), None),
    ],
)
def test_grave_finding_keeps_the_alias(findings: list[Any], accepted: tuple[str, ...], refused_for: str | None) -> None:
    """A collapsed or diverged model takes no alias, and the refusal ends with the flag that accepts the finding."""
    told = tuple(Finding(name, 0.0, f"It is {name}.", "--set objective.beta=1") for name in findings)
    decision = decided(evaluated(findings=told, accept=accepted), None)
    assert decision.promote is (refused_for is None)
    assert refused_for is None or decision.reason.endswith(f"--accept {refused_for}")
