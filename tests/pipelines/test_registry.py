"""What MLflow keeps of a run when it is called again."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from pipelines import registry
from pipelines.services import Services
from vae.errors import RegistryError


def test_run_of_an_identity_is_opened_once(services: Services) -> None:
    """A retry finds the run it began, and epochs that are logged already are not logged again."""
    first = registry.open_run("registry-test", "one-identity", params={"model": {"latent_dim": 3}})
    assert registry.open_run("registry-test", "one-identity") == first
    client = MlflowClient()
    assert client.get_run(first).data.params == {"model.latent_dim": "3"}
    epochs = [{**dict.fromkeys(registry.EPOCH_METRICS, float(number)), "epoch": number} for number in (1, 2, 3)]
    registry.log_epochs(first, epochs[:2])
    registry.log_epochs(first, epochs)
    for name in registry.EPOCH_METRICS:  # epochs 1 and 2 were logged twice
        assert [(m.step, m.value) for m in client.get_metric_history(first, name)] == [(1, 1.0), (2, 2.0), (3, 3.0)]


def test_epoch_log_travels_without_its_thread() -> None:
    """Ray sends it to its controller: what arrives has the run and starts a thread of its own."""
    log = registry.EpochLog("run")
    assert pickle.loads(pickle.dumps(log)).run_id == "run"


def test_epoch_log_finishes_when_all_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also what MLflow refused, which is said and sent again at the end of the training."""
    sent: list[list[int]] = []

    def send(run_id: str, epochs: list[dict[str, int]]) -> None:
        sent.append([epoch["epoch"] for epoch in epochs])
        if len(sent) == 1:
            raise MlflowException("away")

    monkeypatch.setattr(registry, "log_epochs", send)
    log = registry.EpochLog("run")
    log.finish()
    log([{"epoch": 1}])
    log([{"epoch": 2}, {"epoch": 3}])
    log.finish()
    assert sent == [[1], [2, 3]]


def test_unknown_alias_is_none(services: Services) -> None:
    """A model or an alias that does not exist is no error: there is no champion yet."""
    assert registry.find("no-such-model", "champion") is None


def test_rollback_gives_an_alias_back_step_by_step(services: Services) -> None:
    """To the version that had it before, and from there to the one before that; the first has nowhere to go."""
    client = MlflowClient()
    run = client.get_run(registry.open_run("rolled", "rolled-1"))
    client.create_registered_model("rolled")
    for _ in range(3):
        client.create_model_version("rolled", f"{run.info.artifact_uri}/model", run.info.run_id)
    one, two, three = sorted(registry.versions("rolled"), key=lambda version: version.version)
    for version in (one, two, two, three):  # a retry of the gate moves it to where it is
        registry.move_alias(version, "champion", "for a test")
    was, now = registry.rollback("rolled", "champion")
    assert (was.version, now.version, now.aliases) == ("3", "2", ("champion",))
    assert registry.rollback("rolled", "champion")[1].version == "1"
    champion = registry.find("rolled", "champion")
    assert champion is not None
    assert champion.version == "1"
    with pytest.raises(RegistryError, match="version 1 of rolled is the first champion: there is none to go back to"):
        registry.rollback("rolled", "champion")
    with pytest.raises(RegistryError, match=r"'rolled@challenger'; there are rolled/3, rolled/2, rolled/1 @champion"):
        registry.rollback("rolled", "challenger")


def test_epochs_come_back_as_they_were_logged(services: Services) -> None:
    """With the best one so far; an epoch that is not there as a whole is left out."""
    run_id = registry.open_run("registry-test", "epochs-back")
    bounds = (3.0, 1.0, 2.0)
    epochs = [
        {**dict.fromkeys(registry.EPOCH_METRICS, 5.0), "epoch": number, "validation_negative_bound": bound}
        for number, bound in enumerate(bounds, 1)
    ]
    registry.log_epochs(run_id, epochs)
    MlflowClient().log_metric(run_id, "beta", 1.0, step=4)
    assert registry.epochs_of(run_id) == [
        {**epoch, "best_epoch": best} for epoch, best in zip(epochs, (1, 2, 2), strict=True)
    ]


def test_report_of_an_identity_is_found(services: Services, tmp_path: Path) -> None:
    """Where it was logged, and nowhere else."""
    run_id = registry.open_run("registry-test", "reported")
    assert registry.report_url("registry-test", "reported") is None
    assert registry.report_url("registry-test", "no-such-run") is registry.report_url("no-such", "reported") is None
    (tmp_path / "report.html").write_text("<p>")
    registry.log_files(run_id, [tmp_path / "report.html"], registry.REPORT_FOLDER)
    url = registry.report_url("registry-test", "reported")
    assert url is not None
    assert url.endswith(f"/runs/{run_id}/artifacts/report/report.html")
