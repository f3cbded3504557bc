"""A node of two is lost in the middle of a training."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from pipelines.services import commands
from pipelines.services.process import LOOPBACK, Process, tree
from tests.cluster.clients import Client, Fault
from tests.cluster.nodes import Head, head, joined
from tests.cluster.servers import running
from tests.faults.table import Measured
from tests.processes import command_of
from tests.trainings import weights_of
from vae.config import RunConfig, override
from vae.errors import ClusterError

pytestmark = [pytest.mark.servers("cluster"), pytest.mark.slow, pytest.mark.timeout(900)]
ROW = "a node removed from a 2-node cluster"
START_SECONDS = 15
WAITING = "waiting for 2 CPUs, have 1: room for 1 of 2 workers"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A head of one CPU, on which a group of workers is given up after 15 s without room."""
    folder = tmp_path_factory.mktemp("nodes")
    commands.make_secrets(folder)
    ports = commands.choose_ports(folder)
    limit = {"RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": str(START_SECONDS)}
    with (
        running(commands.mlflow(folder, ports), folder),
        head(folder, ports, num_cpus=1, environment=limit) as first,
    ):
        client = Client(first, folder / "home", f"http://{LOOPBACK}:{ports.mlflow}")
        client.ingest_digits()
        yield client


def kill_raylet(node: Process) -> None:
    """SIGKILL of a node's own process; its workers end when they miss it."""
    [raylet] = [process for process in tree(node) if "raylet/raylet" in command_of(process)]
    raylet.kill()


def test_training_that_loses_a_node_goes_on_when_another_joins(
    client: Client, two_workers: RunConfig, tmp_path: Path, measured: Measured
) -> None:
    """SIGKILL of a raylet with one of two workers: the run says what it waits for, and its weights are the same."""
    with ExitStack() as nodes:
        node = nodes.enter_context(joined(client.head, tmp_path, num_cpus=1, name="first"))
        unbroken = client.train(two_workers, "unbroken")
        fault = Fault(
            lambda: kill_raylet(node),
            at_step=900,
            word=WAITING,
            make_up=lambda: nodes.enter_context(joined(client.head, tmp_path, num_cpus=1, name="second")),
        )
        broken = client.train(two_workers, "broken", fault)
    assert fault.noticed_seconds is not None, "the job's log said what it waited for"
    assert broken["resumed_from_step"] > 0
    assert weights_of(broken) == weights_of(unbroken)
    measured(ROW, noticed_seconds=fault.noticed_seconds, redone=fault.redone(broken), kept="weights bit-equal")


def test_training_with_too_few_nodes_left_ends_and_says_so(
    client: Client, two_workers: RunConfig, tmp_path: Path, measured: Measured
) -> None:
    """Where no other node comes, the run ends after its limits with what is missing, and its checkpoints stay."""
    config = override(two_workers, {"scaling.max_failures": 1})
    with joined(client.head, tmp_path, num_cpus=1) as node:
        fault = Fault(lambda: kill_raylet(node), at_step=900, word=WAITING)
        with pytest.raises(ClusterError, match=r"run stranded gave up for want of 2 CPUs, have 1: .* add nodes"):
            client.train(config, "stranded", fault)
    assert fault.noticed_seconds is not None
    with joined(client.head, tmp_path, num_cpus=1, name="next"):
        resumed = client.train(config, "stranded")
    assert resumed["resumed_from_step"] > 0
    kept = f"ends after 2 x {START_SECONDS} s, resumed by the same command"
    measured(ROW, noticed_seconds=fault.noticed_seconds, redone=fault.redone(resumed), kept=kept)


def like(found: dict[str, Any], unbroken: dict[str, Any]) -> None:
    """Asserts that the curves of two trainings agree but for the rounding of sums."""
    for left, right in zip(found["history"], unbroken["history"], strict=True):
        for figure in ("validation_negative_bound", "train_distortion"):
            assert left[figure] == pytest.approx(right[figure], rel=1e-4)


def test_elastic_training_goes_on_without_a_node_and_takes_the_next_in(
    client: Client, two_workers: RunConfig, tmp_path: Path, measured: Measured
) -> None:
    """With `min_workers` 1 the loss of a node leaves one worker at work; its curve is the undisturbed one's."""
    config = override(two_workers, {"scaling.min_workers": 1})
    with ExitStack() as nodes:
        node = nodes.enter_context(joined(client.head, tmp_path, num_cpus=1, name="leaving"))
        unbroken = client.train(two_workers, "undisturbed")
        fault = Fault(lambda: kill_raylet(node), at_step=900, word="worker group size")
        elastic = client.train(config, "elastic", fault)
    assert elastic["resumed_from_step"] > 0
    like(elastic, unbroken)
    kept = "goes on with the workers that are left; the curve is equal but for the rounding of sums"
    measured(ROW, noticed_seconds=fault.noticed_seconds, redone=fault.redone(elastic), kept=kept)


def test_training_leaves_a_checkpoint_where_a_node_is_drained(
    client: Client, two_workers: RunConfig, tmp_path: Path
) -> None:
    """A notice that a node goes in 20 s: the run writes a checkpoint at once, beside those it would write."""
    config = override(two_workers, {"scaling.min_workers": 1, "training.checkpoint_steps": None})
    with joined(client.head, tmp_path, num_cpus=1, name="drained"):
        fault = Fault(lambda: drain_last_node(client.head, 20), at_step=900, word="preemption detected")
        drained = client.train(config, "drained", fault)
    assert fault.step <= drained["resumed_from_step"]
    assert drained["resumed_from_step"] % 718
    assert drained["history"][-1]["epoch"] == config.training.epochs


def drain_last_node(head: Head, seconds: int) -> None:
    """Announces that the node that joined last goes after some seconds, as a preemption does."""
    [node] = [one for one in head.cluster.state("nodes") if one["state"] == "ALIVE" and not one["is_head_node"]]
    notice = [
        "--reason",
        "DRAIN_NODE_REASON_PREEMPTION",
        "--reason-message",
        "spot",
        "--deadline-remaining-seconds",
        f"{seconds}",
    ]
    command = [sys.executable, "-m", "ray.scripts.scripts", "drain-node", "--address", head.gcs_address]
    subprocess.run([*command, "--node-id", node["node_id"], *notice], env=head.node_environment, check=True)
