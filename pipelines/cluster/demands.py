"""The resources of a Ray cluster: how much there is, how much its jobs hold, and how much they still wait for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelines.cluster.resources import Cluster
from vae.training.room import Amounts, in_words, summed

WAITING = ("PENDING", "RESCHEDULING", "PENDING_CREATION", "DEPENDENCIES_UNREADY", "RESTARTING")
"""States of placement groups and actors that wait for resources."""
HOLDING = ("CREATED", "ALIVE")
"""States of placement groups and actors that hold resources."""


@dataclass(frozen=True)
class Demand:
    """Resources that a job has requested and not yet received."""

    bundles: tuple[Amounts, ...]
    """Parts that are placed together or not at all, each on one node; an actor alone has one."""

    @property
    def total(self) -> Amounts:
        """Sum of all bundles."""
        return summed(self.bundles)

    def __str__(self) -> str:
        first, *others = self.bundles
        if others and all(other == first for other in others):
            return f"{len(self.bundles)} × ({in_words(first)})"
        return in_words(self.total)


@dataclass(frozen=True)
class JobStatus:
    """A job on the Ray cluster."""

    submission_id: str
    """Id under which the job was submitted."""
    status: str
    """PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED."""
    message: str
    """Explanation by Ray; empty if there is none."""
    held: Amounts
    """Resources that the job holds."""
    demands: tuple[Demand, ...]
    """Resources that the job waits for."""

    @property
    def is_over(self) -> bool:
        """Whether the job has ended."""
        return self.status not in ("PENDING", "RUNNING")


@dataclass(frozen=True)
class ClusterStatus:
    """The resources of a Ray cluster, and its jobs."""

    address: str
    """Address of the dashboard."""
    num_nodes: int
    """Number of living nodes."""
    total: Amounts
    """Resources of all nodes together."""
    largest_node: Amounts
    """Largest amount of each resource that one node has."""
    jobs: tuple[JobStatus, ...]
    """Jobs that were submitted."""

    @property
    def held(self) -> Amounts:
        """Resources that all jobs together hold."""
        return summed(job.held for job in self.jobs)


@dataclass
class _Account:
    """Resources of a job while they are added up."""

    held: list[Amounts] = field(default_factory=list)
    demands: list[Demand] = field(default_factory=list)

    def enter(self, state: str, bundles: tuple[Amounts, ...]) -> None:
        if state in WAITING:
            self.demands.append(Demand(bundles))
        elif state in HOLDING:
            self.held.extend(bundles)


def ask_cluster(cluster: Cluster) -> ClusterStatus:
    """Returns the resources of a cluster, and those that its jobs hold and wait for.

    Raises:
        ConnectionError: If its dashboard cannot be reached.
        ClusterError: If it refuses.
    """
    nodes = [_amounts(node) for node in cluster.nodes()]
    accounts = _accounts(cluster)
    jobs = [
        JobStatus(
            submission_id=job["submission_id"],
            status=job["status"],
            message=job["message"] or "",
            held=summed(accounts[job["job_id"]].held),
            demands=tuple(accounts[job["job_id"]].demands),
        )
        for job in cluster.get("/api/jobs/")
        if job["submission_id"]  # a driver without one was not submitted
    ]
    return ClusterStatus(
        address=cluster.address,
        num_nodes=len(nodes),
        total=summed(nodes),
        largest_node={kind: max(node.get(kind, 0.0) for node in nodes) for kind in sorted(summed(nodes))},
        jobs=tuple(jobs),
    )


def _accounts(cluster: Cluster) -> dict[str | None, _Account]:
    """Returns the account of each job by Ray's id of the job."""
    accounts: dict[str | None, _Account] = defaultdict(_Account)
    for group in cluster.state("placement_groups"):
        bundles = tuple(_amounts(bundle["unit_resources"]) for bundle in group["bundles"])
        accounts[group["creator_job_id"]].enter(group["state"], bundles)
    for actor in cluster.state("actors"):
        needs = _amounts(actor["required_resources"] or {})
        if needs and not actor["placement_group_id"]:  # otherwise it lives on its group's resources, or on none
            accounts[actor["job_id"]].enter(actor["state"], (needs,))
    return accounts


def _amounts(resources: Mapping[str, Any]) -> Amounts:
    """Returns the CPUs and GPUs; nobody here requests the others that Ray counts, such as memory and the node's name."""
    return {kind: resources[kind] for kind in ("CPU", "GPU") if resources.get(kind)}
