"""The Ray cluster that the environment names, asked over HTTP: its address, its nodes, and their room for workers."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_chain, wait_fixed

from vae.errors import ClusterError, ClusterLost
from vae.training.room import Amounts, in_words, places, shortage, summed

T = TypeVar("T")
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

    def state(self, kind: str, **query: str) -> list[dict[str, Any]]:
        """Returns entries of the cluster's state, such as its `nodes` or `actors`; raises as `get` does."""
        return self.get(f"/api/v0/{kind}", limit="10000", detail="1", **query)["data"]["result"]["result"]

    def nodes(self) -> list[Amounts]:
        """Returns the resources of each living node; raises as `get` does."""
        return [node["resources_total"] for node in self.state("nodes") if node["state"] == "ALIVE"]


def current_cluster() -> Cluster:
    """Returns the cluster that the environment names: RAY_ADDRESS, and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH.

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


def total_resources(cluster: Cluster) -> tuple[float, float, int]:
    """Returns the CPUs, the GPUs and the number of a cluster's living nodes.

    Raises:
        ConnectionError: If the dashboard cannot be reached.
        ClusterError: If it refuses.
    """
    nodes = cluster.nodes()
    total = summed(nodes)
    return total.get("CPU", 0.0), total.get("GPU", 0.0), len(nodes)
