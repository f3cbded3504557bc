"""Plants mutations in copies of the repository and runs their tests there; the working tree is only read."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal

from tests.mutations.mutation import Planted, check_fits

ROOT = Path(__file__).parents[2]
COPIED = ("vae", "tuning", "pipelines", "tests", "pyproject.toml")
"""Files that the tests import, and pytest's settings."""
LEFT_OUT = shutil.ignore_patterns("results", "node_modules")
LONGEST_SECONDS = 120.0
"""A run of tests that takes longer hangs, and so has noticed its mutation."""

Verdict = Literal["killed", "survived", "broken"]


@dataclass(frozen=True)
class Outcome:
    """The result of a mutation."""

    planted: Planted
    verdict: Verdict
    """`broken` if pytest failed at something other than a test, such as an import, which is no kill."""
    seconds: float
    """Duration of the run of its tests."""
    reason: str
    """The test that failed and its error; the end of pytest's output for a broken mutation."""


@dataclass(frozen=True)
class Run:
    """A finished run of pytest."""

    status: int | None
    """Exit status; None for a run that was ended because it hung."""
    output: str
    seconds: float

    @property
    def tail(self) -> str:
        """The last lines of the output."""
        return "\n".join(self.output.strip().splitlines()[-15:])

    @property
    def failed(self) -> str | None:
        """The first test that failed and its error; None if no test failed."""
        found = re.search(r"^FAILED (.+)$", self.output, re.MULTILINE)
        return found[1] if found else None


def outcomes(mutations: Sequence[Planted], jobs: int, root: Path = ROOT) -> Iterator[Outcome]:
    """Yields what became of each mutation, in the order in which they finish.

    First the same tests run without any mutation.

    Args:
        mutations: What to plant, each in a copy of its own.
        jobs: Copies that are tested at once.
        root: The repository.

    Raises:
        ValueError: If a mutation does not fit its file, or tests fail without it.
    """
    check_fits(mutations, root)
    with tempfile.TemporaryDirectory(prefix="mutations-") as folder, ThreadPoolExecutor(jobs) as pool:
        sound = Path(folder) / "sound"
        copy(root, sound)
        wanted = by_file(mutations)
        for tests, run in zip(wanted, pool.map(lambda tests: run_tests(sound, tests), wanted), strict=True):
            if run.status != 0:
                raise ValueError(f"{' '.join(tests)}: these tests fail without a mutation:\n{run.tail}")

        def test(number: int, planted: Planted) -> Outcome:
            place = Path(folder) / str(number)
            copy(sound, place)  # with the bytecode of the first run
            (place / planted.file).write_text(planted.source(root))
            try:
                return judge(planted, run_tests(place, planted.mutation.tests))
            finally:
                shutil.rmtree(place)

        for done in as_completed([pool.submit(test, number, planted) for number, planted in enumerate(mutations)]):
            yield done.result()


def by_file(mutations: Sequence[Planted]) -> list[list[str]]:
    """Returns the tests of all mutations once each, those of one file together."""
    tests = dict.fromkeys(test for planted in mutations for test in planted.mutation.tests)
    return [list(together) for _, together in groupby(sorted(tests), lambda test: test.partition("::")[0])]


def judge(planted: Planted, run: Run) -> Outcome:
    """Returns the verdict on a mutation from the run of its tests."""
    if run.status is None:
        return Outcome(planted, "killed", run.seconds, f"its tests hung for {LONGEST_SECONDS:.0f} s")
    if run.status == 0:
        return Outcome(planted, "survived", run.seconds, "its tests passed")
    if run.status == 1 and run.failed is not None:
        return Outcome(planted, "killed", run.seconds, run.failed)
    return Outcome(planted, "broken", run.seconds, run.tail)


def copy(root: Path, place: Path) -> None:
    """Copies what the tests need of a repository; files keep their times, which bytecode is checked by."""
    place.mkdir()
    for name in COPIED:
        if (root / name).is_dir():
            shutil.copytree(root / name, place / name, ignore=LEFT_OUT)
        elif (root / name).exists():
            shutil.copy2(root / name, place / name)


def run_tests(place: Path, tests: Sequence[str], longest_seconds: float = LONGEST_SECONDS) -> Run:
    """Runs tests in a copy of the repository, whose modules come before any others."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-rf", "-p", "no:cacheprovider", *tests]
    environment = {**os.environ, "PYTHONPATH": str(place), "OMP_NUM_THREADS": "1", "COLUMNS": "300"}
    started = time.monotonic()
    with subprocess.Popen(
        command,
        cwd=place,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=longest_seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # with the processes that its tests started
            output, _ = process.communicate()
            return Run(None, output, time.monotonic() - started)
    return Run(process.returncode, output, time.monotonic() - started)
