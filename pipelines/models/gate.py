"""The gate: whether an evaluated version may take an alias, and the reason."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from pipelines.models import registry
from pipelines.models.versions import Score
from pipelines.stages.promote import Evaluation
from vae.errors import did_you_mean
from vae.training.verdict import BLOCKING


@dataclass(frozen=True)
class Decision:
    """Whether the alias moves, and why."""

    promote: bool
    """Whether the alias moves."""
    reason: str
    """Reason in one sentence."""


def judge(evaluated: Evaluation) -> Decision:
    """Returns the gate's decision on an evaluated version, as the registry is now."""
    alias, version = evaluated.alias, evaluated.version
    champion = registry.find(version.name, alias)
    if champion is None:
        return decided(evaluated, None)
    if champion.version == version.version:
        return Decision(True, f"it is the {alias} already")
    score, seen = champion.score, evaluated.champion
    if seen and champion.version == seen.version and evaluated.champion_score:
        score = evaluated.champion_score  # on the candidate's rows
    else:
        evaluated = evaluated.model_copy(update={"comparison": None})
    if score is None:
        return Decision(False, f"version {champion.version}, the {alias}, has no score to compare with")
    return decided(evaluated, score)


def decided(evaluated: Evaluation, champion: Score | None) -> Decision:
    """Returns the refusal of the first rule that has one; otherwise the version may take the alias.

    Args:
        evaluated: Candidate with its score.
        champion: Score of the version that has the alias; None if no version has it.
    """
    for rule in RULES:
        if reason := rule(evaluated, champion):
            return Decision(False, reason)
    score = _figure(evaluated)
    if champion is None:
        return Decision(True, f"{score}; there was no {evaluated.alias}")
    return Decision(True, f"{score} beats the {evaluated.alias}'s {champion.nats:.3f}{_difference(evaluated)}")


# --- rules: each returns the reason of a refusal, or None -----------------------------------------------------------

Rule = Callable[[Evaluation, Score | None], str | None]


def is_sound(evaluated: Evaluation, champion: Score | None) -> str | None:
    """Refuses a candidate with a grave finding that is not accepted."""
    for finding in evaluated.findings:
        if finding.name in BLOCKING and finding.name not in evaluated.accept:
            return f"its verdict is {finding.name}; to promote it all the same, add --accept {finding.name}"
    return None


def meets_conditions(evaluated: Evaluation, champion: Score | None) -> str | None:
    """Refuses a candidate whose metrics do not meet a required condition, such as `denoise_psnr_db >= 20`."""
    metrics = evaluated.metrics
    for bar in evaluated.require:
        name, sign, limit = re.split(r" *(<=|>=) *", bar)
        value = metrics.get(f"test_{name}", metrics.get(name))
        if value is None:
            hint = did_you_mean(name, [metric.removeprefix("test_") for metric in metrics])
            return f"{bar} is required, and {name} was not measured{hint}"
        if not (value <= float(limit) if sign == "<=" else value >= float(limit)):
            return f"{bar} is required, and it is {value:.4g}"
    return None


def is_finite(evaluated: Evaluation, champion: Score | None) -> str | None:
    """Refuses a score that is not a finite number."""
    return None if evaluated.score.nats < math.inf else f"{_figure(evaluated)} is not finite"


def passes_threshold(evaluated: Evaluation, champion: Score | None) -> str | None:
    """Refuses a score above the request's threshold."""
    threshold = evaluated.threshold_nats
    if threshold is None or evaluated.score.nats <= threshold:
        return None
    return f"{_figure(evaluated)} is above the threshold of {threshold:g}"


def beats_champion(evaluated: Evaluation, champion: Score | None) -> str | None:
    """Refuses a score that is no better than the champion's, or that cannot be compared with it."""
    if champion is None:
        return None
    score, alias = evaluated.score, evaluated.alias
    if (champion.name, champion.dataset_id) != (score.name, score.dataset_id):
        return (
            f"{_figure(evaluated)} cannot be compared with the {alias}'s {champion.name} {champion.nats:.3f} on dataset "
            f"{champion.dataset_id[:12]}; give the new protocol an alias of its own"
        )
    if score.num_examples != champion.num_examples:
        return (
            f"the {alias} has changed since the evaluation, and its {champion.name} {champion.nats:.3f} is of other test "
            "rows; promote the run again to compare the two"
        )
    if score.nats < champion.nats:
        return None
    return f"{_figure(evaluated)} is no better than the {alias}'s {champion.nats:.3f}{_difference(evaluated)}"


RULES: tuple[Rule, ...] = (is_sound, meets_conditions, is_finite, passes_threshold, beats_champion)
"""Rules of an alias, in the order in which they are asked."""


def _difference(evaluated: Evaluation) -> str:
    return "" if evaluated.comparison is None else f": {evaluated.comparison}"


def _figure(evaluated: Evaluation) -> str:
    return f"{evaluated.score.name} {evaluated.score.nats:.3f} nats"
