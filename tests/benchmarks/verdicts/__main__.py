"""Draws runs until there are enough bad and sound ones, repairs the bad ones by their advice, and writes the page.

What has been trained is kept as lines of JSON, so that the command goes on where it was interrupted, and so that the
verdict can be judged again without training.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TextIO

from tests.benchmarks.verdicts.oracle import BAD, labelled
from tests.benchmarks.verdicts.page import COUNTED, counted, render
from tests.benchmarks.verdicts.trainings import Line, drawn, judged, repaired

PAGE = Path(__file__).parents[1] / "results" / "verdicts.md"
AT_ONCE = 12
"""Draws that are trained before they are counted again."""


def main() -> None:
    """Trains what is missing, and writes the page."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.verdicts", description=__doc__)
    parser.add_argument("--seed", type=int, default=4, help="seed of the draws (default: 4)")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--lines", type=Path, default=Path(".betaline/verdicts.jsonl"), help="where trainings are kept")
    parser.add_argument("--page", type=Path, default=PAGE)
    chosen = parser.parse_args()
    chosen.lines.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.loads(text) for text in chosen.lines.read_text().splitlines()] if chosen.lines.exists() else []
    draws = {line["number"]: line for line in lines if "advice" not in line}
    repairs = {(line["number"], line["advice"]): line for line in lines if "advice" in line}
    with multiprocessing.get_context("spawn").Pool(chosen.processes) as pool, chosen.lines.open("a") as file:
        while not is_enough(draws.values()):
            wanted = [number for number in range(len(draws) + AT_ONCE) if number not in draws]
            for line in pool.imap(partial(drawn, chosen.seed), wanted):
                draws[line["number"]] = _kept(line, file)
        bad, _ = counted(judged(chosen.seed, line, {}) for line in draws.values() if "history" in line)
        jobs = [(one.number, one.advice) for one in bad if one.advice]
        for line in pool.imap(partial(repaired, chosen.seed), [job for job in jobs if job not in repairs]):
            repairs[line["number"], line["advice"]] = _kept(line, file)
    found = [judged(chosen.seed, line, repairs) for line in draws.values() if "history" in line]
    seconds = sum(line["seconds"] for line in (*draws.values(), *repairs.values()))
    chosen.page.write_text(render(found, len(draws) - len(found), chosen.seed, seconds))
    print(f"wrote {chosen.page}")


def _kept(line: Line, file: TextIO) -> Line:
    """Writes the outcome of a training to the file, and returns it."""
    file.write(json.dumps(line) + "\n")
    file.flush()
    came_to = labelled(line["figures"]) if "figures" in line else line["error"]
    print(line["number"], line.get("advice", ""), came_to, f"{line['seconds']:.1f} s", flush=True)
    return line


def is_enough(draws: Iterable[Line]) -> bool:
    """Returns whether enough draws are bad, and enough are sound."""
    labels = [labelled(line["figures"]) for line in draws if "figures" in line]
    return min(sum(label in BAD for label in labels), labels.count("sound")) >= COUNTED


if __name__ == "__main__":
    main()
