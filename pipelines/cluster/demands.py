"""What the jobs of a Ray cluster hold of it, and what they have asked for and not got."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelines.cluster.resources import Cluster

Amounts = dict[str, float]
"""By resource, as `{"CPU": 4, "GPU": 1}`."""


@dataclass(frozen=True)
class Demand:
    """What a job has asked the cluster for and not got."""

    bundles: tuple[Amounts, ...]
    """Placed together or not at all; one for an actor that is placed alone."""

    @property
    def total(self) -> Amounts:
        """Of all bundles."""
        return added(self.bundles)


@dataclass(frozen=True)
class JobStatus:
    """A job on the Ray cluster."""

    submission_id: str
    status: str
    """PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED."""
    message: str
    held: Amounts
    demands: tuple[Demand, ...]

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.status not in ("PENDING", "RUNNING")


@dataclass(frozen=True)
class ClusterStatus:
    """What a Ray cluster has and what is in use."""

    address: str
    num_nodes: int
    total: Amounts
    largest_node: Amounts
    """The most of each resource that one node has."""
    jobs: tuple[JobStatus, ...]

    @property
    def held(self) -> Amounts:
        """By all jobs together."""
        return added(job.held for job in self.jobs)


def amounts(resources: Mapping[str, float]) -> str:
    """In words: `4 CPU and 1 GPU`."""
    return " and ".join(f"{amount:g} {kind}" for kind, amount in resources.items()) or "nothing"


def added(parts: Iterable[Mapping[str, float]]) -> Amounts:
    """Sums by resource."""
    total: Amounts = defaultdict(float)
    for part in parts:
        for kind, amount in part.items():
            total[kind] += amount
    return dict(total)


@dataclass
class _Account:
    """What a job holds and wants, while it is added up."""

    held: list[Amounts] = field(default_factory=list)
    demands: list[Demand] = field(default_factory=list)


def ask_cluster(cluster: Cluster) -> ClusterStatus:
    """What a cluster has, and what its jobs hold and want.

    Raises:
        ConnectionError: If its dashboard cannot be reached.
        ClusterError: If it refuses.
    """
    nodes = [_asked(node["resources_total"]) for node in _state(cluster, "nodes") if node["state"] == "ALIVE"]
    accounts: dict[str, _Account] = defaultdict(_Account)
    for group in _state(cluster, "placement_groups"):
        bundles = tuple(_asked(bundle["unit_resources"]) for bundle in group["bundles"])
        account = accounts[group["creator_job_id"]]
        if group["state"] in ("PENDING", "RESCHEDULING"):
            account.demands.append(Demand(bundles))
        elif group["state"] == "CREATED":
            account.held.extend(bundles)
    for actor in _state(cluster, "actors"):
        needs = _asked(actor["required_resources"] or {})
        if actor["placement_group_id"] or not needs:
            continue  # it lives on what its group holds, or on nothing
        if actor["state"] in ("PENDING_CREATION", "DEPENDENCIES_UNREADY", "RESTARTING"):
            accounts[actor["job_id"]].demands.append(Demand((needs,)))
        elif actor["state"] == "ALIVE":
            accounts[actor["job_id"]].held.append(needs)
    jobs = []
    for job in cluster.get("/api/jobs/"):
        if not job["submission_id"]:
            continue  # somebody else's driver, which nobody has submitted
        account = accounts[job["job_id"]] if job["job_id"] else _Account()
        jobs.append(
            JobStatus(
                submission_id=job["submission_id"],
                status=job["status"],
                message=job["message"] or "",
                held=added(account.held),
                demands=tuple(account.demands),
            )
        )
    kinds = {kind for node in nodes for kind in node}
    return ClusterStatus(
        address=cluster.address,
        num_nodes=len(nodes),
        total=added(nodes),
        largest_node={kind: max(node.get(kind, 0.0) for node in nodes) for kind in sorted(kinds)},
        jobs=tuple(jobs),
    )


def _state(cluster: Cluster, kind: str) -> list[dict[str, Any]]:
    return cluster.get(f"/api/v0/{kind}", limit="10000", detail="1")["data"]["result"]["result"]


def _asked(resources: Mapping[str, float]) -> Amounts:
    """CPUs and GPUs alone: what else Ray counts, such as memory and the node's own name, nobody here asks for."""
    return {kind: resources[kind] for kind in ("CPU", "GPU") if resources.get(kind)}
