"""Prefect flows: ingest, tune, train, promote, the pipeline of all four, and apply. They orchestrate; they never compute.

Each stage is one Ray job (see `pipelines.jobs`), submitted under an identity that derives from the flow run, so that a
retry attaches to the running job, resumes from its last checkpoint, or returns its finished result.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any, cast

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import FlowRun, State
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.flows import Flow
from prefect.logging import get_logger
from prefect.runtime import flow_run as current_flow_run

from pipelines.cluster.launch import run_job, stop_job
from pipelines.cluster.resources import Resources
from pipelines.cluster.runs import RunFolder
from pipelines.data.ingest.watching import Watch
from pipelines.flows import approvals, events
from pipelines.flows.listening import progress, report_url, reported, tell
from pipelines.flows.requests import (
    ApplyRequest,
    DriftRequest,
    IngestConfig,
    PipelineRequest,
    PromoteRequest,
    ReportRequest,
    TrainRequest,
    TuneRequest,
)
from pipelines.models import gate, registry
from tuning.space import SearchConfig, configuration
from vae.config import ScalingConfig, parse
from vae.errors import ClusterLost, ConfigError, DataError
from vae.storage import locate

PROMOTION = "promote/default"
"""The deployment whose runs can wait for a person."""

PASSED_ON = ("MLFLOW_TRACKING_URI",)
"""What jobs take over from the flow's environment. No credentials: Ray shows and logs what a job brings along."""


def home() -> str:
    """BETALINE_HOME as a URI or an absolute path; `./.betaline` where it is not set."""
    return locate(os.environ.get("BETALINE_HOME", "./.betaline")).uri


def identity_of(kind: str, flow_run_id: str, run: str | None) -> str:
    """The identity of a flow run's job: the given run name, or one that derives from the flow run."""
    # The whole id: its first half is the time of its making, which the runs of one schedule share.
    return run or f"{kind}-{flow_run_id.replace('-', '')}"


def _stop(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Stops the Ray job of a flow run that was cancelled or has crashed; runs in a process of its own."""
    identity = identity_of(flow.name, str(flow_run.id), (flow_run.parameters or {}).get("run"))
    logger = get_logger("betaline")
    for suffix in ("", *(f"-{stage}" for stage in STAGES)):
        if stop_job(identity + suffix):
            logger.info("stopped job %s%s", identity, suffix)


def _may_pass(task: Any, run: Any, state: State[Any]) -> bool:
    """Whether trying again could help: a lost cluster may come back, a refused input will not change."""
    return isinstance(state.result(raise_on_failure=False), ClusterLost)


@task(
    name="ray-job",
    task_run_name="{kind}-job",
    retries=1,
    retry_delay_seconds=5,
    retry_condition_fn=_may_pass,
    cache_policy=NO_CACHE,
    persist_result=False,
)
def ray_job(kind: str, request: dict[str, Any], identity: str, resources: Resources | None = None) -> dict[str, Any]:
    """Runs one job on the cluster and returns its result."""
    logger = get_run_logger()
    return run_job(
        kind,
        {"home": home(), "identity": identity, "request": request},
        identity=identity,
        home=home(),
        environment={name: os.environ[name] for name in PASSED_ON if name in os.environ},
        resources=resources,
        on_event=partial(tell, kind),
        on_log=logger.info,
    )


def _identity(kind: str, run: str | None) -> str:
    return identity_of(kind, str(current_flow_run.id), run)


def _folder(identity: str) -> RunFolder:
    return RunFolder(home(), identity)


@flow(name="ingest", on_cancellation=[_stop], on_crashed=[_stop], persist_result=True, result_serializer="json")
def ingest(request: IngestConfig, run: str | None = None) -> dict[str, Any]:
    """Turns a source into a content-addressed Parquet dataset.

    Args:
        request: What to ingest, and how.
        run: Name of the run; the same name goes on where an earlier one stopped. None derives one.
    """
    request = request.absolute()
    result = ray_job("ingest", request.model_dump(mode="json"), _identity("ingest", run))
    rows = ", ".join(f"{count:,} {split}" for split, count in result["rows"].items())
    verb = "was there already" if result["reused"] else "was written"
    create_markdown_artifact(
        f"Dataset **{result['name']}** `{result['dataset_id'][:12]}` {verb}: {rows}.\n\n`{result['uri']}`",
        key="dataset",
        description=f"Dataset {result['name']}",
    )
    if not result["reused"]:
        events.dataset_ready(result["name"], {name: result[name] for name in ("dataset_id", "uri", "rows")})
    return result


@flow(name="watch", on_cancellation=[_stop], on_crashed=[_stop], persist_result=True, result_serializer="json")
def watch(request: IngestConfig) -> dict[str, Any]:
    """Ingests a source that has changed and come to rest; made to run every few minutes.

    Args:
        request: What to watch and ingest: a file, a folder, or a prefix of a bucket.
    """
    request = request.absolute()
    watched = Watch(home(), request.name, request.source)
    step, seen = watched.look()
    get_run_logger().info("%s is %s", request.source, step)
    if step != "ready":
        return {"source": request.source, "step": step}
    try:
        dataset = ingest(request, run=f"{_identity('watch', None)}-ingest")  # one of the names that `_stop` knows
    except (ConfigError, DataError):
        watched.done(seen)  # it would be refused again, every few minutes
        raise
    watched.done(seen)
    return {"source": request.source, "step": "ingested", "dataset": dataset}


@flow(name="train", on_cancellation=[_stop], on_crashed=[_stop], persist_result=True, result_serializer="json")
def train(request: TrainRequest, run: str | None = None) -> dict[str, Any]:
    """Trains one configuration on the cluster.

    Args:
        request: What to train, on which dataset; and the alias that the model may take afterwards.
        run: Name of the run; the same name goes on where an earlier one stopped. None derives one.
    """
    identity = _identity("train", run)
    asked = request.model_dump(mode="json", exclude={"alias", "approve"})
    with reported("train", _folder(identity)) as left:
        result = ray_job("train", asked, identity, _workers(request.scaling))
    result["report_url"] = left.url
    best = result["best"]
    chosen = f"{result['chosen']['sentence']}\n\n" if result.get("chosen") else ""
    create_markdown_artifact(
        f"{chosen}Run **{result['run']}** of **{request.name}**: best of {len(result['history'])} epochs is "
        f"{best['epoch']}, validation bound {best['validation_negative_bound']:.3f} nats (distortion "
        f"{best['validation_distortion']:.3f}, rate {best['validation_rate']:.3f}).",
        key="training",
        description=f"Training of {request.name}",
    )
    return _promoted(result, request, identity)


@flow(name="tune", on_cancellation=[_stop], on_crashed=[_stop], persist_result=True, result_serializer="json")
def tune(request: TuneRequest, run: str | None = None) -> dict[str, Any]:
    """Searches a space of configurations and returns the best.

    Args:
        request: What to search, on which dataset; and the alias that the best model may take afterwards.
        run: Name of the search; the same name goes on where an earlier one stopped. None derives one.
    """
    identity = _identity("tune", run)
    with reported("tune", _folder(identity)) as left, progress(f"Epochs done of search {identity}, in percent"):
        result = ray_job("tune", request.model_dump(mode="json", exclude={"alias", "approve"}), identity)
    result["report_url"] = left.url
    create_table_artifact(
        table=[{**trial.pop("parameters"), **trial} for trial in [dict(trial) for trial in result["trials"]]],
        key="search",
        description=f"Search for {request.name}: chosen {result['best']['trial_id']}",
    )
    return _promoted(result, request, identity)


def _promoted(result: dict[str, Any], request: TrainRequest | TuneRequest, identity: str) -> dict[str, Any]:
    """Returns the result of a training or a search, with that of the promotion that its request asks for."""
    if request.alias is None:
        return result
    further = PromoteRequest(
        run=identity,
        name=request.name,
        alias=request.alias,
        approve=request.approve,
        projection=request.projection,
    )
    return {**result, "promotion": hand_on(further, f"{identity}-promote")}


@flow(name="promote", on_cancellation=[_stop], on_crashed=[_stop], persist_result=True, result_serializer="json")
def promote(request: PromoteRequest, run: str | None = None) -> dict[str, Any]:
    """Evaluates a trained run, registers it, and moves the alias to it if it passes the gate, and a person says so where
    one is asked.

    Args:
        request: Which run, and the bar it must pass.
        run: Name of the evaluation; the same name returns what was found before. None derives one.
    """
    asked = request.model_dump(mode="json", exclude={"approve"})
    identity = _identity("promote", run)
    with reported("promote", _folder(identity)) as left:
        evaluated = ray_job("evaluate", asked, identity)
    decision = gate.judge(evaluated)
    if decision.promote and request.approve:
        approval = approvals.ask(evaluated, decision)
        # The alias may have moved while the person thought about it.
        decision = approvals.answered(approval, gate.judge(evaluated))
    decide(evaluated, decision)
    version = evaluated["version"]
    create_markdown_artifact(
        f"**{version['name']}** version {version['version']} "
        f"{'is now' if decision.promote else 'is not'} `{request.alias}`: {decision.reason}.",
        key="promotion",
        description=f"Promotion of {version['name']} {version['version']}",
    )
    return {**evaluated, "promoted": decision.promote, "reason": decision.reason, "report_url": left.url}


def hand_on(request: PromoteRequest, run: str) -> dict[str, Any]:
    """Promotes at the end of another flow: here, or, where a person is asked, in a flow run of its own, which can wait for
    days while this one ends.
    """
    if not request.approve:
        return promote(request, run=run)
    try:
        waiting = run_deployment(
            PROMOTION,
            parameters={"request": request.model_dump(mode="json")},
            timeout=0,
            as_subflow=False,
            idempotency_key=run,
        )
    except ObjectNotFound:
        raise ConfigError(
            f"approve: there is no deployment {PROMOTION}, whose run could wait; betaline deploy"
        ) from None
    name = cast(FlowRun, waiting).name
    reason = f"flow run {name} asks a person: betaline approve {name}"
    return {"promoted": False, "reason": reason, "flow_run": name, "report_url": None}


@task(name="gate", cache_policy=NO_CACHE, persist_result=False)
def decide(evaluated: dict[str, Any], decision: gate.Decision) -> None:
    """Moves the alias if that is the decision. Its inputs are what was found, so it can be done again."""
    version = registry.Version.of(evaluated["version"])
    if decision.promote:
        registry.move_alias(version, evaluated["alias"], decision.reason)
    get_run_logger().info("version %s: %s", version.version, decision.reason)


@flow(name="apply", on_cancellation=[_stop], on_crashed=[_stop], persist_result=True, result_serializer="json")
def apply(request: ApplyRequest, run: str | None = None) -> dict[str, Any]:
    """Runs one task of a registered model over a whole dataset.

    Args:
        request: Which task, of which model, over what.
        run: Name of the run; the same name goes on where an earlier one stopped. None derives one.
    """
    result = ray_job("apply", request.model_dump(mode="json"), _identity("apply", run))
    provenance = result["provenance"]
    create_markdown_artifact(
        f"**{request.task}** by **{provenance['model']}** version {provenance['version']}: "
        f"{sum(result['rows'].values()):,} rows.\n\n`{result['uri']}`",
        key="applied",
        description=f"{request.task} over {provenance['dataset']}",
    )
    return result


@flow(name="drift", on_cancellation=[_stop], on_crashed=[_stop], persist_result=True, result_serializer="json")
def drift(request: DriftRequest, run: str | None = None) -> dict[str, Any]:
    """Compares fresh data with what a registered model was trained on, and tells of it where they differ.

    Args:
        request: Which model, which data.
        run: Name of the run; the same name goes on where an earlier one stopped. None derives one.
    """
    result = ray_job("drift", request.model_dump(mode="json"), _identity("drift", run))
    create_table_artifact(
        table=result["findings"],
        key="drift",
        description=f"{result['num_examples']:,} rows of {request.dataset} and version {result['version']} of "
        f"{request.name}: {'drifted' if result['drifted'] else 'as they were'}",
    )
    if result["drifted"]:
        events.drift_found(request.name, result)
    return result


@flow(name="report", on_cancellation=[_stop], on_crashed=[_stop], persist_result=True, result_serializer="json")
def report(request: ReportRequest, run: str | None = None) -> dict[str, Any]:
    """Finds the report of a run; draws it of a training or a search that has left none.

    Args:
        request: Which run.
        run: Name of this run; the same name returns what was found before. None derives one.
    """
    if (url := report_url(_folder(request.run))) is not None:
        return {"run": request.run, "drawn": False, "report_url": url}
    identity = _identity("report", run)
    with reported("report", _folder(identity)) as left:
        result = ray_job("unfinished", request.model_dump(mode="json"), identity)
    return {**result, "drawn": True, "report_url": left.url}


STAGES = ("ingest", "tune", "train", "promote")


@flow(name="pipeline", on_cancellation=[_stop], on_crashed=[_stop], persist_result=True, result_serializer="json")
def pipeline(request: PipelineRequest, run: str | None = None) -> dict[str, Any]:
    """The main job: ingest a source, search, train the best configuration to convergence, and promote it.

    Args:
        request: What to ingest, what to search, how to train.
        run: Name of the pipeline run; the same name goes on where an earlier one stopped. None derives one.
    """
    run = _identity("pipeline", run)
    name = request.ingest.name
    seconds: dict[str, float] = {}
    with _timed(seconds, "ingest"):
        dataset = ingest(request.ingest, run=f"{run}-ingest")
    with _timed(seconds, "tune"):
        found = tune(TuneRequest(dataset=dataset["uri"], name=name, search=request.search), run=f"{run}-tune")
    search = request.search or parse(SearchConfig, found["search"], "search")
    final = search.model_copy(update={"base": request.final(search.base)})
    config = configuration(final, found["best"]["parameters"])
    with _timed(seconds, "train"):
        trained = train(TrainRequest(dataset=dataset["uri"], name=name, config=config), run=f"{run}-train")
    with _timed(seconds, "promote"):
        promoted = hand_on(
            PromoteRequest(
                run=trained["run"],
                name=name,
                search=found["run"],
                alias=request.alias,
                threshold_nats=request.threshold_nats,
                num_samples=request.num_samples,
                approve=request.approve,
            ),
            f"{run}-promote",
        )
    return {"dataset": dataset, "search": found, "training": trained, "promotion": promoted, "seconds": seconds}


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    started = datetime.now(UTC)
    yield
    seconds[stage] = (datetime.now(UTC) - started).total_seconds()


def _workers(scaling: ScalingConfig) -> Resources:
    return Resources(
        num_workers=scaling.num_workers,
        cpus_per_worker=scaling.cpus_per_worker,
        gpus_per_worker=scaling.gpus_per_worker,
    )


FLOWS = (ingest, watch, tune, train, promote, apply, drift, report, pipeline)
