"""What a Ray cluster has and what is free, asked of its dashboard over HTTP."""

from __future__ import annotations

import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from vae.errors import ClusterError, ClusterLost

T = TypeVar("T")
# Seconds between attempts at a dashboard that does not answer; together about a minute.
BACK_OFF_SECONDS = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What a job's workers need, checked before it is submitted: a group that does not fit waits for ever."""

    num_workers: int
    cpus_per_worker: float = 1.0
    gpus_per_worker: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A cluster's dashboard and the header that lets a caller in."""

    address: str
    headers: dict[str, str]

    def get(self, path: str, **query: str) -> Any:
        """The JSON answer of a path of the dashboard.

        Raises:
            ConnectionError: If the dashboard cannot be reached.
            ClusterError: If it refuses.
        """
        url = f"{self.address}{path}" + (f"?{urllib.parse.urlencode(query)}" if query else "")
        try:
            with urllib.request.urlopen(urllib.request.Request(url, headers=self.headers), timeout=20) as answer:
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


def current_cluster() -> Cluster:
    """The cluster that the environment names: RAY_ADDRESS, and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH.

    Raises:
        ClusterError: If RAY_ADDRESS names no dashboard, or the token cannot be read.
    """
    address = os.environ.get("RAY_ADDRESS", "").rstrip("/")
    if not address.startswith(("http://", "https://")):
        raise ClusterError(
            f"RAY_ADDRESS must be the http(s) address of a Ray dashboard, got {address!r}; "
            "start services of your own with betaline up, or set it"
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
    """The result of a call that is tried again while the dashboard cannot be reached.

    Raises:
        ClusterLost: If it still cannot be after the last pause.
    """
    for pause in (*BACK_OFF_SECONDS, None):
        try:
            return call()
        except ConnectionError as error:
            if pause is None:
                raise ClusterLost(
                    f"lost the Ray cluster for {sum(BACK_OFF_SECONDS):.0f} s: {error}. The job may still run there; "
                    "the same command attaches to it again"
                ) from None
            time.sleep(pause)
    raise AssertionError("the last pause is None")


def check_resources(resources: Resources) -> None:
    """Refuse what the current cluster can never place, rather than wait for ever.

    One that adds nodes on demand, which BETALINE_CLUSTER_AUTOSCALES=true says, is not asked: what it has now means nothing.

    Raises:
        ClusterError: "asked for 8 workers of 1 CPU, the cluster has 2; …".
    """
    if os.environ.get("BETALINE_CLUSTER_AUTOSCALES", "").lower() in ("1", "true"):
        return
    cluster = current_cluster()
    nodes = patiently(lambda: _nodes(cluster))
    fitting = sum(_workers_on(node, resources) for node in nodes)
    if fitting >= resources.num_workers:
        return
    cpus, gpus = (sum(node.get(kind, 0.0) for node in nodes) for kind in ("CPU", "GPU"))
    need, have = f"{resources.cpus_per_worker:g} CPU", f"{cpus:g}"
    if resources.gpus_per_worker:
        need, have = f"{need} and {resources.gpus_per_worker:g} GPU", f"{have} and {gpus:g}"
    if len(nodes) > 1:
        have = f"{have} on {len(nodes)} nodes"
    raise ClusterError(
        f"asked for {resources.num_workers} workers of {need}, the cluster has {have}; "
        f"ask for at most {fitting}, or add nodes"
    )


def total_resources(cluster: Cluster) -> tuple[float, float, int]:
    """The CPUs, the GPUs and the number of a cluster's living nodes.

    Raises:
        ConnectionError: If the dashboard cannot be reached.
        ClusterError: If it refuses.
    """
    nodes = _nodes(cluster)
    cpus, gpus = (sum(node.get(kind, 0.0) for node in nodes) for kind in ("CPU", "GPU"))
    return cpus, gpus, len(nodes)


def _nodes(cluster: Cluster) -> list[dict[str, float]]:
    """The resources of each living node."""
    nodes = cluster.get("/api/v0/nodes", limit="10000")["data"]["result"]["result"]
    return [node["resources_total"] for node in nodes if node["state"] == "ALIVE"]


def _workers_on(node: dict[str, float], resources: Resources) -> int:
    """How many of the workers fit on a node."""
    shares = [
        int(node.get(kind, 0.0) / need + 1e-9)
        for kind, need in (("CPU", resources.cpus_per_worker), ("GPU", resources.gpus_per_worker))
        if need > 0
    ]
    return min(shares, default=resources.num_workers)
