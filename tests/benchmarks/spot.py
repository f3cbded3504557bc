"""What it costs to lose a worker again and again: `python -m tests.benchmarks.spot`.

Trains the same model twice on a cluster of its own: undisturbed, and while one of the two workers is killed every minute.
Writes [spot.md](results/spot.md).
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psutil

from pipelines.cluster.runs import Event
from pipelines.services import commands
from pipelines.services.process import LOOPBACK
from tests.benchmarks.command import fill, make_parser
from tests.benchmarks.page import RESULTS, Claim, Table, grid, read_words
from tests.benchmarks.work import Figures, Job, Outcome
from tests.cluster.clients import Client
from tests.cluster.nodes import head
from tests.cluster.servers import running
from tests.processes import command_of
from tests.trainings import STEPS_PER_EPOCH, steps_of, weights_of
from vae.config import RunConfig, override
from vae.parts.bodies.mlp import MLP

SECONDS_BETWEEN, MOST_COST = 60.0, 0.10
NUM_WORKERS = 2
CONFIG = override(
    RunConfig(),
    {
        "model.latent_dim": 8,
        "model.encoder": MLP(hidden=(256, 256)).model_dump(),
        "training.batch_size": 2,
        "scaling.num_workers": NUM_WORKERS,
        "scaling.max_failures": 1000,
    },
)


@dataclass
class Adversary:
    """Kills a worker a minute after the training's last start, and times the way back to the next step."""

    seed: int
    kills: bool
    first_at: float | None = None
    """Time of the first step."""
    rate: float = 0.0
    """Steps a second from the first step to the latest one."""
    killed_at: float | None = None
    """Time of the kill that no step has followed yet."""
    due_at: float = 0.0
    first_step: int = 0
    step_at_kill: int = 0
    back_seconds: list[float] = field(default_factory=list)
    """Seconds from each kill to the next step."""
    redone: int = 0
    """Steps that were done again."""

    def on_log(self, line: str) -> None:
        """Leaves the job's log alone."""

    def on_event(self, event: Event) -> None:
        """Looks at the training's progress, which comes each second."""
        step, now = steps_of(event), time.monotonic()
        if step < 1:
            return
        if self.first_at is None:
            self.first_at, self.due_at, self.first_step = now, now + SECONDS_BETWEEN, step
        self.rate = (step - self.first_step) / max(now - self.first_at, 1e-3)
        if self.killed_at is not None and step < self.step_at_kill:
            self.back_seconds.append(now - self.killed_at)
            self.redone += self.step_at_kill - step
            self.killed_at, self.due_at = None, now + SECONDS_BETWEEN - (now - self.killed_at)
        if self.kills and self.killed_at is None and now >= self.due_at:
            workers = [one for one in psutil.process_iter() if "RayTrainWorker" in command_of(one)]
            random.Random(self.seed + step).choice(workers).kill()
            self.killed_at, self.step_at_kill = now, step


def train_twice(minutes: float, seed: int) -> Figures:
    """Trains undisturbed and under kills, for so many minutes at most that are free of them."""
    with tempfile.TemporaryDirectory() as scratch, cluster(Path(scratch)) as client:
        client.ingest_digits()
        first = Adversary(seed, kills=False)
        _timed(client, 8, first, "rate")
        epochs = max(2, round(60 * minutes * first.rate / STEPS_PER_EPOCH))
        plain, expected = _timed(client, epochs, Adversary(seed, kills=False), "undisturbed")
        adversary = Adversary(seed, kills=True)
        whole, found = _timed(client, epochs, adversary, "killed")
    away = sum(adversary.back_seconds)
    return {
        "steps": epochs * STEPS_PER_EPOCH,
        "undisturbed": plain,
        "whole": whole,
        "kills": len(adversary.back_seconds),
        "away": away,
        "longest": max(adversary.back_seconds, default=0.0),
        "redone": adversary.redone,
        "cost": (whole - away) / plain - 1,
        "equal": float(found == expected),
    }


def _timed(client: Client, epochs: int, adversary: Adversary, name: str) -> tuple[float, bytes]:
    """Returns the seconds from the first step to the end of a training, and its weights."""
    config = override(CONFIG, {"training.epochs": epochs})
    result = client.train(config, name, adversary)
    assert adversary.first_at is not None
    return time.monotonic() - adversary.first_at, weights_of(result)


@contextmanager
def cluster(folder: Path) -> Iterator[Client]:
    """Runs a cluster with a CPU for each worker, and MLflow."""
    commands.make_secrets(folder)
    ports = commands.choose_ports(folder)
    with running(commands.mlflow(folder, ports), folder), head(folder, ports, num_cpus=NUM_WORKERS) as first:
        yield Client(first, folder / "home", f"http://{LOOPBACK}:{ports.mlflow}")


def table(minutes: float) -> Table:
    """Returns the table to fill in."""
    job = Job("killed", "", 0, partial(train_twice, minutes, 0), 60 * minutes)
    return Table(read_words("spot", globals()), [job], _render, _claims)


def _render(outcomes: Sequence[Outcome]) -> str:
    of = outcomes[0].figures
    header = ("", "figure")
    kills = max(1, of["kills"])
    return grid(
        header,
        [
            ["steps", f"{of['steps']:,.0f}"],
            ["seconds, undisturbed", f"{of['undisturbed']:.0f}"],
            ["seconds, with kills", f"{of['whole']:.0f}"],
            ["longer in all", f"{of['whole'] / of['undisturbed'] - 1:.0%}"],
            ["kills", f"{of['kills']:.0f}"],
            ["seconds from a kill to the next step: mean, longest", f"{of['away'] / kills:.1f}, {of['longest']:.1f}"],
            ["steps done again, for each kill", f"{of['redone'] / kills:,.0f}"],
        ],
    )


def _claims(outcomes: Sequence[Outcome]) -> list[Claim]:
    of = outcomes[0].figures
    text = "time lost to kills beyond that from each kill to the next step"
    return [
        Claim(text, f"≤ {MOST_COST:.0%}", f"{of['cost']:.1%}", of["cost"] <= MOST_COST if of["kills"] else None),
        Claim.of_all("weights at the end are the undisturbed training's, to the bit", of["equal"], 1),
    ]


def main() -> None:
    parser = make_parser("spot")
    parser.add_argument("--minutes", type=float, default=15.0, help="minutes of the undisturbed training")
    chosen = parser.parse_args()
    chosen.processes = 1
    fill(
        table(chosen.minutes),
        chosen,
        RESULTS / "spot.md",
        f"python -m tests.benchmarks.spot --minutes {chosen.minutes:g}",
    )


if __name__ == "__main__":
    main()
