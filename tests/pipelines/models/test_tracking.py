"""What MLflow keeps of a run when it is called again."""

from __future__ import annotations

import pickle

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from pipelines.models import tracking
from pipelines.services import Services
from vae.errors import RegistryError

pytestmark = pytest.mark.servers("services")


def test_run_of_an_identity_is_opened_once(services: Services) -> None:
    """A retry finds the run it began, and epochs that are logged already are not logged again."""
    first = tracking.open_run("tracking-test", "one-identity", params={"model": {"latent_dim": 3}})
    assert tracking.open_run("tracking-test", "one-identity") == first
    client = MlflowClient()
    assert client.get_run(first).data.params == {"model.latent_dim": "3"}
    epochs = [{**dict.fromkeys(tracking.EPOCH_METRICS, float(number)), "epoch": number} for number in (1, 2, 3)]
    tracking.log_epochs(first, epochs[:2])
    tracking.log_epochs(first, epochs)
    for name in tracking.EPOCH_METRICS:  # epochs 1 and 2 were logged twice
        assert [(m.step, m.value) for m in client.get_metric_history(first, name)] == [(1, 1.0), (2, 2.0), (3, 3.0)]


def test_epoch_log_travels_without_its_thread() -> None:
    """Ray sends it to its controller: what arrives has the run and starts a thread of its own."""
    log = tracking.EpochLog("run")
    assert pickle.loads(pickle.dumps(log)).run_id == "run"


def test_epoch_log_finishes_when_all_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also what MLflow refused, which is said and sent again at the end of the training."""
    sent: list[list[int]] = []

    def send(run_id: str, epochs: list[dict[str, int]]) -> None:
        sent.append([epoch["epoch"] for epoch in epochs])
        if len(sent) == 1:
            raise MlflowException("away")

    monkeypatch.setattr(tracking, "log_epochs", send)
    log = tracking.EpochLog("run")
    log.finish()
    log([{"epoch": 1}])
    log([{"epoch": 2}, {"epoch": 3}])
    log.finish()
    assert sent == [[1], [2, 3]]


def test_epochs_come_back_as_they_were_logged(services: Services) -> None:
    """An epoch of which some curve has no point is left out."""
    run_id = tracking.open_run("tracking-test", "epochs-back")
    epochs = [{**dict.fromkeys(tracking.EPOCH_METRICS, 5.0 + number), "epoch": number} for number in (1, 2, 3)]
    tracking.log_epochs(run_id, epochs)
    MlflowClient().log_metric(run_id, "beta", 1.0, step=4)
    assert tracking.epochs_of(run_id) == epochs


def test_address_of_an_artifact_holds_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a browser is led to is printed and kept in Prefect; the tracking URI may name who asks."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://ada:secret@mlflow.example:8080/base/")
    assert tracking.artifact_url("3", "run", "report/report.html") == (
        "https://mlflow.example:8080/base/#/experiments/3/runs/run/artifacts/report/report.html"
    )


def test_deleted_experiment_and_run_are_refused_with_the_way_back(services: Services) -> None:
    """Before a job is submitted: nothing can be logged to what was deleted, and MLflow's own command restores it."""
    client = MlflowClient()
    tracking.refuse_deleted("never-made")
    run_id = tracking.open_run("deleted", "deleted-1")
    tracking.refuse_deleted("deleted", [run_id])
    client.delete_run(run_id)
    with pytest.raises(
        RegistryError, match=f"run {run_id} was deleted in MLflow; .*`mlflow runs restore --run-id {run_id}`"
    ):
        tracking.refuse_deleted("deleted", [run_id])
    experiment = client.get_experiment_by_name("deleted")
    assert experiment is not None
    client.delete_experiment(experiment.experiment_id)
    with pytest.raises(RegistryError, match=r"the experiment deleted was deleted .*`mlflow experiments restore"):
        tracking.refuse_deleted("deleted")
    client.restore_experiment(experiment.experiment_id)
    tracking.refuse_deleted("deleted")
