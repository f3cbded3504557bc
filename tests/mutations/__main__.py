"""Plants the mutations of `tests/mutations/` one by one and prints which survive: `python -m tests.mutations`.

The exit status is 1 if one survives. Every mutation tested, the page tests/benchmarks/results/mutations.md is written.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from tests.benchmarks.page import grid, machine
from tests.mutations.catalogue import every_mutation
from tests.mutations.running import Outcome, outcomes
from tests.tables import RESULTS

PAGE = RESULTS / "mutations.md"


def main() -> int:
    """Tests the mutations that the command line asks for; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutations", description=__doc__.splitlines()[0])
    parser.add_argument("--only", metavar="SUBSTRING", default="", help="text in the file, the code or the harm")
    parser.add_argument("--jobs", type=int, default=2, help="mutations tested at once (default: 2)")
    arguments = parser.parse_args()
    chosen = [one for one in every_mutation() if arguments.only in f"{one} {one.mutation.harm}"]
    if not chosen:
        parser.error(f"no mutation has {arguments.only!r} in its file, its code or its harm")
    started, tested = time.monotonic(), []
    for outcome in outcomes(chosen, arguments.jobs):
        print(*_line(outcome), sep="  ", flush=True)
        tested.append(outcome)
    seconds = time.monotonic() - started
    alive = [outcome for outcome in tested if outcome.verdict != "killed"]
    print(f"\n{len(tested) - len(alive)} of {len(tested)} mutations killed in {seconds:.0f} s")
    for outcome in alive:
        harm = outcome.planted.mutation.harm
        print(f"\n{outcome.verdict}: {outcome.planted}\n{harm}\n{outcome.reason}", file=sys.stderr)
    if not arguments.only:
        PAGE.write_text(page(tested, seconds, arguments.jobs))
        print(f"wrote {PAGE}")
    return 1 if alive else 0


def _line(outcome: Outcome) -> tuple[str, str, str]:
    return f"{outcome.verdict:8}", f"{outcome.seconds:5.1f} s", str(outcome.planted)


def page(found: Sequence[Outcome], seconds: float, jobs: int) -> str:
    """Returns the page in Markdown: counts by file, and every mutation with the test that notices it, survivors first."""
    files = sorted({outcome.planted.file for outcome in found})
    alive = {outcome.planted for outcome in found if outcome.verdict != "killed"}
    every = sorted(found, key=lambda one: (one.planted not in alive, one.planted.file, one.planted.mutation.harm))
    counts = []
    for file in files:
        here = [outcome.planted in alive for outcome in found if outcome.planted.file == file]
        counts.append((file, str(len(here)), str(sum(here))))
    parts = [
        "# Mutations, and the tests that notice them",
        f"`python -m tests.mutations`, {datetime.now(UTC):%Y-%m-%d}. Each is a fault of one line that was planted in a "
        f"copy of the code: {len(found) - len(alive)} of {len(found)} made a test fail, {len(alive)} survived.",
        grid(("file", "mutations", "survived"), counts),
        "## Every mutation",
        grid(("file", "what would go wrong", "noticed by"), [_row(outcome) for outcome in every]),
        f"{seconds:.0f} s with {jobs} at once. {machine()}",
    ]
    return "\n\n".join(parts) + "\n"


def _row(outcome: Outcome) -> tuple[str, str, str]:
    test = outcome.reason.partition(" - ")[0] if outcome.verdict == "killed" else f"**{outcome.verdict}**"
    return outcome.planted.file, outcome.planted.mutation.harm, test.replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main())
