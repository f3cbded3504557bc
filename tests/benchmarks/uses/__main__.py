"""Command line of the package."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

from pipelines.report.theme import png
from tests.benchmarks.page import RESULTS, Table, read_words, write
from tests.benchmarks.uses import augment, denoise, edit, generate, impute, interpolate, score, transfer, traverse
from tests.benchmarks.uses.work import Use
from tests.benchmarks.work import run_jobs

REPOSITORY = RESULTS.parents[2]
USES: dict[str, Use] = {
    "generate": generate,
    "denoise": denoise,
    "impute": impute,
    "interpolate": interpolate,
    "traverse": traverse,
    "transfer": transfer,
    "edit": edit,
    "augment": augment,
    "score": score,
}
COMPARED_WITH_SCIKIT_IMAGE = {"denoise", "impute"}


def main() -> None:
    """Runs a use, and writes its page and its picture."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.uses", description="See the package.")
    parser.add_argument("--use", choices=USES, required=True)
    parser.add_argument("--processes", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--into", type=Path, default=REPOSITORY, help="a folder for the page and the picture")
    chosen = parser.parse_args()
    if chosen.use in COMPARED_WITH_SCIKIT_IMAGE and find_spec("skimage") is None:
        parser.error(f"{chosen.use} is compared with scikit-image: pip install --editable '.[bench]'")
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as home:
        use = USES[chosen.use]
        words = read_words(f"use-{chosen.use}", vars(use), use.configuration())
        table = Table(words, use.jobs(Path(home)), use.render, use.claims)
        outcomes = sorted(run_jobs(table.jobs, chosen.processes), key=lambda outcome: outcome.seed)
        picture = chosen.into / "docs" / f"{chosen.use}.png"
        picture.parent.mkdir(parents=True, exist_ok=True)
        picture.write_bytes(png(use.draw(Path(home), outcomes)))
    page = chosen.into / "tests" / "benchmarks" / "results" / f"use-{chosen.use}.md"
    command = " ".join(["python -m tests.benchmarks.uses", *sys.argv[1:]])
    write(page, table, outcomes, command, time.monotonic() - started, chosen.processes)
    print(f"{time.monotonic() - started:.0f} s; wrote {page} and {picture}")


if __name__ == "__main__":
    main()
