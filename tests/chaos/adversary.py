"""A seeded adversary: what it does to the processes of a home, when, and the log of it."""

from __future__ import annotations

import json
import random
import shutil
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from tests.processes import betaline, command_of

MARK = "BETALINE_CHAOS"
"""Variable by which every process of a home is known; it passes from each to those that it starts."""
ROLES = {
    "command": "pipelines.cli",
    "job": "pipelines.jobs",
    "controller": "TrainController",
    "worker": "RayTrainWorker",
    "raylet": "raylet/raylet",
    "head": "gcs_server",
    "mlflow": "mlflow_server",
    "prefect": "prefect server",
}
"""A word of the command line of each target."""
ACTIONS = ("kill", "kill", "kill", "stop", "restart", "fill")


@dataclass(frozen=True)
class Strike:
    """One thing that is done to a round."""

    number: int
    """Number of the round."""
    after_seconds: float
    """Seconds from the start of the round."""
    action: str
    """`kill`, `stop` for a while, `restart` all services, or `fill` the disk for a while."""
    role: str
    """Target of a signal, one of `ROLES`."""
    seconds: float
    """Seconds for which a process is stopped, or the disk full."""


def drawn(seed: int, number: int, usual_seconds: float) -> list[Strike]:
    """Returns the strikes of a round that takes so many seconds undisturbed, in the order of their times."""
    dice = random.Random(f"{seed} {number}")
    strikes = [
        Strike(
            number,
            round(dice.uniform(0, 1.2 * usual_seconds), 1),
            dice.choice(ACTIONS),
            dice.choice(list(ROLES)),
            round(dice.uniform(1, 15), 1),
        )
        for _ in range(dice.randint(1, 3))
    ]
    return sorted(strikes, key=lambda strike: strike.after_seconds)


def family(mark: str) -> list[psutil.Process]:
    """Returns the living processes that bear a mark, and all that they have started."""
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                # Ray's workers write over their environment.
                found |= {one.pid: one for one in [process, *process.children(recursive=True)]}
    return list(found.values())


class Adversary:
    """Strikes at one round in a thread of its own while the block runs, and notes what it did.

    Args:
        strikes: Strikes of the round, in the order of their times.
        mark: Mark of the home's processes.
        home: The home.
        log: File to which each strike is added as a line of JSON.
    """

    def __init__(self, strikes: Sequence[Strike], mark: str, home: Path, log: Path) -> None:
        self.strikes, self.mark, self.home, self.log = strikes, mark, home, log
        self.over = threading.Event()
        self.thread = ThreadPoolExecutor(1, "adversary")

    def __enter__(self) -> Adversary:
        self.striking = self.thread.submit(self._strike_all)
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.over.set()
        self.thread.shutdown()
        if error is None:
            self.striking.result()  # raises what ended the strikes

    def _strike_all(self) -> None:
        started = time.monotonic()
        for strike in self.strikes:
            if self.over.wait(max(0.0, started + strike.after_seconds - time.monotonic())):
                return
            done = getattr(self, f"_{strike.action}")(strike)
            line = json.dumps({**asdict(strike), "done": done})
            print(f"  {line}", flush=True)
            with self.log.open("a") as file:
                file.write(line + "\n")

    def _targets(self, role: str) -> Iterator[psutil.Process]:
        for process in family(self.mark):
            with suppress(psutil.Error):
                if ROLES[role] in command_of(process):
                    yield process

    def _kill(self, strike: Strike) -> str:
        return self._signal(strike, signal.SIGKILL)

    def _stop(self, strike: Strike) -> str:
        stopped = list(self._targets(strike.role))
        said = self._signal(strike, signal.SIGSTOP)
        self.over.wait(strike.seconds)
        for process in stopped:
            with suppress(psutil.Error):
                process.send_signal(signal.SIGCONT)
        return said

    def _signal(self, strike: Strike, number: signal.Signals) -> str:
        struck = 0
        for process in self._targets(strike.role):
            with suppress(psutil.Error):
                process.send_signal(number)
                struck += 1
        return f"{number.name} to {struck} × {strike.role}"

    def _restart(self, strike: Strike) -> str:
        ended = betaline("down", home=self.home)
        return f"betaline down: {ended.returncode}"

    def _fill(self, strike: Strike) -> str:
        """Fills a disk that the home has to itself; any other is left alone."""
        if not self.home.is_mount():
            return "not a disk of its own"
        free = shutil.disk_usage(self.home).free
        ballast = self.home / "ballast"
        with suppress(OSError), ballast.open("wb") as file:
            for _ in range(free // (1 << 20) + 1):
                file.write(bytes(1 << 20))
        self.over.wait(strike.seconds)
        ballast.unlink(missing_ok=True)
        return f"full for {strike.seconds:g} s"
