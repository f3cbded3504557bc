"""The page that a table is written to."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import torch

from tests.benchmarks.reproduce.work import Claim, Outcome, Table


def summary(values: Sequence[float], decimals: int) -> str:
    """Mean and, of several, standard deviation and every value: `0.281 ± 0.004 (0.277, 0.281, 0.285)`."""
    if not values:
        return ""
    mean = f"{statistics.fmean(values):.{decimals}f}"
    if len(values) == 1:
        return mean
    each = ", ".join(f"{value:.{decimals}f}" for value in values)
    return f"{mean} ± {statistics.stdev(values):.{decimals}f} ({each})"


def grid(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write(file: Path, table: Table, outcomes: Sequence[Outcome], command: str, seconds: float, processes: int) -> None:
    """Writes the page, and every figure of every seed to a JSON file of the same name beside it."""
    claims = table.claims(outcomes)
    missed = [f"{c.text}: expected {c.target}, found {c.found}." for c in claims if not c.holds]
    seeds = sorted({outcome.seed for outcome in outcomes})
    parts = [
        f"# {table.title}",
        f"`{command}`, {datetime.now(UTC):%Y-%m-%d}, seeds {', '.join(map(str, seeds))} where a row has as many.",
        "## What was not reached, and why",
        _items([*missed, *table.shortfalls]),
        "## Figures",
        table.render(outcomes),
        table.legend,
        "## Claims",
        grid(("", "claim", "target", "found"), [_verdict(claim) for claim in claims])
        if claims
        else "None at this budget.",
        "## Protocol",
        _items(table.protocol),
        "## Time and machine",
        f"{seconds:.0f} s in all, {processes} processes with one thread each. {machine()}",
        _times(outcomes),
    ]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n\n".join(parts) + "\n")
    file.with_suffix(".json").write_text(json.dumps([asdict(outcome) for outcome in outcomes], indent=1) + "\n")


def _verdict(claim: Claim) -> list[str]:
    verdict = {True: "holds", False: "**does not hold**", None: "**not shown**"}[claim.holds]
    return [verdict, claim.text, claim.target, claim.found]


def _items(texts: Sequence[str]) -> str:
    return "\n".join(f"- {text}" for text in texts) or "- Nothing."


def _times(outcomes: Sequence[Outcome]) -> str:
    """Seconds of a job of each row, the median over seeds."""
    rows = dict.fromkeys((outcome.row, outcome.setting) for outcome in outcomes)
    seconds = [[o.seconds for o in outcomes if (o.row, o.setting) == row] for row in rows]
    lines = [[*row, f"{statistics.median(found):.0f}"] for row, found in zip(rows, seconds, strict=True)]
    return grid(("row", "setting", "median seconds of a job"), sorted(lines))


def machine() -> str:
    """The computer that this runs on, how busy it was, and its torch."""
    name = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo") as lines:
            name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), name)
    gpu = f"{torch.cuda.get_device_name()}, " if torch.cuda.is_available() else ""
    load = os.getloadavg()[2]
    return f"{gpu}{os.cpu_count()} CPUs ({name}), load average over 15 minutes {load:.1f}, torch {torch.__version__}."
