"""What a training needs is compared with its dataset and the cluster before a job is submitted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.cluster import needs, resources
from pipelines.cluster.needs import check_promotion, needs_of
from pipelines.cluster.resources import GIB, check_resources
from pipelines.models.versions import Version
from pipelines.stages.promote import PromoteRequest
from pipelines.stages.train import TrainRequest
from tests.vae.conftest import _publish
from vae.data.parquet import Dataset
from vae.errors import ClusterError, ConfigError, DataError


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """The one node of a cluster, and an MLflow from which nothing was deleted."""
    node = {"CPU": 2.0, "memory": 64.0 * GIB}
    monkeypatch.setenv("RAY_ADDRESS", "http://cluster.example")
    monkeypatch.setattr(resources.Cluster, "nodes", lambda cluster: [node])
    monkeypatch.setattr(needs.tracking, "refuse_deleted", lambda name: None)
    return node


@pytest.fixture
def pictures(tmp_path: Path) -> Dataset:
    """Six pictures of 600 × 600."""
    pixels = np.random.default_rng(0).integers(0, 256, (6, 1, 600, 600), np.uint8)
    return _publish(tmp_path / "pictures", pixels, None, {"train": 4, "validation": 2})


def asked(dataset: Dataset, **changes: Any) -> TrainRequest:
    return TrainRequest(dataset=dataset.uri, name="pictures", changes={"training.batch_size": 4, **changes})


@pytest.mark.parametrize(
    ("gib", "changes", "words"),
    [
        (1.0, {}, r"one step .* GiB, .*Use a smaller batch: --set training.batch_size=[12]$"),
        (
            1.0,
            {"model.encoder": {"kind": "mlp", "hidden": [256]}},
            r"Ingest smaller images: .* --resize [0-9]+x[0-9]+$",
        ),
    ],
)
def test_training_without_room_is_refused_with_what_fits(
    gib: float, changes: dict[str, Any], words: str, node: dict[str, float], pictures: Dataset, tmp_path: Path
) -> None:
    """The refusal says what takes the memory, and a batch or a size of the images with which the same run fits."""
    needed = needs_of(asked(pictures, **changes), str(tmp_path))
    check_resources(needed)
    node["memory"] = gib * GIB
    with pytest.raises(ClusterError, match=rf"each of 1 workers would need at least .* factor of 1.5: .*{words}"):
        check_resources(needed)


def test_training_that_does_not_fit_its_dataset_is_refused(
    node: dict[str, float], pictures: Dataset, tmp_path: Path
) -> None:
    """A batch of more rows than there are, and a dataset that does not exist, are refused without a job."""
    with pytest.raises(
        ConfigError, match=r"one step takes 64 examples, the train split of .* has 4; use a smaller batch"
    ):
        needs_of(asked(pictures, **{"training.batch_size": 64}), str(tmp_path))
    with pytest.raises(DataError, match="no dataset 'absent'"):
        needs_of(TrainRequest(dataset="absent", name="absent"), str(tmp_path))


@pytest.mark.parametrize(("run_ids", "asked_for"), [([], []), (["r7"], ["r7"]), ([""], [])])
def test_promotion_asks_for_the_run_of_the_version_that_has_the_alias(
    run_ids: list[str], asked_for: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is asked for where no version has it, or one that no run of betaline made."""
    asked: list[tuple[str, list[str]]] = []
    holders = [Version("digits", "3", "models:/digits/3", run_id, None, ("champion",)) for run_id in run_ids]
    monkeypatch.setattr(needs.registry, "find", lambda name, alias: next(iter(holders), None))
    monkeypatch.setattr(needs.tracking, "refuse_deleted", lambda name, runs=(): asked.append((name, list(runs))))
    check_promotion(PromoteRequest(run="one", name="digits"))
    assert asked == [("digits", asked_for)]
