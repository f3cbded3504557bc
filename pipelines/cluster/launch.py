"""Jobs on the cluster through the Ray Jobs API: submitted or attached to, followed, and stopped.

A job is `python -m pipelines.jobs KIND --spec HOME/runs/IDENTITY/spec.json`. It leaves `result.json` beside
the spec, or `error.json` ({"type", "message"}), and prints events as lines `BETALINE_EVENT {json}`. The
process that calls this never joins the cluster (`ray.init`), so its signal handlers stay its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import json
import logging
import re
import shlex
import sys
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

import aiohttp
import requests
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from pipelines.cluster.own_code import carried
from pipelines.cluster.resources import Cluster, Resources, check_resources, current_cluster, patiently
from pipelines.cluster.runs import ERROR, REPORT, RESULT, SPEC, Event, RunFolder, parse_event
from pipelines.services.embedded import SOURCE_ROOT, read
from vae.errors import ClusterError, ClusterLost, rebuild

T = TypeVar("T")
PACKAGES = ("vae", "tuning", "pipelines")
SOURCES = (".py", ".js", ".css", ".j2", ".ini", ".yaml")
"""Endings of the files that a cluster elsewhere gets; data that lies beside them stays here."""
ENTRYPOINT = ("-m", "pipelines.jobs")
_NOT_FOR_JOBS = ("RAY_", "PREFECT_")
"""Prefixes of variables that jobs do not get: the cluster has its own, and these show it as this process sees it."""


@dataclass(frozen=True, kw_only=True)
class _Job:
    """An attempt at a run, on a cluster."""

    cluster: Cluster
    client: JobSubmissionClient
    submission_id: str

    def details(self) -> JobDetails | None:
        """Returns its state; None if the cluster does not know it."""
        return patiently(functools.partial(_details, self.client, self.submission_id))


@dataclass(frozen=True, kw_only=True)
class Submission:
    """A job to run on the cluster."""

    kind: str
    """Kind of the job, the first argument of the entry point."""
    spec: Mapping[str, Any]
    """Specification of the run; JSON."""
    identity: str
    """The run's name, derived by the caller. Attempts are submitted as IDENTITY-0, IDENTITY-1, …"""
    home: str
    """BETALINE_HOME, a path or a URI that this process and the cluster share."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables of the job beside the cluster's own, such as MLFLOW_TRACKING_URI. No secrets: Ray shows them to holders
    of the cluster's token, logs them, and has them in command lines."""
    needs: Callable[[], Resources | None] | None = None
    """Called before the job is submitted, and only then: refuses it, or returns the resources of its workers to check."""
    entrypoint: Sequence[str] = ENTRYPOINT
    """Arguments of the Python interpreter, before KIND."""


def run_job(asked: Submission, on_event: Callable[[Event], None], on_log: Callable[[str], None]) -> dict[str, Any]:
    """Runs a job on the cluster that RAY_ADDRESS names and returns its result; nothing is run twice.

    A finished result is returned as it is, and a running job is attached to. After an attempt that ended without a result
    the next one is submitted, which resumes from the checkpoints of the last. If the caller is interrupted, or a callback
    raises, the job is stopped. Call it from a thread that runs no event loop.

    Args:
        asked: The job.
        on_event: Called for each event line.
        on_log: Called for each other line, without its end.

    Raises:
        ConfigError: If the identity belongs to a run of another specification.
        BetalineError: If the job reported an error, in the class that it named.
        ClusterLost: If the cluster is out of reach, or the job vanishes or crashes silently: the same call may succeed.
        ClusterError: If the cluster is too small, or the job is stopped.
    """
    folder = RunFolder(asked.home, asked.identity)
    spec = json.loads(json.dumps(asked.spec, allow_nan=False))
    folder.refuse_another_spec(spec)
    if (result := folder.read(RESULT)) is not None:
        return result
    cluster = current_cluster()
    client = patiently(lambda: _connect(cluster))
    attempt, last = _last_attempt(client, asked.identity)
    is_over = last is None or last.status.is_terminal()
    job = _Job(cluster=cluster, client=client, submission_id=f"{asked.identity}-{attempt + is_over}")
    if is_over:
        if (result := folder.read(RESULT)) is not None:  # the last attempt may have ended meanwhile
            return result
        _submit(job, asked, folder, spec)
    return _finish(job, asked.identity, folder, on_event, on_log)


def stop_job(identity: str, *, limit_seconds: float = 30.0) -> bool:
    """Stops a run's job, from any process, and waits until it has ended and released its CPUs and GPUs.

    Returns:
        Whether there was a job to stop.

    Raises:
        ClusterError: If it still runs, or still holds resources, after `limit_seconds`.
    """
    cluster = current_cluster()
    client = patiently(lambda: _connect(cluster))
    attempt, details = _last_attempt(client, identity)
    if details is None or details.status.is_terminal():
        return False
    job = _Job(cluster=cluster, client=client, submission_id=f"{identity}-{attempt}")
    patiently(lambda: _calling(lambda: client.stop_job(job.submission_id)))
    poll = Retrying(
        retry=retry_if_result(bool),
        wait=wait_fixed(0.2),
        stop=stop_after_delay(limit_seconds),
        retry_error_callback=lambda state: state.outcome and state.outcome.result(),
    )
    if remains := poll(_remains, job):
        raise ClusterError(
            f"job {job.submission_id} was told to stop {limit_seconds:.0f} s ago and {remains}; see {cluster.address}"
        )
    return True


def _remains(job: _Job) -> str:
    """Returns what a stopped job still does or holds, in words; empty if nothing."""
    details = job.details()
    if held := _held(job.cluster, details.job_id if details else None):
        return f"still holds {', '.join(held)}"
    return "" if details is None or details.status.is_terminal() else "still runs"


def _connect(cluster: Cluster) -> JobSubmissionClient:
    for name in ("ray.dashboard.modules.job.sdk", "ray.dashboard.modules.dashboard_sdk"):
        logging.getLogger(name).setLevel(logging.WARNING)  # it logs every upload and websocket
    return _calling(lambda: JobSubmissionClient(cluster.address, headers=dict(cluster.headers)))


def _calling(call: Callable[[], T]) -> T:
    """Returns the result of a call of Ray's client; raises ConnectionError if it is lost, ClusterError if it is refused."""
    try:
        return call()
    except requests.RequestException as error:
        raise ConnectionError(str(error)) from None
    except RuntimeError as error:
        if re.search(r"status code 5\d\d", str(error)):
            raise ConnectionError(str(error)[:500]) from None
        raise ClusterError(f"the Ray cluster refused: {str(error)[:2000]}") from None


def _details(client: JobSubmissionClient, submission_id: str) -> JobDetails | None:
    def ask() -> JobDetails | None:
        try:
            return client.get_job_info(submission_id)
        except RuntimeError as error:
            if "status code 404" in str(error):
                return None
            raise

    return _calling(ask)


def _last_attempt(client: JobSubmissionClient, identity: str) -> tuple[int, JobDetails | None]:
    """Returns the number and the state of the last attempt that this cluster knows; -1 and None if it knows none."""
    last: JobDetails | None = None
    for number in itertools.count():
        details = patiently(functools.partial(_details, client, f"{identity}-{number}"))
        if details is None:
            return number - 1, last
        last = details
    raise AssertionError("the count has no end")


def _submit(job: _Job, asked: Submission, folder: RunFolder, spec: Mapping[str, Any]) -> None:
    if asked.needs is not None and (resources := asked.needs()) is not None:
        check_resources(resources)
    for outdated in (ERROR, REPORT):
        folder.remove(outdated)
    command = [*asked.entrypoint, asked.kind, "--spec", folder.write(SPEC, spec)]
    python, runtime_environment = _runtime_environment(asked.home, job.cluster, asked.environment)

    def submit() -> None:
        try:
            job.client.submit_job(
                entrypoint=shlex.join([python, *command]),
                submission_id=job.submission_id,
                runtime_env=runtime_environment,
                metadata={"betaline.run": job.submission_id},
            )
        except RuntimeError as error:
            # Another process has submitted it, or an earlier try whose answer was lost: this one attaches.
            if "already exists" not in str(error):
                raise

    with carried(asked.home, folder, spec) as code:
        runtime_environment |= code
        patiently(lambda: _calling(submit))


def _runtime_environment(home: str, cluster: Cluster, environment: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    """Returns the interpreter and the runtime environment: this process's own on the embedded head, else uploaded code."""
    variables = {name: value for name, value in environment.items() if not name.startswith(_NOT_FOR_JOBS)}
    embedded = None if "://" in home else read(Path(home).expanduser().absolute())
    if embedded is not None and embedded.is_embedded("ray") and embedded.ray_address == cluster.address:
        return sys.executable, {"env_vars": {**variables, "PYTHONPATH": str(SOURCE_ROOT)}}
    return "python", {
        "env_vars": variables,
        "py_modules": [str(SOURCE_ROOT / package) for package in PACKAGES],
        "excludes": ["__pycache__", *_not_sources()],
    }


def _not_sources() -> list[str]:
    """Returns patterns, as in .gitignore, of the files in the packages that are no sources: Ray's upload has a limit."""
    files = (file for package in PACKAGES for file in (SOURCE_ROOT / package).rglob("*"))
    return sorted({_pattern(file) for file in files if file.suffix not in SOURCES and file.is_file()})


def _pattern(file: Path) -> str:
    """Returns a pattern for all files with a file's ending, or with its name if it has no ending."""
    return "*" + "".join(f"[{letter}]" if letter in "*?[" else letter for letter in file.suffix or file.name)


def _finish(
    job: _Job, identity: str, folder: RunFolder, on_event: Callable[[Event], None], on_log: Callable[[str], None]
) -> dict[str, Any]:
    """Follows a job to its end, hands its lines to the callbacks, and returns its result."""
    last_lines: deque[str] = deque(maxlen=20)
    try:
        for line in _follow(job):
            event = parse_event(line)
            if event is not None:
                on_event(event)
            else:
                last_lines.append(line)
                on_log(line)
        details = _wait_for_end(job)
    except ClusterError:
        raise  # the cluster is out of reach, so there is nothing to stop
    except BaseException:  # an interrupt or a failing callback must not leave a job that nobody follows
        stop_job(identity)
        raise
    return _outcome(job, folder, details, last_lines)


def _follow(job: _Job) -> Iterator[str]:
    """Yields the lines of a job's log from its start to its end; after a lost connection it resumes at the same place."""
    loop = asyncio.new_event_loop()
    seen, rest = 0, ""
    try:
        ended = False
        while not ended:
            # Declared an iterator, it is a generator, which must be closed or its connection stays open.
            chunks = cast(AsyncGenerator[str, None], job.client.tail_job_logs(job.submission_id))
            skip = seen
            try:
                while (chunk := loop.run_until_complete(_next_chunk(chunks, job))) is not None:
                    fresh = chunk[skip:]
                    skip = max(0, skip - len(chunk))
                    seen += len(fresh)
                    *lines, rest = (rest + fresh).split("\n")
                    yield from lines
                ended = True
            except (aiohttp.ClientError, OSError, RuntimeError):
                # The websocket broke. If the dashboard is gone too, this waits for it, and gives up in time.
                if job.details() is None:
                    raise _forgotten(job) from None
            finally:
                # What broke above may have left the generator in the middle of a step, in which it cannot be closed.
                with contextlib.suppress(RuntimeError, aiohttp.ClientError):
                    loop.run_until_complete(chunks.aclose())
        log = patiently(lambda: _calling(lambda: job.client.get_job_logs(job.submission_id)))
        *lines, rest = (rest + log[seen:]).split("\n")
        yield from lines
        if rest:
            yield rest
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


async def _next_chunk(chunks: AsyncGenerator[str, None], job: _Job) -> str | None:
    """Returns the next piece of a log; None when the job or its log has ended.

    The job's state is polled beside the log: the log itself ends 3 s later, and over a dead connection never.
    """
    task = asyncio.ensure_future(_advance(chunks))
    begun = time.monotonic()
    try:
        while True:
            # A short job is polled often; a long one that prints nothing less often.
            pause = min(1.0, max(0.1, 0.1 * (time.monotonic() - begun)))
            done, _ = await asyncio.wait([task], timeout=pause)
            if done:
                return task.result()
            details = await asyncio.to_thread(job.details)
            if details is None or details.status.is_terminal():
                return None
    finally:
        if not task.done():
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, aiohttp.ClientError, RuntimeError):
                await task


async def _advance(chunks: AsyncGenerator[str, None]) -> str | None:
    # Not `anext(chunks, None)`: cancelled, it may leave the generator running.
    try:
        return await chunks.__anext__()
    except StopAsyncIteration:
        return None


def _wait_for_end(job: _Job) -> JobDetails:
    """Returns the final state; the log ends a moment before the state is written."""
    while True:
        details = job.details()
        if details is None:
            raise _forgotten(job)
        if details.status.is_terminal():
            return details
        time.sleep(0.1)


def _forgotten(job: _Job) -> ClusterLost:
    return ClusterLost(
        f"the Ray cluster at {job.cluster.address} was restarted and no longer knows job "
        f"{job.submission_id}; the same command takes its work up again"
    )


def _outcome(job: _Job, folder: RunFolder, details: JobDetails, last_lines: Sequence[str]) -> dict[str, Any]:
    where = f"its whole log: {job.cluster.address}/#/jobs/{job.submission_id}"
    if details.status == JobStatus.STOPPED:
        raise ClusterError(f"job {job.submission_id} was stopped; the same command takes it up again ({where})")
    if details.status == JobStatus.FAILED:
        reported = folder.read(ERROR)
        if reported is not None:
            raise rebuild(reported["type"], reported["message"])
        said = "\n".join(last_lines) or details.message or "nothing"
        raise ClusterLost(f"job {job.submission_id} failed. It said last:\n{said}\n{where}")
    result = folder.read(RESULT)
    if result is None:
        raise ClusterError(
            f"job {job.submission_id} succeeded, and there is no result in {folder.uri}; BETALINE_HOME must "
            "be storage that this machine and the cluster share"
        )
    return result


def _held(cluster: Cluster, job_id: str | None) -> list[str]:
    """Returns the numbers of a job's actors and placement groups that hold, or wait for, CPUs and GPUs."""
    if job_id is None:
        return []
    remaining = []
    for kind, key, over in (("actors", "job_id", "DEAD"), ("placement_groups", "creator_job_id", "REMOVED")):
        query = {"filter_keys": key, "filter_predicates": "=", "filter_values": job_id}
        entries = patiently(functools.partial(cluster.state, kind, **query))
        living = [entry for entry in entries if entry["state"] != over]
        # Ray Train's cleaner outlives its job by a few seconds and holds nothing that another job wants.
        living = [entry for entry in living if kind != "actors" or _wants(entry["required_resources"] or {})]
        if living:
            remaining.append(f"{len(living)} {kind.replace('_', ' ')}")
    return remaining


def _wants(resources: Mapping[str, float]) -> bool:
    return any(resources.get(name, 0) > 0 for name in ("CPU", "GPU"))
