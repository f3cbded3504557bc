"""Runs the pipeline again and again while an adversary strikes: `python -m tests.chaos --minutes 30 --seed 0`.

Each round is a training that is promoted, by the command that a person would give, and given again until it succeeds.
Afterwards every run has ended, its weights are the undisturbed one's, each run has one version, the alias is valid, and no
process is left. The log holds what was done; `--replay LOG` does the same again.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import psutil

from pipelines.services.commands import ray_folder
from tests.chaos.adversary import MARK, Adversary, Strike, drawn, family
from tests.processes import betaline, wait_until

ATTEMPTS, ATTEMPT_SECONDS = 8, 400
"""Most commands of a round, and seconds after which one hangs."""
DISK_BYTES = 1 << 30
NAME = "digits"
SETTINGS = {
    "model.encoder": "{kind: mlp, hidden: [16]}",
    "model.latent_dim": 2,
    "training.batch_size": 2,
    "training.epochs": 4,
    "training.checkpoint_seconds": 1,
}


class BrokenPromiseError(AssertionError):
    """A promise that was broken."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.chaos")
    parser.add_argument("--minutes", type=float, default=30.0, help="minutes after which no round begins")
    parser.add_argument("--seed", type=int, default=0, help="seed of the adversary")
    parser.add_argument("--log", type=Path, default=Path("chaos.jsonl"), help="file of what was done")
    parser.add_argument("--replay", type=Path, help="log of an earlier session whose strikes are done again")
    options = parser.parse_args()
    replayed = _strikes_of(options.replay) if options.replay else None  # before its own log, which may be the same file
    if replayed == {}:
        parser.error(f"--replay {options.replay}: the log has no strike")
    options.log.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as after:
        home = Home(Path(scratch) / "home", after)
        usual_seconds, expected = home.undisturbed()
        print(f"undisturbed: {usual_seconds:.0f} s", flush=True)
        ends, number = time.monotonic() + 60 * options.minutes, 0
        while (number in replayed) if replayed else (time.monotonic() < ends):
            strikes = replayed[number] if replayed else drawn(options.seed, number, usual_seconds)
            attempts, seconds = home.round(number, strikes, options.log, expected)
            print(f"round {number}: {attempts} command{'s' * (attempts > 1)}, {seconds:.0f} s", flush=True)
            number += 1
        home.check_versions(number + 1)
        home.check_nothing_is_left()
    print(f"{number} rounds, all promises kept; {options.log} has what was done")
    return 0


class Home:
    """A home on a small disk of its own where one may be mounted, and the commands that are given to it.

    Args:
        folder: The home, which is made.
        after: Where what must be undone is registered.
    """

    def __init__(self, folder: Path, after: ExitStack) -> None:
        folder.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
        if subprocess.run(mount, capture_output=True).returncode == 0:
            after.callback(subprocess.run, ["umount", "--lazy", str(folder)])
        self.folder, self.mark = folder, f"{os.getpid()}"
        self.environment = {**os.environ, MARK: self.mark, "OMP_NUM_THREADS": "1"}
        after.callback(self._end_all)

    def undisturbed(self) -> tuple[float, bytes]:
        """Returns the seconds and the weights of a round without strikes, with services up."""
        self._must("ingest", "sklearn:digits", NAME)
        self._must("up")
        started = time.monotonic()
        self._must(*self._train("undisturbed"))
        return time.monotonic() - started, self._weights("undisturbed")

    def round(self, number: int, strikes: list[Strike], log: Path, expected: bytes) -> tuple[int, float]:
        """Trains and promotes under strikes; returns the number of commands that it took, and the seconds."""
        run, started = f"chaos-{number}", time.monotonic()
        with Adversary(strikes, self.mark, self.folder, log):
            for attempt in range(1, ATTEMPTS + 1):
                ended = self._give(*self._train(run))
                if ended.returncode == 0:
                    break
                if "Traceback" in ended.stderr:
                    raise BrokenPromiseError(f"{run}: a traceback reached the user:\n{ended.stderr[-3000:]}")
                print(f"  attempt {attempt}: {ended.stderr.strip().splitlines()[-1:]}", flush=True)
            else:
                raise BrokenPromiseError(
                    f"{run} did not succeed in {ATTEMPTS} commands; the last one said:\n{ended.stderr[-3000:]}"
                )
        if self._weights(run) != expected:
            raise BrokenPromiseError(f"{run}: its weights are not the undisturbed ones")
        return attempt, time.monotonic() - started

    def check_versions(self, runs: int) -> None:
        """Checks that each run has one version, and that the alias names one of them."""
        versions = json.loads(self._must("models", NAME, "--json").splitlines()[-1])["models"]
        by_run = defaultdict[str, int](int)
        for version in versions:
            by_run[version["run_id"]] += 1
        if sorted(by_run.values()) != [1] * runs:
            raise BrokenPromiseError(f"{runs} runs have versions {dict(by_run)}")
        if sum("champion" in version["aliases"] for version in versions) != 1:
            raise BrokenPromiseError(f"the alias champion is not at one version: {versions}")

    def check_nothing_is_left(self) -> None:
        """Checks that no process is left after `betaline down`."""
        self._must("down")
        wait_until(
            lambda: not family(self.mark), 60, f"no process is left, but {[p.cmdline() for p in family(self.mark)]}"
        )

    def _train(self, run: str) -> list[str]:
        settings = [f"--set={field}={value}" for field, value in SETTINGS.items()]
        return ["train", NAME, "--run", run, "--register", "champion", *settings]

    def _weights(self, run: str) -> bytes:
        result: dict[str, Any] = json.loads((self.folder / "runs" / run / "result.json").read_text())
        return Path(result["model"], "weights.safetensors").read_bytes()

    def _must(self, *arguments: str) -> str:
        ended = self._give(*arguments)
        if ended.returncode:
            raise BrokenPromiseError(f"betaline {' '.join(arguments)} failed:\n{ended.stderr[-3000:]}")
        return ended.stdout

    def _give(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        try:
            return betaline(*arguments, home=self.folder, environment=self.environment, limit_seconds=ATTEMPT_SECONDS)
        except subprocess.TimeoutExpired as hung:
            said = (hung.stderr or b"")[-3000:].decode(errors="replace")
            raise BrokenPromiseError(
                f"betaline {' '.join(arguments)} did not end within {hung.timeout} s; it said last:\n{said}"
            ) from None

    def _end_all(self) -> None:
        for process in family(self.mark):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        shutil.rmtree(ray_folder(self.folder), ignore_errors=True)


def _strikes_of(log: Path) -> dict[int, list[Strike]]:
    """Returns the strikes of each round of a log; a round without any has an empty list."""
    found = defaultdict[int, list[Strike]](list)
    for line in log.read_text().splitlines():
        fields = json.loads(line)
        found[fields["number"]].append(Strike(**{name: fields[name] for name in Strike.__dataclass_fields__}))
    return {number: found[number] for number in range(max(found, default=-1) + 1)}


if __name__ == "__main__":
    sys.exit(main())
