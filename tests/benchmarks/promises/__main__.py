"""Command line of the package."""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tests.benchmarks.page import RESULTS, Table, Words, figures_of, grid, read_words, summary, write
from tests.benchmarks.promises.measures import HIDDEN_SHARE
from tests.benchmarks.promises.promises import claims
from tests.benchmarks.promises.runs import AT_17, IMAGES, TABLES, WEAK, dataset_of, jobs
from tests.benchmarks.work import Outcome, run_jobs

SECOND = ("control_vae", AT_17, "vq_vae", WEAK, "ladder_vae", "info_vae", "beta_vae", "annealed_vae")


def words() -> Words:
    """Returns the prose of the page."""
    return read_words("promises", {"HIDDEN_SHARE": HIDDEN_SHARE})


def render(outcomes: Sequence[Outcome]) -> str:
    """Returns two tables: models of digits whose chosen epoch was once wrong, and all shipped models."""

    def cells(row: str, data: str, *figures: str) -> list[str]:
        mine = [one for one in outcomes if (one.row, one.setting) == (row, data)]
        epochs = ", ".join(f"{one.figures['epoch']:.0f} of {one.figures['epochs']:.0f}" for one in mine)
        measured = {name: [one for one in mine if name in one.figures] for name in figures}
        return [epochs, *(summary(figures_of(measured[name], name), 2) for name in figures)]

    models = dict.fromkeys((one.row, one.setting) for one in outcomes)
    second = [row for row in SECOND if (row, "digits") in models]
    epoch = "epoch that ships, of"
    first = grid(
        ("digits", epoch, "rate", "distortion", "perplexity"),
        [[f"`{row}`", *cells(row, "digits", "rate", "distortion", "perplexity")] for row in second],
    )
    shipped = [[f"`{row}`", data, *cells(row, data, "rate", "distortion", "nll")] for row, data in models]
    return f"{first}\n\n{grid(('model', 'data', epoch, 'rate', 'distortion', 'NLL'), shipped)}"


def main() -> None:
    """Measures all promises and writes their page."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.promises", description="See the package.")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--rows", help="only models whose name contains this; prints figures, writes no page")
    parser.add_argument("--keep", type=Path, help="folder of figures: models in it are not measured again")
    parser.add_argument("--out", type=Path, default=RESULTS / "promises.md")
    chosen = parser.parse_args()
    os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as home:
        for data in (*IMAGES, *TABLES):
            dataset_of(data, Path(home))
        wanted = [job for job in jobs(Path(home), chosen.seeds, chosen.keep) if (chosen.rows or "") in job.row]
        outcomes = run_jobs(wanted, chosen.processes)
    if chosen.rows is not None:
        return
    num_kept = sum(outcome.seconds < 1 for outcome in outcomes)  # nothing trains in less
    kept = f"{num_kept} of {len(outcomes)} models were measured by earlier commands, whose time is not in the total."
    outcomes = [replace(outcome, seconds=outcome.figures["seconds"]) for outcome in outcomes]
    outcomes.sort(key=lambda outcome: outcome.seed)
    table = Table(words().add("Protocol", [kept] if num_kept else ()), wanted, render, claims)
    command = f"python -m tests.benchmarks.promises --processes {chosen.processes}"
    write(chosen.out, table, outcomes, command, time.monotonic() - started, chosen.processes)
    print(f"wrote {chosen.out}")


if __name__ == "__main__":
    main()
