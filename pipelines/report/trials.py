"""Settings of a search's trials under the names of the page's figures and tables."""

from __future__ import annotations

from collections.abc import Sequence

from tuning.frontier import Trial, score_of
from tuning.table import ARCHITECTURE, BETA

NAMES = {BETA: "β", ARCHITECTURE: "architecture"}


def beta_of(trial: Trial) -> float | None:
    """Returns the trial's β; None if the search did not vary it."""
    value = trial.parameters.get(BETA)
    return float(value) if isinstance(value, int | float) else None


def architecture_of(trial: Trial) -> str:
    """Returns the trial's architecture; empty if the search did not vary it."""
    return str(trial.parameters.get(ARCHITECTURE, ""))


def column_name(parameter: str) -> str:
    """Returns the heading of a setting's column."""
    return NAMES.get(parameter, parameter.rpartition(".")[2])


def bound_note(trials: Sequence[Trial]) -> str:
    """Returns why the bounds are not the sums of the rates and distortions beside them; empty if they are."""
    pairs = [(score_of(trial, "elbo"), trial.negative_bound) for trial in trials]
    if all(elbo is None or bound is None or elbo - bound < 0.01 for elbo, bound in pairs):
        return ""
    return (
        " The bound is the importance-weighted one that the trials were trained for. Rate and distortion add up to the "
        "negative ELBO, which is a looser bound."
    )
