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

from pipelines.cluster.runs import emit
from pipelines.data.apply import (
    ApplyPlan,
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
from pipelines.flows.requests import ApplyRequest
from pipelines.jobs.job import Job
from pipelines.models import registry
from vae.config import parse
from vae.data.catalog import resolve
from vae.data.manifest import Manifest
from vae.errors import BetalineError, RegistryError, rebuild
from vae.storage import locate

EVENT_SECONDS = 0.5
UNITS_PER_CALL = 8
"""At most: an actor reads and writes some of them while it computes another. Of few units, so many that each actor has
`CALLS_PER_ACTOR` calls at least, since the driver hears of them call by call."""
CALLS_PER_ACTOR = 4
# Calls that an actor is given ahead, so that it never waits for the driver.
AHEAD = 2


def run(job: Job) -> dict[str, Any]:
    started = time.monotonic()
    ray.init()
    request = parse(ApplyRequest, job.request, "apply")
    todo, worker = _plan(job, "cuda" if ray.cluster_resources().get("GPU") else "cpu")
    worker.probe()  # before the folder is taken: what is refused leaves nothing behind
    manifest = claim(todo)
    reused, resumed = manifest is not None, 0
    if manifest is None:
        done = finished_units(todo)
        resumed = sum(record.shard.rows for record in done)
        done += _work(todo, {record.index for record in done}, request.workers, resumed)
        manifest = publish(todo, done)
    return {
        "uri": todo.output,
        "name": manifest.name,
        "dataset_id": manifest.dataset_id,
        "examples": isinstance(manifest, Manifest),
        "rows": {split: sum(shard.rows for shard in shards) for split, shards in manifest.splits.items()},
        "provenance": todo.provenance.model_dump(mode="json"),
        "reused": reused,
        "resumed_rows": resumed,
        "seconds": time.monotonic() - started,
    }


def _plan(job: Job, device: str) -> tuple[ApplyPlan, Worker]:
    """What is to be done, and a worker of this process that has asked for nothing yet."""
    request = parse(ApplyRequest, job.request, "apply")
    check_task(request.task)
    params = read_params(request.task, request.params)
    # A retry keeps to what the first attempt has found, though an alias has moved or a newer dataset has come.
    source = job.pinned(
        "dataset", lambda: resolve(job.home, request.dataset) if request.task != "decode" else request.dataset
    )
    version = registry.resolve(job.pinned("model", lambda: registry.resolve(request.model).uri))
    served, weights = pull(version.uri)
    registered = registry.weights_of(version)
    if registered not in (None, weights):
        raise RegistryError(f"{version.uri}: expected weights of SHA-256 {registered}, found {weights}")
    output = request.output or ""
    todo = plan(request.task, params, version, weights, served.model, source, request.splits, output, device)
    if not output:
        todo = todo.placed(locate(job.home) / "applied")
    return todo, Worker(todo, served)


def _work(todo: ApplyPlan, done: set[int], workers: int | None, rows_done: int) -> list[UnitRecord]:
    """Makes what is not there yet, on as many actors as the cluster has room for."""
    left = [unit.index for unit in todo.units if unit.index not in done]
    emit("apply", {"rows": rows_done, "total": todo.num_rows})
    records, told = [], -math.inf  # the first ones are told of at once
    for record in _on_cluster(todo, left, workers) if left else ():
        records.append(record)
        rows_done += record.shard.rows
        if time.monotonic() - told > EVENT_SECONDS:
            told = time.monotonic()
            emit("apply", {"rows": rows_done, "total": todo.num_rows})
    emit("apply", {"rows": rows_done, "total": todo.num_rows})
    return records


def _on_cluster(todo: ApplyPlan, left: Sequence[int], workers: int | None) -> Iterator[UnitRecord]:
    """The units' records, as they are done.

    Only numbers of units and records go through Ray. Rows are read and written where the model is, so that memory holds a
    unit for each worker, however many rows there are.

    Raises:
        BetalineError: What a worker refused.
    """
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    resources, on_gpu = ray.cluster_resources(), todo.provenance.device == "cuda"
    room = int(resources["GPU"]) if on_gpu else int(resources.get("CPU", 1)) - 1
    most = min(workers or max(1, room), len(left))
    calls = math.ceil(len(left) / min(UNITS_PER_CALL, math.ceil(len(left) / (most * CALLS_PER_ACTOR))))
    stream = ray.data.from_items(list(left), override_num_blocks=calls).map_batches(
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
    """A worker in an actor of Ray Data's; a lost one is started again, and its units are done again, to the same bytes."""

    def __init__(self, todo: Any) -> None:
        todo = ray.get(todo)
        served, _ = pull(todo.model_uri)
        served.model.to(todo.provenance.device)
        self.worker = Worker(todo, served)

    def __call__(self, batch: dict[str, NDArray[Any]]) -> Iterator[dict[str, NDArray[Any]]]:
        try:
            for record in self.worker.write(int(index) for index in batch["item"]):
                yield _answer(record.model_dump_json())
        except BetalineError as error:  # a refusal has to be an answer: Ray would try again and bury it in traces
            yield _answer(str(error), refused=type(error).__name__)


def _answer(record: str, refused: str = "") -> dict[str, NDArray[Any]]:
    return {"record": np.array([record], object), "refused": np.array([refused], object)}
