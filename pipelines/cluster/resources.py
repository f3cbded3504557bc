"""The Ray cluster that the environment names, asked over HTTP: its address, its nodes, and their room for workers."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_chain, wait_fixed

from vae.errors import ClusterError, ClusterLost
from vae.training.room import Amounts, in_words, places, shortage, summed

T = TypeVar("T")
GIB = 1 << 30
BACK_OFF_SECONDS = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""Seconds between attempts at a dashboard that does not answer; together about a minute."""


@dataclass(frozen=True, kw_only=True)
class Resources:
    """Resources of a job's workers, checked before the job is submitted: workers that do not fit wait for ever."""

    num_workers: int
    """Number of workers."""
    cpus_per_worker: float = 1.0
    """CPUs of each worker."""
    gpus_per_worker: float = 0.0
    """GPUs of each worker."""
    memory_per_worker: float = 0.0
    """Bytes that each worker needs at least; 0 if that is unknown."""
    on_shortage: Callable[[float], str] = field(default=lambda most_bytes: "", compare=False)
    """Returns what to do where a node has fewer bytes for each worker."""


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Dashboard of a cluster, and the header that lets a caller in."""

    address: str
    """Address of the dashboard."""
    headers: dict[str, str]
    """Headers of every request."""

    def get(self, path: str, **query: str) -> Any:
        """Returns the JSON answer of a path of the dashboard.

        Raises:
            ConnectionError: If the dashboard cannot be reached.
            ClusterError: If it refuses.
        """
        url = f"{self.address}{path}" + (f"?{urllib.parse.urlencode(query)}" if query else "")
        try:
            # Not `urlopen`, which keeps the proxies of its first call.
            opener, request = urllib.request.build_opener(), urllib.request.Request(url, headers=self.headers)
            with opener.open(request, timeout=20) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                if error.code >= 500:
                    raise ConnectionError(f"{url} answered {error.code}: {error.read()[:300]!r}") from None
                if error.code in (401, 403):
                    raise ClusterError(
                        f"the Ray cluster at {self.address} refused the token ({error.code}); set "
                        "RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH to the file that holds its token"
                    ) from None
                raise ClusterError(f"{url} answered {error.code}: {error.read()[:300]!r}") from None
        except (urllib.error.URLError, TimeoutError) as error:
            raise ConnectionError(f"{self.address} does not answer: {error}") from None

    def state(self, kind: str, **query: str) -> list[dict[str, Any]]:
        """Returns entries of the cluster's state, such as its `nodes` or `actors`; raises as `get` does."""
        return self.get(f"/api/v0/{kind}", limit="10000", detail="1", **query)["data"]["result"]["result"]

    def nodes(self) -> list[Amounts]:
        """Returns the resources of each living node, memory in bytes; raises as `get` does."""
        return [node["resources_total"] for node in self.state("nodes") if node["state"] == "ALIVE"]


def current_cluster() -> Cluster:
    """Returns the cluster that RAY_ADDRESS names; raises as `cluster_at` does."""
    return cluster_at(os.environ.get("RAY_ADDRESS", ""))


def cluster_at(address: str) -> Cluster:
    """Returns the cluster of a dashboard, with the token of RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH.

    Raises:
        ClusterError: If the address is not that of a dashboard, or the token cannot be read.
    """
    address = address.rstrip("/")
    if not address.startswith(("http://", "https://")):
        raise ClusterError(
            f"RAY_ADDRESS must be the http(s) address of a Ray dashboard, got {address!r}. `ray start --head` prints it; "
            "by default it is http://HOST:8265. Unset RAY_ADDRESS to use an embedded cluster"
        )
    token = os.environ.get("RAY_AUTH_TOKEN")
    path = os.environ.get("RAY_AUTH_TOKEN_PATH")
    if token is None and path is not None:
        try:
            token = Path(path).read_text().strip()
        except OSError as error:
            raise ClusterError(f"the token in RAY_AUTH_TOKEN_PATH cannot be read: {error}") from None
    return Cluster(address=address, headers={"Authorization": f"Bearer {token}"} if token else {})


def patiently(call: Callable[[], T]) -> T:
    """Returns the result of a call, which is repeated while the dashboard cannot be reached.

    Raises:
        ClusterLost: If the dashboard cannot be reached after the last pause.
    """
    return Retrying(
        retry=retry_if_exception_type(ConnectionError),
        wait=wait_chain(*map(wait_fixed, BACK_OFF_SECONDS)),
        stop=stop_after_attempt(len(BACK_OFF_SECONDS) + 1),
        retry_error_callback=_give_up,
    )(call)


def _give_up(state: RetryCallState) -> Any:
    assert state.outcome is not None
    raise ClusterLost(
        f"lost the Ray cluster for {sum(BACK_OFF_SECONDS):.0f} s: {state.outcome.exception()}. The job may still run "
        "there; the same command attaches to it again"
    ) from None


def check_resources(resources: Resources) -> None:
    """Refuses workers that the current cluster can never place.

    A cluster that adds nodes on demand, as BETALINE_CLUSTER_AUTOSCALES=true says, is not asked: its nodes of now mean
    nothing.

    Raises:
        ClusterError: If the workers do not fit, with the request, the cluster's resources, and the number that fits.
    """
    if os.environ.get("BETALINE_CLUSTER_AUTOSCALES", "").lower() in ("1", "true"):
        return
    nodes = patiently(current_cluster().nodes)
    need = {"CPU": resources.cpus_per_worker, "GPU": resources.gpus_per_worker}
    need = {kind: amount for kind, amount in need.items() if amount}
    room = places(need, nodes) if need else resources.num_workers
    if room < resources.num_workers:
        asked = f"{resources.num_workers} workers of {in_words(need)}"
        raise ClusterError(f"{shortage(asked, need, nodes, room)}; ask for at most {room}, or add nodes")
    _check_memory(resources, need, nodes)


def _check_memory(resources: Resources, need: Amounts, nodes: list[Amounts]) -> None:
    """Refuses workers whose memory no placement on the nodes gives; nodes that do not say theirs are not judged."""
    wanted = resources.memory_per_worker
    if not wanted or not all(node.get("memory") for node in nodes):
        return
    room = places({**need, "memory": wanted}, nodes)
    if room >= resources.num_workers:
        return
    # Workers are spread as evenly as they go: the most that each can have where that many are placed.
    shares = sorted(
        (node["memory"] / count for node in nodes for count in range(1, places(need, [node]) + 1)), reverse=True
    )
    most = shares[resources.num_workers - 1]
    raise ClusterError(
        f"each of {resources.num_workers} workers would need at least {wanted / GIB:.1f} GiB of memory, and the cluster "
        f"has {most / GIB:.1f} GiB for each; {resources.on_shortage(most)}"
    )


def total_resources(cluster: Cluster) -> tuple[float, float, int]:
    """Returns the CPUs, the GPUs and the number of a cluster's living nodes.

    Raises:
        ConnectionError: If the dashboard cannot be reached.
        ClusterError: If it refuses.
    """
    nodes = cluster.nodes()
    total = summed(nodes)
    return total.get("CPU", 0.0), total.get("GPU", 0.0), len(nodes)
