"""The gate: whether an evaluated version may take an alias, and why."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.models import registry
from pipelines.models.registry import Score, Version
from vae.training.verdict import BLOCKING


@dataclass(frozen=True)
class Decision:
    """Whether the alias moves, and why."""

    promote: bool
    reason: str


def judge(evaluated: Mapping[str, Any]) -> Decision:
    """What the gate says of an evaluated version, as things stand now."""
    alias = evaluated["alias"]
    version = Version.of(evaluated["version"])
    champion = registry.find(version.name, alias)
    if champion is not None and champion.version == version.version:
        return Decision(True, f"it is the {alias} already")
    score = champion.score if champion else None
    seen = evaluated["champion"]
    if champion and seen and champion.version == seen["version"] and evaluated["champion_score"]:
        # The evaluation may have scored it anew, on the candidate's data.
        score = Score(**evaluated["champion_score"])
    if champion and score is None:
        return Decision(False, f"version {champion.version}, the {alias}, has no score to compare with")
    refusal = unsound(evaluated["findings"], evaluated["accept"])
    refusal = refusal or unmet(evaluated["require"], evaluated["metrics"])
    return refusal or compared(Score(**evaluated["score"]), score, evaluated["threshold_nats"], alias)


def compared(
    candidate: Score, champion: Score | None, threshold_nats: float | None, alias: str = "champion"
) -> Decision:
    """Whether a candidate may take the alias: it passes the bar, and beats the one that has it on the same data."""
    figure = f"{candidate.name} {candidate.nats:.3f} nats"
    if not candidate.nats < float("inf"):
        return Decision(False, f"{figure} is not finite")
    if threshold_nats is not None and candidate.nats > threshold_nats:
        return Decision(False, f"{figure} is above the threshold of {threshold_nats:g}")
    if champion is None:
        return Decision(True, f"{figure}; there was no {alias}")
    if (champion.name, champion.dataset_id) != (candidate.name, candidate.dataset_id):
        return Decision(
            False,
            f"{figure} cannot be compared with the {alias}'s {champion.name} {champion.nats:.3f} on dataset "
            f"{champion.dataset_id[:12]}; give the new protocol an alias of its own",
        )
    if candidate.nats < champion.nats:
        return Decision(True, f"{figure} beats the {alias}'s {champion.nats:.3f}")
    return Decision(False, f"{figure} is no better than the {alias}'s {champion.nats:.3f}")


def unsound(findings: Sequence[Mapping[str, Any]], accepted: Sequence[str]) -> Decision | None:
    """Returns the refusal of a candidate with a grave finding; None for a sound one, and where the finding is accepted.

    Args:
        findings: Fields of `vae.training.verdict.Finding`.
        accepted: Names of findings that are accepted.
    """
    for finding in findings:
        if finding["name"] in BLOCKING and finding["name"] not in accepted:
            name = finding["name"]
            return Decision(False, f"its verdict is {name}; to promote it all the same, add --accept {name}")
    return None


def unmet(bars: Sequence[str], metrics: Mapping[str, float]) -> Decision | None:
    """The refusal of a candidate that does not come to what is required of its metrics; None if it does.

    Args:
        bars: Such as `denoise_psnr_db >= 20`; see `pipelines.flows.requests.Bar`.
        metrics: By name, those of the test split with `test_` in front.
    """
    for bar in bars:
        name, sign, limit = re.split(r" *(<=|>=) *", bar)
        value = metrics.get(f"test_{name}", metrics.get(name))
        if value is None:
            near = difflib.get_close_matches(f"test_{name}", metrics, n=1)
            hint = f"; did you mean {near[0].removeprefix('test_')}?" if near else ""
            return Decision(False, f"{bar} is required, and {name} was not measured{hint}")
        if not (value <= float(limit) if sign == "<=" else value >= float(limit)):
            return Decision(False, f"{bar} is required, and it is {value:.4g}")
    return None
