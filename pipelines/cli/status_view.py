"""Text of `betaline status`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from pipelines.cluster.demands import ClusterStatus
from pipelines.operating.status import RunStatus, Status, Workers
from vae.training.room import in_words

MAX_CHARACTERS = 200
"""Most characters that the last column shows of a flow run's message."""
STYLES = {"Completed": "green", "Failed": "red", "Crashed": "red", "Running": "yellow"}


def status_lines(status: Status) -> Iterator[Any]:
    """Yields the flow runs with what each waits for, then the workers, the cluster and jobs without a flow run."""
    yield _table(status.runs) if status.runs else "No flow has run yet."
    for pool in status.workers:
        yield _pool(pool)
    if status.cluster is None:
        yield f"[red]Ray[/]      {escape(status.cluster_error)}"
    else:
        yield _cluster(status.cluster)
    for job in status.strays:
        yield f"[yellow]Job {escape(job)} runs without a flow run; to stop it:[/] ray job stop {escape(job)}"


def _table(runs: tuple[RunStatus, ...]) -> Table:
    table = Table(
        "flow", "flow run", "state", "since", "job", "progress, or what it waits for", box=None, pad_edge=False
    )
    for run in runs:
        since = f"{run.since:%m-%d %H:%M:%S}" if run.since else ""
        words = f"[bold]{escape(_one_line(run.waits_for))}[/]" if run.waits_for else escape(_one_line(run.progress))
        table.add_row(
            run.deployment or run.flow,
            run.name,
            Text(run.state, STYLES.get(run.state, "")),
            since,
            "\n".join(run.jobs),
            words,
        )
    return table


def _one_line(text: str) -> str:
    """Returns the first line of a message, such as an exception with its traceback; `--json` has all of it."""
    first, *rest = text.strip().splitlines() or [""]
    return f"{first[:MAX_CHARACTERS]} …" if rest or len(first) > MAX_CHARACTERS else first


def _pool(pool: Workers) -> str:
    limit = f", {pool.limit} flow runs at once" if pool.limit else ""
    paused = ", [yellow]paused[/]" if pool.is_paused else ""
    workers = f"{pool.num_online} worker{'s' * (pool.num_online != 1)}"
    return f"Pool     {pool.pool}: {workers if pool.num_online else '[red]no worker[/]'}{limit}{paused}"


def _cluster(cluster: ClusterStatus) -> str:
    nodes = f"{cluster.num_nodes} node{'s' * (cluster.num_nodes != 1)}"
    held = cluster.held
    used = ", ".join(f"{held.get(kind, 0.0):g} of {amount:g} {kind} in use" for kind, amount in cluster.total.items())
    waiting = [in_words(demand.total) for job in cluster.jobs if not job.is_over for demand in job.demands]
    return f"Ray      {nodes}: {used}" + (f"; waiting: {'; '.join(waiting)}" if waiting else "")
