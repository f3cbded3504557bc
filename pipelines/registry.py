"""MLflow: runs and their curves, registered versions, and the aliases that people pull."""

from __future__ import annotations

import difflib
import logging
import queue
import re
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from vae.config import dotted
from vae.errors import RegistryError

log = logging.getLogger(__name__)

IDENTITY = "betaline.identity"
DATASET = "betaline.dataset_id"
WEIGHTS = "betaline.weights_sha256"
SCORE_NAME = "betaline.score_name"
SCORE = "betaline.score_nats"
BEFORE = "betaline.before"
"""With an alias behind it: the version that had the alias before."""
REASON = "betaline.reason"
"""With an alias behind it: why the version got it, and who said so."""
EPOCH_METRICS = (
    "beta",
    "train_distortion",
    "train_rate",
    "validation_distortion",
    "validation_rate",
    "validation_negative_elbo",
    "validation_negative_bound",
    "active_units",
)
REPORT_FOLDER = "report"
REPORT = f"{REPORT_FOLDER}/report.html"
# What MLflow takes in one request.
MAX_METRICS = 1000
PARENT = "mlflow.parentRunId"


# --- runs -----------------------------------------------------------------------------------------------------------


def open_run(
    experiment: str,
    identity: str,
    *,
    params: Mapping[str, Any] | None = None,
    tags: Mapping[str, str] | None = None,
    parent: str | None = None,
) -> str:
    """The MLflow run of an identity, made on first use: a retry finds the run it began. Returns the run's id."""
    client = MlflowClient()
    experiment_id = _experiment(client, experiment)
    if (found := _run_of(client, experiment_id, identity)) is not None:
        run_id = found.info.run_id
        client.update_run(run_id, status="RUNNING")
        log_params(run_id, params or {})  # an attempt before may have been killed just before it did
        return run_id
    all_tags = {IDENTITY: identity, **({PARENT: parent} if parent else {}), **(tags or {})}
    run = client.create_run(experiment_id, run_name=identity, tags=all_tags)
    log_params(run.info.run_id, params or {})
    return run.info.run_id


def _run_of(client: MlflowClient, experiment_id: str, identity: str) -> Run | None:
    return next(iter(client.search_runs([experiment_id], f"tags.`{IDENTITY}` = '{identity}'", max_results=1)), None)


@contextmanager
def recorded(run_id: str) -> Iterator[None]:
    """Ends a run as the block ends: FINISHED, FAILED, or KILLED by an interrupt.

    That MLflow cannot be told does not hide what went wrong in the block.
    """
    try:
        yield
    except BaseException as error:
        try:
            close_run(run_id, "FAILED" if isinstance(error, Exception) else "KILLED")
        except MlflowException as unreachable:
            log.warning("MLflow still shows run %s as running: %s", run_id, unreachable)
        raise
    close_run(run_id)


def experiment_of(run_id: str) -> str:
    """The id of a run's experiment."""
    return MlflowClient().get_run(run_id).info.experiment_id


def run_url(experiment_id: str, run_id: str) -> str:
    """Where a browser shows a run's artifacts; without credentials that the tracking URI may hold."""
    parts = urlsplit(mlflow.get_tracking_uri())
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path.rstrip('/')}/#/experiments/{experiment_id}/runs/{run_id}/artifacts"


def report_url_of(experiment_id: str, run_id: str) -> str:
    """Where a browser shows a run's report."""
    return f"{run_url(experiment_id, run_id)}/{REPORT}"


def report_url(experiment: str, identity: str) -> str | None:
    """Where a browser shows the report of an identity's run; None where there is none, or MLflow is away."""
    client = MlflowClient()
    try:
        found = client.get_experiment_by_name(experiment)
        if found is None or (run := _run_of(client, found.experiment_id, identity)) is None:
            return None
        if not any(file.path == REPORT for file in client.list_artifacts(run.info.run_id, REPORT_FOLDER)):
            return None
    except MlflowException as unreachable:
        log.warning("the report of %s is not linked: %s", identity, unreachable)
        return None
    return report_url_of(found.experiment_id, run.info.run_id)


def log_params(run_id: str, params: Mapping[str, Any]) -> None:
    """Logs a nested configuration under dotted names."""
    flat = [Param(name, str(value)[:6000]) for name, value in dotted(params)]
    if flat:
        MlflowClient().log_batch(run_id, params=flat)


def close_run(run_id: str, status: str = "FINISHED", tags: Mapping[str, str] | None = None) -> None:
    """Ends a run: FINISHED, FAILED or KILLED."""
    client = MlflowClient()
    if tags:
        client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()])
    client.set_terminated(run_id, status)


def log_metrics(run_id: str, metrics: Mapping[str, float]) -> None:
    """Logs some figures of a whole run."""
    now = int(time.time() * 1000)
    MlflowClient().log_batch(run_id, [Metric(name, value, now, 0) for name, value in metrics.items()])


def metrics_of(run_id: str) -> dict[str, float]:
    """The last figure of each metric of a run."""
    return MlflowClient().get_run(run_id).data.metrics


def log_files(run_id: str, files: Iterable[Path], folder: str | None = None) -> None:
    """Uploads files as artifacts of a run."""
    client = MlflowClient()
    for file in files:
        client.log_artifact(run_id, str(file), folder)


def read_file(run_id: str, path: str, scratch: Path) -> str:
    """An artifact of a run, as text.

    Raises:
        RegistryError: If the run has none of that name.
    """
    try:
        return Path(MlflowClient().download_artifacts(run_id, path, str(scratch))).read_text()
    except (MlflowException, OSError) as error:
        raise RegistryError(f"run {run_id} has no artifact {path}; promote its training once more: {error}") from None


def _experiment(client: MlflowClient, name: str) -> str:
    found = client.get_experiment_by_name(name)
    if found is not None:
        return found.experiment_id
    try:
        return client.create_experiment(name)
    except MlflowException:
        # Another process made it since we looked; anything else is raised by looking again.
        found = client.get_experiment_by_name(name)
        if found is None:
            raise
        return found.experiment_id


# --- curves ---------------------------------------------------------------------------------------------------------


class EpochLog:
    """Sends a run's epochs to MLflow from a thread of its own, so that an MLflow that is slow or away stalls nothing.

    What could not be sent is sent when training is over, with the whole history. Picklable: it is called in whichever
    process Ray Train's controller runs.
    """

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self._queue: queue.Queue[list[dict[str, Any]]] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return EpochLog, (self.run_id,)

    def __call__(self, epochs: list[dict[str, Any]]) -> None:
        if self._queue is None:
            self._queue = queue.Queue()
            threading.Thread(target=self._send, args=(self._queue,), name="betaline-epochs", daemon=True).start()
        self._queue.put(epochs)

    def finish(self) -> None:
        """Waits until MLflow has what was handed over in this process, or has refused it."""
        if self._queue is not None:
            self._queue.join()

    def _send(self, waiting: queue.Queue[list[dict[str, Any]]]) -> None:
        while True:
            epochs = waiting.get()
            try:
                log_epochs(self.run_id, epochs)
            except MlflowException as error:
                log.warning("%d epochs are sent to MLflow when training is over: %s", len(epochs), error)
            finally:
                waiting.task_done()


def log_epochs(run_id: str, epochs: Iterable[Mapping[str, Any]]) -> None:
    """Logs the curves of some epochs; the epoch is MLflow's step. Logging an epoch again changes nothing."""
    client = MlflowClient()
    # MLflow keeps one of equal points, and a resumed run repeats its epochs exactly: all but their time is equal by itself.
    started = client.get_run(run_id).info.start_time
    metrics = [
        Metric(name, float(epoch[name]), started + epoch["epoch"], epoch["epoch"])
        for epoch in epochs
        for name in EPOCH_METRICS
    ]
    for start in range(0, len(metrics), MAX_METRICS):
        client.log_batch(run_id, metrics[start : start + MAX_METRICS])


def epochs_of(run_id: str) -> list[dict[str, Any]]:
    """The epochs of a run as far as their curves were logged: the number, `EPOCH_METRICS`, and which is the best so far."""
    client = MlflowClient()
    epochs: dict[int, dict[str, Any]] = {}
    for name in EPOCH_METRICS:
        for point in client.get_metric_history(run_id, name):
            epochs.setdefault(point.step, {"epoch": point.step})[name] = point.value
    whole = [epochs[number] for number in sorted(epochs) if len(epochs[number]) == 1 + len(EPOCH_METRICS)]
    best = None
    for epoch in whole:
        if best is None or epoch["validation_negative_bound"] < best["validation_negative_bound"]:
            best = epoch
        epoch["best_epoch"] = best["epoch"]
    return whole


# --- versions -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Score:
    """A version's result on a test split."""

    nats: float
    """Negative log-likelihood per example; lower is better."""
    name: str
    """The protocol. Figures of two protocols are not compared."""
    dataset_id: str


@dataclass(frozen=True)
class Version:
    """A registered version."""

    name: str
    version: str
    uri: str
    run_id: str
    score: Score | None
    aliases: tuple[str, ...]

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Version:
        """What `dataclasses.asdict` made of one, and JSON of that."""
        score = Score(**values["score"]) if values["score"] else None
        return cls(**{**values, "score": score, "aliases": tuple(values["aliases"])})


def registered(name: str, run_id: str, weights: str) -> Version | None:
    """The version that a run's weights have become, if they have: a retry does not register them again."""
    found = MlflowClient().search_model_versions(f"name = '{name}' and tags.`{WEIGHTS}` = '{weights}'")
    return next((_version(version) for version in found if version.run_id == run_id), None)


def register(name: str, model_uri: str, run_id: str, weights: str, score: Score, card: str) -> Version:
    """Registers a logged model (`models:/m-…`) as the next version of a name.

    Args:
        name: Of the registered model.
        model_uri: What `packaging.log_model` returned.
        run_id: The training run.
        weights: SHA-256 of the weights, by which a retry finds the version.
        score: On the test split.
        card: The version's description, markdown.
    """
    client = MlflowClient()
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
    tags = {WEIGHTS: weights, DATASET: score.dataset_id, SCORE_NAME: score.name, SCORE: repr(score.nats)}
    made = client.create_model_version(
        name, model_uri, run_id, tags, description=card, model_id=model_uri.removeprefix("models:/")
    )
    return _version(made)


def find(name: str, alias: str) -> Version | None:
    """The version that an alias points at; None where the model or the alias does not exist."""
    try:
        return _version(MlflowClient().get_model_version_by_alias(name, alias))
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def resolve(reference: str, alias: str = "champion") -> Version:
    """The version that a reference means.

    Args:
        reference: `NAME` (the one that `alias` points at), `NAME@ALIAS`, `NAME/VERSION`, or any of them behind `models:/`.
        alias: For a name alone.

    Raises:
        RegistryError: If there is none; says what there is.
    """
    found = re.fullmatch(r"(?:models:/)?([^/@]+)(?:@([^/@]+)|/(\d+))?", reference)
    if found is None:
        raise RegistryError(
            f"model {reference!r}: expected NAME, NAME@ALIAS, NAME/VERSION, or one of them behind models:/"
        )
    name, given, number = found.groups()
    if number is None:
        version = find(name, given or alias)
    else:
        version = next((one for one in versions(name) if one.version == number), None)
    if version is not None:
        return version
    there = versions(name)
    if there:
        listed = ", ".join(f"{name}/{one.version}" + "".join(f" @{a}" for a in one.aliases) for one in there[:20])
        raise RegistryError(
            f"no model {reference!r}{'' if given or number else f' with the alias {alias}'}; there are {listed}"
        )
    names = sorted({one.name for one in versions()})
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    listed = f"there are {', '.join(names[:20])}" if names else "none is registered yet"
    raise RegistryError(f"no model {name!r}: {listed}{hint}")


def weights_of(version: Version) -> str | None:
    """The SHA-256 that a version's weights were registered with."""
    return tags_of(version).get(WEIGHTS)


def tags_of(version: Version) -> dict[str, str]:
    """What is noted with a version."""
    return MlflowClient().get_model_version(version.name, version.version).tags or {}


def versions(name: str | None = None) -> list[Version]:
    """Every registered version, newest first; of one model where it is named."""
    client = MlflowClient()
    aliases: dict[tuple[str, str], list[str]] = {}
    for model in client.search_registered_models(f"name = '{name}'" if name else None, max_results=1000):
        for alias, version in model.aliases.items():
            aliases.setdefault((model.name, str(version)), []).append(alias)
    found = client.search_model_versions(f"name = '{name}'" if name else None)
    found = sorted(found, key=lambda mv: (mv.name, -int(mv.version)))
    return [_version(mv, tuple(sorted(aliases.get((mv.name, str(mv.version)), ())))) for mv in found]


def move_alias(version: Version, alias: str, reason: str) -> None:
    """Points an alias at a version that has passed the gate, which keeps in mind why, and which one had it."""
    before = find(version.name, alias)
    if before is not None and before.version == version.version:
        return
    client = MlflowClient()
    client.set_model_version_tag(version.name, version.version, f"{REASON}.{alias}", reason[:5000])
    if before is not None:
        client.set_model_version_tag(version.name, version.version, f"{BEFORE}.{alias}", before.version)
    client.set_registered_model_alias(version.name, alias, version.version)


def rollback(name: str, alias: str) -> tuple[Version, Version]:
    """Points an alias at the version that had it before.

    Returns:
        The version that had the alias, and the one that has it now.

    Raises:
        RegistryError: If there is no such alias, or none had it before.
    """
    client = MlflowClient()
    current = resolve(f"{name}@{alias}")
    number = tags_of(current).get(f"{BEFORE}.{alias}")
    if number is None:
        raise RegistryError(f"version {current.version} of {name} is the first {alias}: there is none to go back to")
    before = resolve(f"{name}/{number}")
    client.set_registered_model_alias(name, alias, number)
    return current, replace(before, aliases=tuple(sorted({*before.aliases, alias})))


def _version(found: ModelVersion, aliases: tuple[str, ...] | None = None) -> Version:
    tags = found.tags or {}
    score = None
    if SCORE in tags:
        score = Score(float(tags[SCORE]), tags[SCORE_NAME], tags[DATASET])
    return Version(
        name=found.name,
        version=str(found.version),
        uri=f"models:/{found.name}/{found.version}",
        run_id=found.run_id or "",
        score=score,
        aliases=tuple(found.aliases or ()) if aliases is None else aliases,
    )
