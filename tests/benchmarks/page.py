"""The page of a benchmark: its words from a template, its table, and the verdicts on its claims."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch

from tests.benchmarks.work import Job, Outcome
from vae.config import RunConfig

RESULTS, WORDS = (Path(__file__).parent / folder for folder in ("results", "words"))
DEFAULT_LEGEND = "Mean ± standard deviation over seeds (each seed)."
VERDICTS = {True: "holds", False: "**does not hold**", None: "**not shown**"}


@dataclass(frozen=True)
class Claim:
    """A statement that a table tests, and the verdict on it."""

    text: str
    target: str
    found: str
    holds: bool | None
    """None if the figures show neither that the claim holds nor that it does not."""

    @classmethod
    def of_all(cls, text: str, count: float, total: int, unit: str = "") -> Self:
        """Returns the claim that something holds in every case."""
        return cls(text, f"{total} of {total}{unit}", f"{count:.0f} of {total}", count == total)


class Words(NamedTuple):
    """The prose of a page, read from a file of `tests/benchmarks/words`."""

    title: str
    legend: str
    """Text below the table."""
    sections: Mapping[str, Sequence[str]]
    """Items of each section: `Protocol` says how it was measured, `Shortfalls` what the page does not show."""

    def add(self, section: str, items: Iterable[str]) -> Words:
        """Returns the words with more items at the end of a section."""
        return self._replace(sections={**self.sections, section: [*self.sections.get(section, ()), *items]})

    def for_budget(self, budget: str) -> Words:
        """Returns the words with the shortfalls of one budget before those of all budgets."""
        own = [*self.sections[f"Shortfalls, {budget}"], *self.sections.get("Shortfalls", ())]
        return self._replace(sections={**self.sections, "Shortfalls": own})


def read_words(name: str, values: Mapping[str, Any] | None = None, config: RunConfig | None = None) -> Words:
    """Reads a template and fills in its fields.

    Args:
        name: Name of the file, without `.md`.
        values: Values of the fields, such as the constants of the benchmark's module.
        config: Adds the fields `model`, `training`, `objective`, `encoder` and `likelihood` of a run.
    """
    fields = dict(values or {})
    if config is not None:
        model = config.model
        fields |= {"model": model, "training": config.training, "objective": config.objective}
        fields |= {"encoder": model.encoder.model_dump(), "likelihood": model.likelihood.model_dump()}
    text = (WORDS / f"{name}.md").read_text(encoding="utf-8").format_map(fields)
    head, *parts = text.split("\n## ")
    title, _, legend = head.removeprefix("# ").partition("\n")
    sections = {}
    for part in parts:
        heading, *lines = part.splitlines()
        sections[heading] = [line.removeprefix("- ") for line in lines if line]
    return Words(title, legend.strip() or DEFAULT_LEGEND, sections)


@dataclass(frozen=True)
class Table:
    """A table to fill in."""

    words: Words
    jobs: Sequence[Job]
    render: Callable[[Sequence[Outcome]], str]
    """Returns the table in Markdown."""
    claims: Callable[[Sequence[Outcome]], Sequence[Claim]]


def summary(values: Sequence[float], decimals: int) -> str:
    """Returns the mean and, of several values, the standard deviation and each: `0.281 ± 0.005 (0.277, 0.285)`."""
    if not values:
        return ""
    mean = f"{statistics.fmean(values):.{decimals}f}"
    if len(values) == 1:
        return mean
    each = ", ".join(f"{value:.{decimals}f}" for value in values)
    return f"{mean} ± {statistics.stdev(values):.{decimals}f} ({each})"


def figures_of(outcomes: Sequence[Outcome], figure: str, row: str | None = None) -> list[float]:
    """Returns one figure of every outcome, or of the outcomes of one row."""
    return [outcome.figures[figure] for outcome in outcomes if row in (None, outcome.row)]


def grid(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def bullets(texts: Iterable[str]) -> str:
    """Returns a list in Markdown."""
    return "\n".join(f"- {text}" for text in texts)


def write(file: Path, table: Table, outcomes: Sequence[Outcome], command: str, seconds: float, processes: int) -> None:
    """Writes the page, and every figure of every seed to a JSON file of the same name beside it."""
    claims, words = table.claims(outcomes), table.words
    missed = [f"{c.text}: expected {c.target}, found {c.found}." for c in claims if not c.holds]
    verdicts = [[VERDICTS[claim.holds], claim.text, claim.target, claim.found] for claim in claims]
    seeds = sorted({outcome.seed for outcome in outcomes})
    parts = [
        f"# {words.title}",
        f"`{command}`, {datetime.now(UTC):%Y-%m-%d}, seeds {', '.join(map(str, seeds))} where a row has as many.",
        "## What was not reached, and why",
        bullets([*missed, *words.sections.get("Shortfalls", ())]) or "- Nothing.",
        "## Figures",
        table.render(outcomes),
        words.legend,
        "## Claims",
        grid(("", "claim", "target", "found"), verdicts) if claims else "None at this budget.",
        "## Protocol",
        bullets(words.sections["Protocol"]),
        "## Time and machine",
        f"{seconds:.0f} s in all, {processes} processes with one thread each. {machine()}",
        _times(outcomes),
    ]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n\n".join(parts) + "\n")
    file.with_suffix(".json").write_text(json.dumps([asdict(outcome) for outcome in outcomes], indent=1) + "\n")


def _times(outcomes: Sequence[Outcome]) -> str:
    """Returns a table of the median seconds of each row's jobs."""
    seconds: dict[tuple[str, str], list[float]] = {}
    for outcome in outcomes:
        seconds.setdefault((outcome.row, outcome.setting), []).append(outcome.seconds)
    lines = [[*row, f"{statistics.median(values):.0f}"] for row, values in seconds.items()]
    return grid(("row", "setting", "median seconds of a job"), sorted(lines))


def machine() -> str:
    """Returns a line on this computer: its processor, how busy it is, and its torch."""
    name = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo") as lines:
            name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), name)
    gpu = f"{torch.cuda.get_device_name()}, " if torch.cuda.is_available() else ""
    load = os.getloadavg()[2]
    return f"{gpu}{os.cpu_count()} CPUs ({name}), load average over 15 minutes {load:.1f}, torch {torch.__version__}."
