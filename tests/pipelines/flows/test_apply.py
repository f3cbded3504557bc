"""`betaline apply`, for real: a registered model over datasets as Ray jobs, one of which is killed on its way."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.datasets import load_digits

from pipelines.cluster.runs import RunFolder
from pipelines.data import apply as applying
from pipelines.data.ingest import IngestResult
from pipelines.flows import apply as apply_flow
from pipelines.jobs.apply import planned
from pipelines.jobs.job import Job
from pipelines.models import packaging, registry, tracking
from pipelines.services import Services
from pipelines.stages.apply import ApplyRequest
from tests.pipelines.conftest import run_flow
from tests.processes import kill_driver, meanwhile, wait_until
from tests.vae.conftest import _publish
from vae import serving
from vae.config import ModelConfig
from vae.data.parquet import Dataset
from vae.data.statistics import example_spec
from vae.errors import ConfigError, DataError, RegistryError
from vae.model import VAE
from vae.parts.bodies.mlp import MLP
from vae.storage import locate, sha256_of
from vae.training.state import WEIGHTS, save_model

pytestmark = pytest.mark.servers("flows")

NAME = "applied-digits"
DRAWS = 1000
"""So many that a score of all rows takes a while."""


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """8,000 digits to train, 200 to validate, in row groups of 100."""
    data = load_digits()
    pixels = np.rint(data.images * (255 / 16)).astype(np.uint8)[:, None]
    order = np.arange(8200) % len(pixels)
    labels = data.target.astype(np.int64)[order]
    folder = tmp_path_factory.mktemp("rows")
    return _publish(folder, pixels[order], labels, {"train": 8000, "validation": 200})


@pytest.fixture(scope="module")
def champion(services: Services, rows: Dataset, tmp_path_factory: pytest.TempPathFactory) -> registry.Version:
    """A small model that is told the class; nobody has trained it."""
    folder = tmp_path_factory.mktemp("registered") / serving.ARTIFACT
    config = ModelConfig(latent_dim=3, encoder=MLP(hidden=(16,)), condition=("class",))
    model = VAE(config, example_spec(rows), seed=1).eval()
    save_model(model, str(folder))
    run_id = tracking.open_run(NAME, f"{NAME}-1")
    example = (rows.read_rows("train", 0, 2).values.reshape(2, 1, 8, 8), {"condition": ["0"]})
    uri = packaging.log_model(run_id, folder, config, example, "a test's")
    weights = sha256_of(locate(str(folder / WEIGHTS)))
    score = registry.Score(1.0, "nll", rows.manifest.dataset_id)
    version = registry.register(NAME, uri, run_id, weights, score, "a test's")
    registry.move_alias(version, "champion", "for a test")
    return version


def asked(task: str, dataset: Any, output: Path | None, model: str = NAME, **params: Any) -> ApplyRequest:
    """The request as the command makes it."""
    source = dataset.uri if isinstance(dataset, Dataset) else dataset
    values = {"task": task, "model": model, "dataset": source, "output": output and str(output), "params": params}
    return ApplyRequest.model_validate(values)


def apply(task: str, dataset: Dataset, output: Path | None, **params: Any) -> Any:
    """Runs the flow."""
    return run_flow(apply_flow.apply, asked(task, dataset, output, **params))


@pytest.mark.slow
@pytest.mark.ci
def test_killed_job_goes_on_to_the_same_bytes(
    services: Services, champion: registry.Version, rows: Dataset, home: Path, tmp_path: Path
) -> None:
    """SIGKILL of the job's driver on its way: the flow tries again, keeps what is there, and ends with the bytes that one
    process gives which nobody disturbs.
    """

    def kill_the_driver() -> None:
        wait_until(lambda: any((tmp_path / "broken").glob("*.parquet")), what="a shard is written")
        assert kill_driver(services, "apply")

    with meanwhile(kill_the_driver) as killed:
        broken = apply("score", rows, tmp_path / "broken", num_samples=str(DRAWS))
    killed.result()
    assert 0 < broken.resumed_rows < 8200
    assert broken.rows == {"train": 8000, "validation": 200}
    assert broken.provenance.version == champion.version
    assert broken.provenance.weights_sha256 == registry.weights_of(champion)
    todo, worker = planned(_job(home, "score", rows, tmp_path / "whole", num_samples=DRAWS), "cpu")
    files = sorted(path.name for path in (tmp_path / "broken").glob("*.parquet"))
    assert files == sorted(unit.shard for unit in todo.units)
    applying.claim(todo)
    list(worker.write(range(len(todo.units))))
    for unit in todo.units:
        assert (tmp_path / "whole" / unit.shard).read_bytes() == (tmp_path / "broken" / unit.shard).read_bytes()
    found = np.concatenate([pq.read_table(tmp_path / "broken" / n)["row"] for n in files if n.startswith("train")])
    assert found.tolist() == list(range(8000))


def test_output_without_a_folder_goes_to_the_home(champion: registry.Version, rows: Dataset, home: Path) -> None:
    """It is called after the task and all that it depends on, so that the same command finds it there."""
    todo, worker = planned(_job(home, "augment", rows, None, per_class=13), "cpu")
    assert Path(todo.output).parent == home / "applied"
    assert applying.claim(todo) is None
    made = applying.publish(todo, worker.write(range(len(todo.units))))
    assert Dataset.open(todo.output).num_rows("train") == 130
    again, _ = planned(_job(home, "augment", rows, None, per_class=13), "cpu")
    assert again.output == todo.output
    assert applying.claim(again) == made


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"task": "reconstuct"}, ConfigError, "did you mean `reconstruct`"),
        ({"num_sample": "2"}, ConfigError, "did you mean `num_samples`"),
        ({"model": f"{NAME}@chamion"}, RegistryError, f"there are {NAME}/1"),
        ({"model": "aplied-digits"}, RegistryError, f"did you mean `{NAME}`"),
        ({"model": f"{NAME}/9"}, RegistryError, f"there are {NAME}/1"),
        ({"output": None, "dataset": "digit"}, DataError, "did you mean `digits`"),
    ],
)
def test_refusals_come_back_as_they_are(
    champion: registry.Version, digits: IngestResult, rows: Dataset, change: Any, error: Any, message: str, home: Path
) -> None:
    """What the job refuses before any work; in this process, for a job would take seconds each."""
    request = {"task": "score", "dataset": rows.uri, "output": None, **change}
    with pytest.raises(error, match=message):
        planned(_job(home, **request), "cpu")


def test_reference_finds_the_version_that_it_means(champion: registry.Version) -> None:
    """A name is its champion; aliases, numbers and MLflow's own URIs are read too."""
    for reference in (NAME, f"{NAME}@champion", f"{NAME}/1", f"models:/{NAME}@champion", f"models:/{NAME}/1"):
        assert asdict(registry.resolve(reference))["version"] == champion.version
    with pytest.raises(RegistryError, match="expected NAME, NAME@ALIAS"):
        registry.resolve("a/b/c")


def _job(home: Path, task: str, dataset: Any, output: Path | None, **more: Any) -> Job:
    """A job that nobody has submitted."""
    folder = RunFolder(str(home), f"planned-{uuid4().hex}")
    request = asked(task, dataset, output, **more).model_dump(mode="json")
    return Job(
        folder.write(
            "spec.json", {"home": str(home), "identity": folder.location.path.rsplit("/", 1)[-1], "request": request}
        ),
        ApplyRequest,
    )
