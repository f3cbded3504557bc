"""The evaluation's job without a cluster or a server: what it leaves where a promotion fails."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from pipelines.cluster.runs import REPORT, RESULT, RunFolder
from pipelines.jobs import evaluate
from pipelines.jobs.job import Job
from pipelines.models import registry
from pipelines.stages.promote import PromoteRequest
from tests.pipelines.conftest import QUICK, job_of
from vae.data.parquet import Dataset
from vae.errors import BetalineError, CheckpointError, DataError, RegistryError
from vae.training.loop import Training
from vae.training.state import WEIGHTS, save_model


@pytest.fixture
def trained(tmp_path: Path, noise: Dataset) -> dict[str, Any]:
    """What a training of the run `trained` has left in the home."""
    result = Training(QUICK, noise).run()
    folder = RunFolder(str(tmp_path), "trained")
    save_model(result.model, f"{folder.uri}/model")
    left = {
        "run": "trained",
        "dataset_id": noise.manifest.dataset_id,
        "mlflow_run_id": "run-1",
        "dataset": noise.uri,
        "config": QUICK.model_dump(mode="json"),
        "train_seconds": 1.0,
        "findings": [],
        "model": f"{folder.uri}/model",
        "history": [asdict(epoch) for epoch in result.history],
    }
    folder.write(RESULT, left)
    return left


def promotion(home: Path, **further: Any) -> Job:
    return job_of(home, PromoteRequest(run="trained", name="noise", num_samples=2, **further))


def lose_the_data(trained: dict[str, Any]) -> None:
    shutil.rmtree(trained["dataset"])


def damage_the_weights(trained: dict[str, Any]) -> None:
    file = Path(trained["model"], WEIGHTS)
    file.write_bytes(file.read_bytes()[:-1] + b"?")


@pytest.mark.parametrize(
    ("harm", "further", "error", "shown", "left_out"),
    [
        (lose_the_data, {}, DataError, {"curves"}, "Data and lineage: the dataset could not be opened."),
        (damage_the_weights, {}, CheckpointError, {"curves", "h-data"}, "Reconstructions: there is no trained model."),
        (
            lambda trained: None,
            {"metrics": ("disentanglement",)},
            DataError,
            {"curves", "h-data", "reconstructions", "samples", "latent", "kl", "h-scores"},
            None,
        ),
        (
            lambda trained: None,
            {"search": "nowhere"},
            RegistryError,
            {"curves"},
            "Rate and distortion of the trials: the configuration was not searched for.",
        ),
    ],
    ids=["no data", "damaged weights", "a metric that the data cannot give", "no such search"],
)
def test_promotion_that_fails_leaves_a_report_of_its_own(
    harm: Callable[[dict[str, Any]], None],
    further: dict[str, Any],
    error: type[BetalineError],
    shown: set[str],
    left_out: str | None,
    trained: dict[str, Any],
    pages: list[str],
    tmp_path: Path,
) -> None:
    """With what it said and what was found before, in the training's run, beside the training's own report."""
    harm(trained)
    job = promotion(tmp_path, **further)
    with pytest.raises(error) as refused:
        evaluate.run(job)
    (page,) = pages
    assert '<p class="kind">Failed promotion</p>' in page
    assert f"Failed: {error.__name__}: {str(refused.value)[:40]}" in page.replace("&#39;", "'")
    assert shown <= {*re.findall(r'id="([\w-]+)"', page)}
    assert left_out is None or left_out in page
    where = {"experiment_id": "experiment-1", "run_id": "run-1", "path": "failed-promotion/report.html"}
    assert job.folder.read(REPORT) == where


def test_registry_that_is_away_costs_none_of_the_figures(
    trained: dict[str, Any], pages: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What took the time is in the report of the promotion that failed at last."""

    def away(*arguments: Any) -> None:
        raise RegistryError("the registry is away")

    monkeypatch.setattr(registry, "registered", away)
    with pytest.raises(RegistryError):
        evaluate.run(promotion(tmp_path))
    promoted, failed = pages
    assert "Report of a promotion" in promoted
    assert "Failed promotion" in failed
    for page in pages:
        assert "Negative log-likelihood" in page
        assert 'id="reconstructions"' in page
