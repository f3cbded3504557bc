"""Seconds of the main job by stage, and from Enter to the first step: `python -m tests.benchmarks.startup`.

Each round has a fresh home. `betaline run --json` says how long its stages took, with services that it starts and ends
itself. Then `betaline up`, and `betaline train` on the digits with one worker, as in a terminal. The time runs from its
start to the first draw of its view that has words, and to the first that names a step.
"""

from __future__ import annotations

import argparse
import json
import os
import pty
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.benchmarks.alternating import machine

BETALINE = (sys.executable, "-m", "pipelines.cli")
TRAIN = ("train", "digits", "--workers", "1", "--set", "training.epochs=5", "--name", "startup")
FIRST_WORD, FIRST_STEP = re.compile(rb"[a-z]{4}"), re.compile(rb"step [\d,]+")


def betaline(*arguments: str) -> str:
    """Runs a command to its end; returns its standard output."""
    return subprocess.run(
        [*BETALINE, *arguments], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ).stdout.decode()


@contextmanager
def running_services(home: str) -> Iterator[None]:
    """Keeps the services of a home up while the block runs."""
    betaline("up", "--home", home)
    try:
        yield
    finally:
        betaline("down", "--home", home)


def seconds_to_the_first_step(home: str) -> dict[str, float]:
    """Returns the seconds from the start of a training to its first words and to its first step."""
    screen, end = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "180", "LINES": "50"}
    started, seen, found = time.monotonic(), b"", dict[str, float]()
    command = subprocess.Popen([*BETALINE, *TRAIN, "--home", home], stdout=end, stderr=end, env=environment)
    os.close(end)
    try:
        while "first step" not in found:
            seen += os.read(screen, 1 << 16)
            for name, pattern in (("first words", FIRST_WORD), ("first step", FIRST_STEP)):
                if pattern.search(seen):
                    found.setdefault(name, time.monotonic() - started)
        while os.read(screen, 1 << 16):
            pass
    except OSError:  # the command has closed its terminal
        assert "first step" in found, seen.decode(errors="replace")[-2000:]
    finally:
        os.close(screen)
        command.wait()
    return found


def measure() -> dict[str, float]:
    """Returns the seconds of one round by their name."""
    with TemporaryDirectory() as folder:
        home = str(Path(folder) / "home")
        seconds = json.loads(betaline("run", "--json", "--home", home))["seconds"]
        with running_services(home):
            return {**seconds, **seconds_to_the_first_step(home)}


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.startup", description="See the module.")
    parser.add_argument("--rounds", type=int, default=3)
    rounds = []
    print(machine())
    for number in range(1, parser.parse_args().rounds + 1):
        rounds.append(measure())
        print(f"round {number}  ", "  ".join(f"{name} {value:.1f}" for name, value in rounds[-1].items()), flush=True)
    for name in rounds[0]:
        values = [one[name] for one in rounds]
        print(f"{name:<14}{statistics.median(values):>8.1f} s   {min(values):.1f} to {max(values):.1f}")


if __name__ == "__main__":
    main()
