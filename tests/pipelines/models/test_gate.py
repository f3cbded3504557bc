"""What the gate decides of a score, and of what is required beside it."""

from __future__ import annotations

import pytest

from pipelines.models.gate import compared, unmet, unsound
from pipelines.models.registry import Score

BAR = Score(80.0, "nll_is200", "data")


@pytest.mark.parametrize(
    ("candidate", "champion", "threshold", "promote", "reason"),
    [
        (Score(79.0, "nll_is200", "data"), BAR, None, True, "nll_is200 79.000 nats beats the champion's 80.000"),
        (
            Score(80.0, "nll_is200", "data"),
            BAR,
            None,
            False,
            "nll_is200 80.000 nats is no better than the champion's 80.000",
        ),
        (Score(79.0, "nll_is200", "data"), None, None, True, "nll_is200 79.000 nats; there was no champion"),
        (Score(79.0, "nll_is200", "data"), None, 78.5, False, "nll_is200 79.000 nats is above the threshold of 78.5"),
        (Score(float("nan"), "nll_is200", "data"), None, None, False, "nll_is200 nan nats is not finite"),
        (
            Score(1.0, "nll_gaussian_is200", "data"),
            BAR,
            None,
            False,
            "nll_gaussian_is200 1.000 nats cannot be compared with the champion's nll_is200 80.000 on dataset data; "
            "give the new protocol an alias of its own",
        ),
    ],
)
def test_gate_decides_and_says_why(
    candidate: Score, champion: Score | None, threshold: float | None, promote: bool, reason: str
) -> None:
    """Better on the same protocol and data passes; worse, incomparable, not finite or above the bar does not."""
    decision = compared(candidate, champion, threshold)
    assert (decision.promote, decision.reason) == (promote, reason)


@pytest.mark.parametrize(
    ("bar", "reason"),
    [
        ("denoise_psnr_db >= 20", None),
        ("test_rate<=4.5", None),
        ("denoise_psnr_db >= 20.5", "denoise_psnr_db >= 20.5 is required, and it is 20.25"),
        ("rate <= 4", "rate <= 4 is required, and it is 4.5"),
        ("denoise_psnr >= 1", "denoise_psnr >= 1 is required, and denoise_psnr was not measured; did you mean "
                              "denoise_psnr_db?"),
    ],
)  # fmt: skip
def test_what_is_required_of_metrics_keeps_the_alias(bar: str, reason: str | None) -> None:
    """A bar that is met says nothing; one that is missed, or of a metric that was not measured, refuses in words."""
    decision = unmet(["rate <= 100", bar], {"test_denoise_psnr_db": 20.25, "test_rate": 4.5})
    assert (decision.reason if decision else None) == reason
    assert decision is None or not decision.promote


def _finding(name: str) -> dict[str, object]:
    return {"name": name, "figure": 0.0, "says": f"It is {name}.", "advice": "--set objective.beta=1"}


@pytest.mark.parametrize("name", ["collapsed", "diverged"])
def test_gate_holds_back_a_grave_finding_and_names_the_flag(name: str) -> None:
    """A collapsed or diverged model takes no alias; the refusal ends with the flag that lets it."""
    decision = unsound([_finding("overfitted"), _finding(name)], ())
    assert decision is not None
    assert not decision.promote
    assert decision.reason.endswith(f"--accept {name}")


def test_gate_accepts_a_grave_finding_that_is_named() -> None:
    """`--accept collapsed` lets a collapsed model pass, and no other grave finding beside it."""
    both = [_finding("collapsed"), _finding("diverged")]
    assert unsound(both[:1], ("collapsed",)) is None
    refusal = unsound(both, ("collapsed",))
    assert refusal is not None
    assert refusal.reason.endswith("--accept diverged")


def test_gate_lets_other_findings_pass() -> None:
    """A finding that is not grave, and none at all, hold nothing back."""
    assert unsound([_finding("under_regularised"), _finding("overfitted")], ()) is None
    assert unsound([], ()) is None
