"""The cluster that the environment names: its address, its room for workers, and connections that are lost."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.cluster import launch
from pipelines.cluster import resources as clusters
from pipelines.cluster.resources import Resources, check_resources, patiently
from pipelines.services import Services, process
from tests.pipelines.cluster.conftest import Recorder, Runner
from tests.processes import total_cpus, wait_until
from vae.errors import ClusterError, ClusterLost

pytestmark = pytest.mark.servers("services")


@pytest.mark.timeout(60)
def test_check_resources_refuses_workers_that_never_fit(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that a cluster cannot hold are refused, with the request and the cluster's resources; not if it grows."""
    cpus = int(total_cpus())
    words = f"asked for {cpus + 6} workers of 1 CPU, the cluster has {cpus} CPU; ask for at most {cpus}, or add nodes"
    with pytest.raises(ClusterError, match=f"^{re.escape(words)}$"):
        check_resources(Resources(num_workers=cpus + 6))
    with pytest.raises(ClusterError, match=f"asked for 1 workers of 1 CPU and 64 GPU, the cluster has {cpus} CPU and"):
        check_resources(Resources(num_workers=1, gpus_per_worker=64))
    check_resources(Resources(num_workers=cpus))
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
    with pytest.raises(ClusterError, match=r"token \(40[13]\); set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH"):
        check_resources(Resources(num_workers=1))
    monkeypatch.setenv("BETALINE_CLUSTER_AUTOSCALES", "true")
    check_resources(Resources(num_workers=1000))


def test_check_resources_counts_workers_by_node(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker must fit on one node: three nodes of 2 CPUs hold three workers of 2, and none of 3."""
    monkeypatch.setenv("RAY_ADDRESS", "http://cluster.example")
    monkeypatch.setattr(clusters.Cluster, "nodes", lambda cluster: [{"CPU": 2.0}] * 3)
    check_resources(Resources(num_workers=3, cpus_per_worker=2))
    with pytest.raises(ClusterError, match=r"1 workers of 3 CPU, the cluster has 6 CPU on 3 nodes.*ask for at most 0"):
        check_resources(Resources(num_workers=1, cpus_per_worker=3))


def test_patiently_tries_again_and_gives_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call is repeated while the connection is lost, and then given up with what to do."""
    monkeypatch.setattr(clusters, "BACK_OFF_SECONDS", (0.0, 0.0))
    tries: list[int] = []

    def call(num_failures: int) -> int:
        tries.append(1)
        if len(tries) <= num_failures:
            raise ConnectionError("refused")
        return len(tries)

    assert patiently(functools.partial(call, 2)) == 3
    tries.clear()
    with pytest.raises(ClusterLost, match=r"lost the Ray cluster for 0 s: refused\. The job may still run there"):
        patiently(functools.partial(call, 3))


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({}, r"RAY_ADDRESS must be the http\(s\) address of a Ray dashboard, got ''"),
        ({"RAY_ADDRESS": "ray://head:10001"}, "got 'ray://head:10001'"),
        (
            {"RAY_ADDRESS": "http://head:8265/", "RAY_AUTH_TOKEN_PATH": "/none"},
            "the token in RAY_AUTH_TOKEN_PATH cannot be read",
        ),
    ],
)
def test_current_cluster_says_what_is_missing(
    variables: dict[str, str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No address, one of another kind, or a token that is missing are errors that say what to set."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ClusterError, match=words):
        clusters.current_cluster()


class Proxy:
    """A way to a server that can be cut and opened again."""

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.ends: list[socket.socket] = []
        self.listener: socket.socket | None = None
        self.port = 0
        self.open()

    def open(self) -> None:
        """Lets connections through, on the same port as before."""
        self.listener = socket.create_server((process.LOOPBACK, self.port))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, args=[self.listener], daemon=True).start()

    def cut(self) -> None:
        """Breaks every connection and lets none through."""
        assert self.listener is not None
        for end in [self.listener, *self.ends]:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self.ends.clear()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection((process.LOOPBACK, self.target_port))
                self.ends += [near, far]
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self._copy, args=[source, sink], daemon=True).start()

    @staticmethod
    def _copy(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)


@pytest.fixture
def proxy(services: Services, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """The only way to the session's dashboard that this test's environment names."""
    way = Proxy(int(services.ray_address.rpartition(":")[2]))
    address = f"http://127.0.0.1:{way.port}"
    monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.setattr(launch, "read", lambda folder: dataclasses.replace(services, ray_address=address))
    yield way
    way.cut()


@pytest.mark.slow
def test_log_resumes_at_the_same_place_after_a_broken_connection(
    begin: Any, services: Services, proxy: Proxy, recorder: Recorder
) -> None:
    """Lines that were printed while the dashboard was out of reach come once, in their order."""
    program = """
for number in range(500): print("line", number)
print('BETALINE_EVENT {"kind": "waiting"}', flush=True)
wait("go")
for number in range(500, 1000): print("line", number)
sys.stdout.flush()
(folder / "printed").touch()
wait("end")
leave("result.json", {"done": True})
"""
    folder = Path(services.home) / "runs" / "broken"
    outcome = begin(program, "broken")
    proxy.cut()
    (folder / "go").touch()
    wait_until((folder / "printed").exists, 30)
    proxy.open()
    (folder / "end").touch()
    assert outcome.result(60) == {"done": True}
    assert [line for line in recorder.lines if line.startswith("line")] == [f"line {n}" for n in range(1000)]


def test_run_job_gives_a_lost_cluster_up(
    run: Runner, begin: Any, services: Services, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster that stays out of reach is an error that says what to do, and the job goes on there."""
    program = """
print('BETALINE_EVENT {"kind": "waiting"}', flush=True)
wait("end")
leave("result.json", {"done": True})
"""
    monkeypatch.setattr(clusters, "BACK_OFF_SECONDS", (0.1, 0.1))
    outcome = begin(program, "lost")
    proxy.cut()
    with pytest.raises(ClusterLost, match="The job may still run there; the same command attaches to it again"):
        outcome.result(60)
    (Path(services.home) / "runs" / "lost" / "end").touch()
    monkeypatch.setenv("RAY_ADDRESS", services.ray_address)
    assert run(program, "lost") == {"done": True}


@pytest.mark.parametrize(
    ("workers", "gib", "most"),
    [(2, 7.0, None), (4, 4.0, None), (2, 9.0, 8.0), (3, 5.0, None), (4, 5.0, 4.0), (1, 20.0, 16.0)],
)
def test_check_resources_refuses_workers_whose_memory_no_node_has(
    workers: int, gib: float, most: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two nodes of 2 CPUs, with 16 and 8 GiB: the refusal names the most that so many workers can have, and the cure."""
    nodes = [{"CPU": 2.0, "memory": 16.0 * clusters.GIB}, {"CPU": 2.0, "memory": 8.0 * clusters.GIB}]
    monkeypatch.setenv("RAY_ADDRESS", "http://cluster.example")
    monkeypatch.setattr(clusters.Cluster, "nodes", lambda cluster: nodes)
    asked = Resources(
        num_workers=workers,
        memory_per_worker=gib * clusters.GIB,
        on_shortage=lambda most: f"{most / clusters.GIB:g} fit",
    )
    if most is None:
        check_resources(asked)
        return
    words = f"each of {workers} workers would need at least {gib:.1f} GiB of memory, and the cluster has {most:.1f} GiB"
    with pytest.raises(ClusterError, match=f"{words} for each; {most:g} fit"):
        check_resources(asked)
