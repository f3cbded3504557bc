"""The page of the verdicts: misses first, then counts, then the draws and their labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from tests.benchmarks.page import bullets, grid, machine, read_words
from tests.benchmarks.verdicts.draws import NAMES
from tests.benchmarks.verdicts.oracle import BAD, BLURRED, MARGIN, STRANGE, TOLD_NATS, TOLD_SHARE, Label, labelled
from vae.config import RunConfig
from vae.training.hooks import EpochReport

COUNTED = 100
"""Number of bad draws, and of sound ones, that count: the first of each."""
LEAST_FOUND, MOST_ACCUSED, LEAST_REPAIRED = 95, 2, 80
"""Bars: bad draws found, sound draws accused, bad draws repaired, each of 100."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A draw with the oracle's label and the verdict's findings."""

    number: int
    dataset: str
    config: RunConfig
    label: Label
    figures: Mapping[str, float]
    early: tuple[str, ...]
    """Findings of either kind after a tenth of the epochs."""
    late: tuple[str, ...]
    """Findings of either kind at the end."""
    at_tenth: EpochReport
    best: EpochReport
    advice: str | None
    """Flags of the finding of the right kind, the last one printed; None if there is none."""
    repaired: Mapping[str, float] | None
    """The oracle's figures of the run that followed the advice; None if there is none, or it diverged."""

    @property
    def is_found(self) -> bool:
        """Whether a finding after a tenth of the epochs names what is wrong."""
        return self.label in self.early

    @property
    def is_accused(self) -> bool:
        """Whether there is any finding, after a tenth of the epochs or at the end."""
        return bool(self.early or self.late)

    @property
    def is_repaired(self) -> bool:
        """Whether the run that followed the advice is bad in neither way."""
        return self.repaired is not None and labelled(self.repaired) not in BAD


def counted(found: Iterable[Judged]) -> tuple[list[Judged], list[Judged]]:
    """Returns the first bad and the first sound draws, as many as count."""
    ordered = sorted(found, key=lambda one: one.number)
    bad, sound = ([one for one in ordered if one.label in labels] for labels in (BAD, ("sound",)))
    return bad[:COUNTED], sound[:COUNTED]


def render(found: Sequence[Judged], failed: int, seed: int, seconds: float) -> str:
    """Returns the page in Markdown.

    Args:
        found: Every draw that trained to its end.
        failed: Number of draws that diverged or were refused.
        seed: Seed of the draws.
        seconds: Seconds of all trainings.
    """
    bad, sound = counted(found)
    neither = sum(one.label == "neither" for one in found)
    surplus = len(found) - neither - len(bad) - len(sound)
    counts = {
        "bad": len(bad),
        "sound": len(sound),
        "drawn": len(found) + failed,
        "neither": neither,
        "failed": failed,
        "surplus": surplus,
    }
    words = read_words("verdicts", {**_BARS, **counts})
    parts = [
        f"# {words.title}",
        f"`python -m tests.benchmarks.verdicts --seed {seed}`, {datetime.now(UTC):%Y-%m-%d}. {words.legend}",
        "## What was missed, and why",
        bullets(words.sections["Shortfalls"]),
        bullets(f"Not found by a tenth of the epochs: {_line(one)}" for one in bad if not one.is_found),
        bullets(
            f"Sound, and accused of {', '.join({*one.early, *one.late})}: {_line(one)}"
            for one in sound
            if one.is_accused
        ),
        bullets(f"Not repaired: {_line(one)}; {_after(one)}" for one in bad if not one.is_repaired),
        "## Figures",
        *_tables(bad, sound),
        f"## Protocol\n\n{bullets(words.sections['Protocol'])}",
        f"{seconds:.0f} s of training in all. {machine()}",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


_BARS = {
    "least_nats": TOLD_NATS / MARGIN,
    "least_share": TOLD_SHARE / MARGIN,
    "strange": STRANGE * MARGIN,
    "clear": MARGIN * MARGIN,
    "alike": STRANGE / MARGIN,
    "BLURRED": BLURRED,
    "COUNTED": COUNTED,
}
"""Bars of the oracle's labels, as fields of the page's prose."""


def _tables(bad: Sequence[Judged], sound: Sequence[Judged]) -> tuple[str, str]:
    named = sum(one.label in one.late for one in bad)
    bars = [
        _bar("bad runs found by a tenth of their epochs", "≥", LEAST_FOUND, [one.is_found for one in bad]),
        _bar("sound runs accused, then or at the end", "≤", MOST_ACCUSED, [one.is_accused for one in sound]),
        ("bad runs told as what they are at the end", "none", f"{named} of {len(bad)}"),
        _bar("bad runs repaired by the printed advice", "≥", LEAST_REPAIRED, [one.is_repaired for one in bad]),
    ]
    header = ("dataset", *BAD, "sound", "found", "accused", "repaired")
    return grid(("", "bar", "measured"), bars), grid(header, [_row(name, [*bad, *sound]) for name in NAMES])


def _bar(what: str, sign: str, bar: int, cases: Sequence[bool]) -> tuple[str, str, str]:
    share, counted = 100 * sum(cases) / max(1, len(cases)), f"{sum(cases)} of {len(cases)}"
    met = share >= bar if sign == "≥" else share <= bar
    return what, f"{sign} {bar} of 100", counted if met else f"**{counted}**"


def _row(name: str, those: Sequence[Judged]) -> list[str]:
    here = [one for one in those if one.dataset == name]
    bad = [one for one in here if one.label in BAD]
    sound = [one for one in here if one.label == "sound"]
    return [
        name,
        *(str(sum(one.label == label for one in here)) for label in (*BAD, "sound")),
        f"{sum(one.is_found for one in bad)} of {len(bad)}",
        f"{sum(one.is_accused for one in sound)} of {len(sound)}",
        f"{sum(one.is_repaired for one in bad)} of {len(bad)}",
    ]


def _line(one: Judged) -> str:
    """Returns the configuration and the figures of a draw in one line."""
    config = one.config
    model, objective, likelihood = config.model, config.objective, config.model.likelihood
    kind = getattr(likelihood, "sigma", getattr(likelihood, "numeric", ""))
    extras = [objective.controller.kind, *(["iwae"] if objective.bound.kind == "iwae" else [])]
    extras += [regularizer.kind for regularizer in objective.regularizers]
    return (
        f"draw {one.number}, {one.dataset}, {one.label}: β {objective.beta:g}, {model.latent_dim} latents, "
        f"{likelihood.kind} {kind}, {model.prior.kind}, {', '.join(extras)}. Rate {one.at_tenth.validation_rate:.1f} "
        f"after a tenth, {one.best.validation_rate:.1f} nats at the end; {_figures(one.figures)}"
    )


def _after(one: Judged) -> str:
    if one.advice is None:
        return "it was given no advice"
    if one.repaired is None:
        return f"`{one.advice}` diverged"
    return f"after `{one.advice}` {labelled(one.repaired)}, {_figures(one.repaired)}"


def _figures(found: Mapping[str, float]) -> str:
    return (
        f"own posterior worth {found['told']:.2f} nats, samples "
        f"{found['samples'] - found['reconstructions']:.2f} farther than reconstructions"
    )
