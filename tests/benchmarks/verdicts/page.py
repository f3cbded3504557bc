"""The page of the verdicts: what was missed first, then counts, then what was drawn and how it was labelled."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from tests.benchmarks.reproduce.page import grid, machine
from tests.benchmarks.verdicts.draws import DISTRIBUTION, NAMES
from tests.benchmarks.verdicts.oracle import BAD, BLURRED, MARGIN, STRANGE, TOLD_NATS, TOLD_SHARE, Label, labelled
from vae.config import RunConfig
from vae.training.reports import EpochReport

COUNTED = 100
"""Bad draws, and sound ones, that count: the first of each."""
LEAST_FOUND, MOST_ACCUSED, LEAST_REPAIRED = 95, 2, 80
"""Of 100 bad draws, of 100 sound ones, of 100 bad ones."""
SHORTFALLS: Sequence[str] = (
    "A tenth of the epochs shows 90 of 100 bad runs, not 95, and accuses 4 of 100 sound ones, not 2. On draws of other "
    "seeds, before the rules had seen them, it was as much (see the protocol): what is left has no common cause that a "
    "rule could name. At the end 96 of the 100 bad runs are told as what they are; the four are importance-weighted runs "
    "that have collapsed, whose bound keeps a rate that tells nothing. One sound run is accused at its end.",
    "Missed: a capacity that holds 10 nats in few dimensions, which at a tenth of the run are 1 nat; a discrepancy too "
    "weak or too strong for its data; two latents at a moderate β; and a table without holes of its own.",
    "Accused: two capacities under a heavy β whose samples turned out well, a β just below the critical one, and a learned "
    "prior that lagged behind its posteriors.",
)
"""Why bars are missed, as seen on the page."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A draw, what it is by the oracle, and what the verdict says of it."""

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
        """Whether a tenth of the epochs is enough to say what is wrong."""
        return self.label in self.early

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
        seconds: What all trainings took.
    """
    bad, sound = counted(found)
    missed = [one for one in bad if not one.is_found]
    accused = [one for one in sound if one.early or one.late]
    broken = [one for one in bad if not one.is_repaired]
    neither = sum(one.label == "neither" for one in found)
    parts = [
        "# The verdict on runs against what their models do",
        f"`python -m tests.benchmarks.verdicts --seed {seed}`, {datetime.now(UTC):%Y-%m-%d}. {len(bad)} configurations "
        f"that go wrong and {len(sound)} sound ones, drawn at random and labelled by an oracle that sees nothing but the "
        "trained model on the test split.",
        "## What was missed, and why",
        _items(SHORTFALLS),
        _items(f"Not found by a tenth of the epochs: {_line(one)}" for one in missed),
        _items(f"Sound, and accused of {', '.join({*one.early, *one.late})}: {_line(one)}" for one in accused),
        _items(f"Not repaired: {_line(one)}; {_after(one)}" for one in broken),
        "## Figures",
        grid(
            ("", "bar", "measured"),
            [
                _bar("bad runs found by a tenth of their epochs", "≥", LEAST_FOUND, len(bad) - len(missed), bad),
                _bar("sound runs accused, then or at the end", "≤", MOST_ACCUSED, len(accused), sound),
                (
                    "bad runs told as what they are at the end",
                    "none",
                    f"{sum(one.label in one.late for one in bad)} of {len(bad)}",
                ),
                _bar("bad runs repaired by the printed advice", "≥", LEAST_REPAIRED, len(bad) - len(broken), bad),
            ],
        ),
        grid(
            ("dataset", *BAD, "sound", "found", "accused", "repaired"), [_row(name, [*bad, *sound]) for name in NAMES]
        ),
        "## Protocol",
        _items(_protocol(found, neither, failed, len(found) - neither - len(bad) - len(sound))),
        f"{seconds:.0f} s of training in all. {machine()}",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _bar(what: str, sign: str, bar: int, count: int, of: Sequence[Judged]) -> tuple[str, str, str]:
    share = 100 * count / max(1, len(of))
    met = share >= bar if sign == "≥" else share <= bar
    return what, f"{sign} {bar} of 100", f"{count} of {len(of)}" if met else f"**{count} of {len(of)}**"


def _row(name: str, those: Sequence[Judged]) -> list[str]:
    here = [one for one in those if one.dataset == name]
    bad = [one for one in here if one.label in BAD]
    sound = [one for one in here if one.label == "sound"]
    return [
        name,
        *(str(sum(one.label == label for one in here)) for label in (*BAD, "sound")),
        f"{sum(one.is_found for one in bad)} of {len(bad)}",
        f"{sum(bool(one.early or one.late) for one in sound)} of {len(sound)}",
        f"{sum(one.is_repaired for one in bad)} of {len(bad)}",
    ]


def _line(one: Judged) -> str:
    """Returns a draw in one line: what was drawn, and what came of it."""
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


def _protocol(found: Sequence[Judged], neither: int, failed: int, surplus: int) -> list[str]:
    return [
        *DISTRIBUTION,
        f"Collapsed: the distortion of a test row under posteriors of other rows is less than {TOLD_NATS / MARGIN:g} nats, "
        f"or less than {TOLD_SHARE / MARGIN:.1%}, above that under its own (median over rows).",
        "Under-regularised: samples from the prior lie farther from the test rows than reconstructions do, by an energy "
        f"distance of {STRANGE * MARGIN:g} in units of the rows' mean distance; both are means of the likelihood.",
        f"Sound: its own posterior is worth {MARGIN * MARGIN:g} times as much to a row; samples are farther from the rows "
        f"than reconstructions, and from reconstructions, by {STRANGE / MARGIN:g} at most; and reconstructions lie within "
        f"{BLURRED:g}. What lies between is neither.",
        "At the end the verdict measures the same distance on training rows, and what it says then is hardly in doubt. A "
        "tenth of the epochs earlier the models are other models: what counts as found is what is said then.",
        f"{len(found) + failed} draws in all: {neither} lay between and count as neither, {failed} diverged, {surplus} "
        f"came after {COUNTED} of their kind.",
        "The rules and thresholds of the verdict, and those of the oracle, were set on 978 draws of the seeds 1, 2, 3 and "
        "2000. Three of these were first judged by rules that had not seen them: of seed 1 80 of 91 bad runs were found "
        "and 11 of 100 sound ones accused; of seed 2 19 of 24 and 0 of 37; of seed 3 69 of 75 and 3 of 100. Then the rules "
        "were mended; on all four seeds they find 255 of 267 and accuse 6 of 444. The seed of this page they had not seen.",
        "Advice is read from the finding as the command line reads it, followed once, and judged by the same oracle. The "
        "finding is that of the end where there is one, else that of the tenth.",
    ]


def _items(texts: Iterable[str]) -> str:
    return "\n".join(f"- {text}" for text in texts)
