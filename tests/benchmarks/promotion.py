"""Time of a promotion against a champion, by its parts: `python -m tests.benchmarks.promotion`.

Draws 60,000 colour images of 32x32 that have the edges and the spectrum of photographs, trains a convolutional VAE with a
discretised logistic likelihood on them twice, promotes the first model, and measures the promotion of the second one with
all defaults, from the start of `betaline promote` on, on services that run. Models are trained for few steps: their time
counts, their scores do not.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.benchmarks.alternating import machine

ROWS, SIDE, SPLIT = 60_000, 32, "0.0833333,0.1666667"
NAME, MODEL = "photographs", "photographs"
CEILING_SECONDS = 60.0


def photographs(num_rows: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Returns images [N,H,W,3]: discs that hide each other, whose numbers fall with their size, in a smooth light.

    References:
        Lee, Mumford & Huang, Occlusion Models for Natural Images (2001).
    """
    axis = np.arange(SIDE, dtype=np.float32)
    images = np.empty((num_rows, SIDE, SIDE, 3), np.float32)
    images[:] = rng.uniform(0, 255, (num_rows, 1, 1, 3))
    for _ in range(8):
        x_N, y_N = rng.uniform(0, SIDE, (2, num_rows, 1)).astype(np.float32)
        radius_N = (4 / np.sqrt(rng.uniform(0.04, 1, (num_rows, 1)))).astype(np.float32)
        away_NHW = np.square(axis - y_N)[:, :, None] + np.square(axis - x_N)[:, None, :]
        colour_N113 = rng.normal(128, 60, (num_rows, 1, 1, 1)) + rng.normal(0, 25, (num_rows, 1, 1, 3))
        inside_NHW = away_NHW < np.square(radius_N)[:, :, None]
        images = np.where(inside_NHW[..., None], colour_N113.astype(np.float32), images)
    light = 1 + rng.normal(0, 0.01, (num_rows, 1, 1)) * (axis[:, None] - SIDE / 2)
    images = images * light[..., None] + rng.normal(0, 4, images.shape)
    return images.clip(0, 255).astype(np.uint8)


def betaline(home: Path, *arguments: str) -> dict[str, Any]:
    """Runs a command of betaline; returns its result."""
    command = [sys.executable, "-m", "pipelines.cli", *arguments, "--home", str(home)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout) if "--json" in arguments else {}


def prepared(home: Path, rows: int) -> str:
    """Ingests images, trains two models, and makes one of them champion; returns the run of the other."""
    source = home / "photographs.npy"
    rng = np.random.default_rng(0)
    np.save(source, np.concatenate([photographs(part, rng) for part in [1000] * (rows // 1000)]))
    betaline(home, "ingest", str(source), NAME, "--split", SPLIT, "--json")
    settings = [
        "model.encoder={kind: conv}",
        "model.likelihood={kind: discretized_logistic}",
        "training.epochs=1",
    ]
    options = [word for one in settings for word in ("--set", one)]
    runs = [
        betaline(home, "train", NAME, *options, "--set", f"training.seed={seed}", "--json")["run"] for seed in (0, 1)
    ]
    betaline(home, "promote", runs[0], MODEL, "--json")
    return runs[1]


def promote(run: str, home: Path) -> tuple[list[tuple[float, str]], Any]:
    """Promotes a run as `betaline promote` does; returns the start of each part, in seconds, and the result."""
    started, parts = time.monotonic(), [(0.0, "starting the command")]
    from pipelines.cli.console import prepare

    prepare(str(home))
    os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "CRITICAL"
    from pipelines.cluster.runs import position_of
    from pipelines.services.lease import connect

    def on_event(stage: str, event: Any) -> None:
        position = position_of(event)
        if position is not None and position.part != parts[-1][1]:
            parts.append((time.monotonic() - started, position.part))

    with connect(str(home)):
        from pipelines.flows import job_events
        from pipelines.flows.promote import promote as flow
        from pipelines.stages.promote import PromoteRequest

        with job_events.session(on_event):
            result = flow(PromoteRequest(run=run, name=MODEL))
    parts.append((time.monotonic() - started, "end"))
    return parts, result


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.promotion", description="See the module.")
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--home", type=Path, help="folder to keep: the models that are there are not trained again")
    chosen = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as scratch:
        home = chosen.home or Path(scratch)
        home.mkdir(exist_ok=True)
        betaline(home, "up")
        try:
            kept = home / "candidate"
            if not kept.exists():
                kept.write_text(prepared(home, chosen.rows))
            parts, result = promote(kept.read_text(), home)
            if result.promoted:
                betaline(home, "rollback", MODEL)
        finally:
            betaline(home, "down")
    for (start, what), (stop, _) in pairwise(parts):
        print(f"{what:40} {stop - start:8.1f} s")
    print(result.comparison)
    seconds = parts[-1][0]
    print(
        f"{seconds:.1f} s, at most {CEILING_SECONDS:.0f}: {'ok' if seconds <= CEILING_SECONDS else 'MISSED'}; {machine()}"
    )


if __name__ == "__main__":
    main()
