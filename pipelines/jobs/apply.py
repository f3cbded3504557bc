"""Apply: one task of a registered model over a whole dataset, with Ray Data and actors that hold the model."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import ray
import ray.data
from numpy.typing import NDArray

from pipelines.data.apply import (
    ApplyPlan,
    Asked,
    UnitRecord,
    Worker,
    check_task,
    claim,
    finished_units,
    plan,
    publish,
    pull,
    read_params,
)
from pipelines.jobs.job import Job
from pipelines.models import registry
from pipelines.stages.apply import ApplyRequest, ApplyResult
from vae import progress
from vae.data.catalog import resolve
from vae.data.manifest import Manifest
from vae.errors import BetalineError, RegistryError, rebuild
from vae.storage import locate

UNITS_PER_CALL = 8
"""Largest number of units in one call of an actor, which reads and writes some of them while it computes another."""
CALLS_PER_ACTOR = 4
"""Smallest number of calls of each actor, if there are as many units: the driver learns of progress call by call."""
AHEAD = 2
"""Number of calls that an actor is given ahead, so that it never waits for the driver."""

Request = ApplyRequest


def run(job: Job[ApplyRequest]) -> ApplyResult:
    """Runs one task of a registered model over a whole dataset, on the cluster."""
    started = time.monotonic()
    progress.report("connecting to Ray")
    ray.init()
    progress.report("loading the model")
    todo, worker = planned(job, "cuda" if ray.cluster_resources().get("GPU") else "cpu")
    worker.probe()  # before the folder is claimed: a refused request leaves nothing behind
    manifest = claim(todo)
    reused, resumed = manifest is not None, 0
    if manifest is None:
        done = finished_units(todo)
        resumed = sum(record.shard.rows for record in done)
        done += _work(todo, {record.index for record in done}, job.request.workers, resumed)
        progress.report("publishing the result")
        manifest = publish(todo, done)
    return ApplyResult(
        uri=todo.output,
        name=manifest.name,
        dataset_id=manifest.dataset_id,
        examples=isinstance(manifest, Manifest),
        rows={split: sum(shard.rows for shard in shards) for split, shards in manifest.splits.items()},
        provenance=todo.provenance,
        reused=reused,
        resumed_rows=resumed,
        seconds=time.monotonic() - started,
    )


def planned(job: Job[ApplyRequest], device: str) -> tuple[ApplyPlan, Worker]:
    """Returns the plan of a job and an idle worker in this process.

    Raises:
        BetalineError: If the task, the model, its parameters or the dataset is refused.
    """
    request = job.request
    check_task(request.task)
    params = read_params(request.task, request.params)
    # A retry keeps the dataset and the version of the first attempt, even if an alias or a name has moved since.
    source = job.pinned(
        "dataset", lambda: resolve(job.home, request.dataset) if request.task != "decode" else request.dataset
    )
    version = registry.resolve(job.pinned("model", lambda: registry.resolve(request.model).uri))
    served, weights = pull(version.uri)
    registered = registry.weights_of(version)
    if registered not in (None, weights):
        raise RegistryError(f"{version.uri}: expected weights of SHA-256 {registered}, found {weights}")
    asked = Asked(
        task=request.task,
        params=params,
        source=source,
        splits=request.splits,
        output=request.output or "",
        device=device,
    )
    todo = plan(asked, version, weights, served.model)
    if not request.output:
        todo = todo.placed(locate(job.home) / "applied")
    return todo, Worker(todo, served)


def _work(todo: ApplyPlan, done: set[int], workers: int | None, rows_done: int) -> list[UnitRecord]:
    """Writes the missing units, on as many actors as the cluster has room for."""
    missing = [unit.index for unit in todo.units if unit.index not in done]
    part, unit = f"applying {todo.provenance.task}", "rows"
    progress.report(part, rows_done, todo.num_rows, unit)
    records = []
    for record in _on_cluster(todo, missing, workers) if missing else ():
        records.append(record)
        rows_done += record.shard.rows
        progress.report(part, rows_done, todo.num_rows, unit)
    return records


def _on_cluster(todo: ApplyPlan, units: Sequence[int], workers: int | None) -> Iterator[UnitRecord]:
    """Yields the records of units as they are done.

    Only numbers of units and records go through Ray. Rows are read and written by the process that holds the model, so that
    memory holds one unit for each worker, whatever the number of rows.

    Raises:
        BetalineError: If a worker refused a unit.
    """
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    resources, on_gpu = ray.cluster_resources(), todo.provenance.device == "cuda"
    room = int(resources["GPU"]) if on_gpu else int(resources.get("CPU", 1)) - 1
    most = min(workers or max(1, room), len(units))
    calls = math.ceil(len(units) / min(UNITS_PER_CALL, math.ceil(len(units) / (most * CALLS_PER_ACTOR))))
    stream = ray.data.from_items(list(units), override_num_blocks=calls).map_batches(
        _Actor,
        batch_size=None,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=most, max_tasks_in_flight_per_actor=AHEAD),
        fn_constructor_args=(ray.put(todo),),
        num_cpus=1,
        num_gpus=1 if on_gpu else None,
    )
    for batch in stream.iter_batches(batch_size=None, prefetch_batches=0):
        for text, kind in zip(batch["record"], batch["refused"], strict=True):
            if kind:
                raise rebuild(str(kind), str(text))
            yield UnitRecord.model_validate_json(text)


class _Actor:
    """A worker in an actor of Ray Data; Ray restarts a lost actor, which writes its units again with the same bytes."""

    def __init__(self, todo: Any) -> None:
        todo = ray.get(todo)
        served, _ = pull(todo.model_uri)
        served.model.to(todo.provenance.device)
        self.worker = Worker(todo, served)

    def __call__(self, batch: dict[str, NDArray[Any]]) -> Iterator[dict[str, NDArray[Any]]]:
        try:
            for record in self.worker.write(int(index) for index in batch["item"]):
                yield _answer(record.model_dump_json())
        except BetalineError as error:  # as an answer: Ray would retry an exception and bury it in tracebacks
            yield _answer(str(error), refused=type(error).__name__)


def _answer(record: str, refused: str = "") -> dict[str, NDArray[Any]]:
    return {"record": np.array([record], object), "refused": np.array([refused], object)}
