"""MLflow's tracking: runs, their artifacts and their curves."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import mlflow
import requests
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request

from vae import progress
from vae.config import dotted
from vae.errors import Diverged, RegistryError

log = logging.getLogger(__name__)

IDENTITY = "betaline.identity"
"""Tag of a run: its identity."""
DATASET = "betaline.dataset_id"
"""Tag of a run and of its versions: the content address of the dataset."""
VERDICT = "betaline.verdict"
"""Tag of a run and of its versions: `sound`, or the names of the findings."""
EPOCH_METRICS = (
    "beta",
    "train_distortion",
    "train_rate",
    "validation_distortion",
    "validation_rate",
    "validation_negative_elbo",
    "validation_negative_bound",
    "validation_objective",
    "constraint_gap",
    "active_units",
    "aggregate_std",
    "best_epoch",
)
REPORT_FOLDER = "report"
FAILED_PROMOTION_FOLDER = "failed-promotion"
"""Folder of a failed promotion's report, beside the report of the training, which stays."""
REPORT = f"{REPORT_FOLDER}/report.html"
MAX_METRICS = 1000
"""Largest number of metrics that MLflow accepts in one request."""
PARENT = "mlflow.parentRunId"


def ask_server(uri: str, timeout_seconds: tuple[float, float]) -> requests.Response:
    """Returns the answer of a tracking server to one request with this user's login, which is not repeated.

    Args:
        uri: Address of the server.
        timeout_seconds: Seconds to wait for a connection, and for the answer.

    Raises:
        requests.RequestException: If there is no answer.
    """
    try:
        answer: Any = http_request(
            get_default_host_creds(uri),
            "/api/2.0/mlflow/experiments/search",
            "GET",
            max_retries=0,
            timeout=timeout_seconds,
            raise_on_status=False,
            params={"max_results": 1},
        )
        return answer
    except MlflowException as error:
        cause = error.__cause__ or error.__context__
        raise cause if isinstance(cause, requests.RequestException) else requests.RequestException(error) from None


# --- runs -----------------------------------------------------------------------------------------------------------


def open_run(
    experiment: str,
    identity: str,
    *,
    params: Mapping[str, Any] | None = None,
    tags: Mapping[str, str] | None = None,
    parent: str | None = None,
) -> str:
    """Returns the id of an identity's MLflow run, which is created on first use; a retry gets the run that it began."""
    client = MlflowClient()
    experiment_id = _experiment(client, experiment)
    if (run_id := _find(client, experiment_id, identity)) is not None:
        client.update_run(run_id, status="RUNNING")
        log_params(run_id, params or {})  # an earlier attempt may have been killed before it logged them
        return run_id
    all_tags = {IDENTITY: identity, **({PARENT: parent} if parent else {}), **(tags or {})}
    run = client.create_run(experiment_id, run_name=identity, tags=all_tags)
    log_params(run.info.run_id, params or {})
    return run.info.run_id


def refuse_deleted(experiment: str, runs: Iterable[str] = ()) -> None:
    """Refuses an experiment, and runs, that were deleted in MLflow: nothing can be logged to them.

    Args:
        experiment: Name of the experiment, which need not exist.
        runs: Ids of runs.

    Raises:
        RegistryError: If one of them was deleted, with the command that restores it.
    """
    client = MlflowClient()
    known = client.get_experiment_by_name(experiment)
    if known is not None and known.lifecycle_stage == "deleted":
        raise RegistryError(
            f"the experiment {experiment} was deleted in MLflow; restore it with `mlflow experiments restore "
            f"--experiment-id {known.experiment_id}`, or give the model another name"
        )
    for run_id in runs:
        if client.get_run(run_id).info.lifecycle_stage == "deleted":
            raise RegistryError(
                f"run {run_id} was deleted in MLflow; restore it with `mlflow runs restore --run-id {run_id}`"
            )


def run_of(experiment: str, identity: str) -> str:
    """Returns the id of an identity's MLflow run.

    Raises:
        RegistryError: If there is none.
    """
    client = MlflowClient()
    known = client.get_experiment_by_name(experiment)
    if known is None or (run_id := _find(client, known.experiment_id, identity)) is None:
        raise RegistryError(f"MLflow has no run {identity} in experiment {experiment}: it has not begun")
    return run_id


def _find(client: MlflowClient, experiment_id: str, identity: str) -> str | None:
    query = f"tags.`{IDENTITY}` = '{identity}'"
    return next((run.info.run_id for run in client.search_runs([experiment_id], query, max_results=1)), None)


@contextmanager
def recorded(run_id: str) -> Iterator[None]:
    """Ends a run with the block: FINISHED, FAILED, or KILLED by an interrupt.

    An MLflow that does not answer does not hide the block's own error.
    """
    try:
        yield
    except BaseException as error:
        try:
            tags = {VERDICT: "diverged"} if isinstance(error, Diverged) else None
            close_run(run_id, "FAILED" if isinstance(error, Exception) else "KILLED", tags)
        except MlflowException as unreachable:
            log.warning("MLflow still shows run %s as running: %s", run_id, unreachable)
        raise
    close_run(run_id)


def tag(run_id: str, tags: Mapping[str, str]) -> None:
    """Sets tags of a run."""
    for name, value in tags.items():
        MlflowClient().set_tag(run_id, name, value)


def experiment_of(run_id: str) -> str:
    """Returns the id of a run's experiment."""
    return MlflowClient().get_run(run_id).info.experiment_id


def artifact_url(experiment_id: str, run_id: str, path: str) -> str:
    """Returns the address of a run's artifact in a browser, without the credentials of the tracking URI."""
    parts = urlsplit(mlflow.get_tracking_uri())
    host = parts.netloc.rpartition("@")[2]
    where = f"#/experiments/{experiment_id}/runs/{run_id}/artifacts/{path}"
    return f"{parts.scheme}://{host}{parts.path.rstrip('/')}/{where}"


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
    """Logs figures of a whole run."""
    now = int(time.time() * 1000)
    MlflowClient().log_batch(run_id, [Metric(name, value, now, 0) for name, value in metrics.items()])


def metrics_of(run_id: str) -> dict[str, float]:
    """Returns the last figure of each metric of a run."""
    return MlflowClient().get_run(run_id).data.metrics


def log_files(run_id: str, files: Iterable[Path], folder: str | None = None) -> None:
    """Uploads files as artifacts of a run."""
    client, files = MlflowClient(), [*files]
    for file in progress.counted(files, "sending files to MLflow", len(files), "files"):
        client.log_artifact(run_id, str(file), folder)


def read_file(run_id: str, path: str, scratch: Path) -> bytes:
    """Returns the bytes of an artifact of a run.

    Raises:
        RegistryError: If the run has no artifact of that name.
    """
    try:
        return Path(MlflowClient().download_artifacts(run_id, path, str(scratch))).read_bytes()
    except (MlflowException, OSError) as error:
        raise RegistryError(f"run {run_id} has no artifact {path}; promote its training once more: {error}") from None


def _experiment(client: MlflowClient, name: str) -> str:
    if (known := client.get_experiment_by_name(name)) is not None:
        return known.experiment_id
    try:
        return client.create_experiment(name)
    except MlflowException:
        # Another process may have created it meanwhile; any other error remains one.
        if (known := client.get_experiment_by_name(name)) is None:
            raise
        return known.experiment_id


# --- curves ---------------------------------------------------------------------------------------------------------


class EpochLog:
    """Thread that sends a run's epochs to MLflow, so that a slow or absent MLflow delays nothing.

    Epochs that could not be sent are sent when training is over, with the whole history. Picklable: it is called in the
    process in which Ray Train's controller runs.
    """

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.epochs: dict[int, dict[str, Any]] = {}
        """Epochs received in this process, by their numbers."""
        self._queue: queue.Queue[list[dict[str, Any]]] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return EpochLog, (self.run_id,)

    def __call__(self, epochs: list[dict[str, Any]]) -> None:
        """Takes in epochs and returns at once."""
        self.epochs |= {epoch["epoch"]: epoch for epoch in epochs}
        if self._queue is None:
            self._queue = queue.Queue()
            threading.Thread(target=self._send, args=(self._queue,), name="betaline-epochs", daemon=True).start()
        self._queue.put(epochs)

    def finish(self) -> None:
        """Waits until MLflow has every epoch received in this process, or has refused it."""
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
    """Logs the curves of epochs; the epoch is MLflow's step. Logging an epoch again changes nothing."""
    client = MlflowClient()
    # MLflow keeps one of equal points. A resumed run repeats its epochs exactly, all but their time, which is set here.
    started = client.get_run(run_id).info.start_time
    metrics = [
        Metric(name, float(epoch[name]), started + epoch["epoch"], epoch["epoch"])
        for epoch in epochs
        for name in EPOCH_METRICS
    ]
    for start in range(0, len(metrics), MAX_METRICS):
        client.log_batch(run_id, metrics[start : start + MAX_METRICS])


def epochs_of(run_id: str) -> list[dict[str, Any]]:
    """Returns the epochs of a run whose curves were logged: their numbers and `EPOCH_METRICS`."""
    client = MlflowClient()
    epochs: dict[int, dict[str, Any]] = {}
    for name in EPOCH_METRICS:
        for point in client.get_metric_history(run_id, name):
            epochs.setdefault(point.step, {"epoch": point.step})[name] = point.value
    return [epochs[number] for number in sorted(epochs) if len(epochs[number]) == 1 + len(EPOCH_METRICS)]
