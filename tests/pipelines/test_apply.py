"""`betaline apply`, for real: a registered model over datasets as Ray jobs, one of which is killed on its way."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
from sklearn.datasets import load_digits

from pipelines import flows, packaging, registry
from pipelines.requests import ApplyRequest
from pipelines.runs import Event
from pipelines.services import Services
from tests.pipelines.conftest import run_flow
from tests.vae.conftest import _publish
from vae import serving
from vae.config import MLP, ModelConfig
from vae.data.parquet import Dataset
from vae.data.statistics import example_spec
from vae.errors import ConfigError, DataError, RegistryError
from vae.model import VAE
from vae.state import WEIGHTS, save_model
from vae.storage import locate, sha256_of

NAME = "applied-digits"


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
    run_id = registry.open_run(NAME, f"{NAME}-1")
    example = (rows.read_rows("train", 0, 2).values.reshape(2, 1, 8, 8), {"condition": ["0"]})
    uri = packaging.log_model(run_id, folder, config, example, "a test's")
    weights = sha256_of(locate(str(folder / WEIGHTS)))
    score = registry.Score(1.0, "nll", rows.manifest.dataset_id)
    version = registry.register(NAME, uri, run_id, weights, score, "a test's")
    registry.move_alias(version, "champion")
    return version


def apply(
    task: str, dataset: Dataset, output: Path | None, listener: Any = None, model: str = NAME, **params: Any
) -> Any:
    request = ApplyRequest(
        task=task, model=model, dataset=dataset.uri, output=output and str(output), params=params, workers=1
    )
    return run_flow(flows.apply, request, listener=listener)


def test_killed_job_goes_on_to_the_same_bytes(
    services: Services, champion: registry.Version, rows: Dataset, tmp_path: Path
) -> None:
    """SIGKILL of the job's driver on its way: the flow tries again, keeps what is there, and ends as one undisturbed."""
    killed: list[int] = []

    def kill_the_driver(kind: str, event: Event) -> None:
        if event.kind == "apply" and 0 < event.fields["rows"] < 6000 and not killed:
            driver = _driver(services)
            driver.kill()
            killed.append(driver.pid)

    broken = apply("score", rows, tmp_path / "broken", listener=kill_the_driver, num_samples=100)
    assert killed
    assert 0 < broken["resumed_rows"] < 8200
    whole = apply("score", rows, tmp_path / "whole", num_samples=100)
    assert whole["resumed_rows"] == 0
    assert whole["rows"] == broken["rows"] == {"train": 8000, "validation": 200}
    files = sorted(path.name for path in (tmp_path / "whole").glob("*.parquet"))
    assert len(files) == 82
    assert files == sorted(path.name for path in (tmp_path / "broken").glob("*.parquet"))
    for name in files:
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "broken" / name).read_bytes()
    found = np.concatenate([pq.read_table(tmp_path / "broken" / n)["row"] for n in files if n.startswith("train")])
    assert found.tolist() == list(range(8000))
    again = apply("score", rows, tmp_path / "whole", num_samples="100", model=f"models:/{NAME}/{champion.version}")
    assert again["reused"]


def test_augmented_dataset_is_trained_on(champion: registry.Version, rows: Dataset, tiny: Any) -> None:
    """Without a folder it goes to HOME/applied, says where it comes from, and is a dataset like any other."""
    from pipelines.requests import TrainRequest

    made = apply("augment", rows, None, per_class="13")
    assert Path(made["uri"]).parent.name == "applied"
    assert made["rows"] == {"train": 130, "validation": 200}
    assert made["provenance"]["version"] == champion.version
    assert made["provenance"]["weights_sha256"] == registry.weights_of(champion)
    trained = run_flow(flows.train, TrainRequest(dataset=made["uri"], name="augmented", config=tiny))
    assert trained["dataset_id"] == made["dataset_id"]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"task": "reconstuct"}, ConfigError, "did you mean `reconstruct`"),
        ({"params": {"num_sample": "2"}}, ConfigError, "did you mean `num_samples`"),
        ({"model": f"{NAME}@chamion"}, RegistryError, f"there are {NAME}/1"),
        ({"model": "aplied-digits"}, RegistryError, f"did you mean '{NAME}'"),
        ({"model": f"{NAME}/9"}, RegistryError, f"there are {NAME}/1"),
        ({"output": None, "dataset": "digit"}, DataError, "Did you mean 'digits'"),
    ],
)
def test_refusals_come_back_as_they_are(
    champion: registry.Version, digits: dict[str, Any], rows: Dataset, change: Any, error: Any, message: str, home: Path
) -> None:
    """What the job refuses before any work, in this process: a job for each would take seconds."""
    from pipelines.jobs.apply import _plan
    from pipelines.jobs.job import Job
    from pipelines.runs import RunFolder

    request = ApplyRequest.model_validate({"task": "score", "model": NAME, "dataset": rows.uri, **change})
    folder = RunFolder(str(home), "refused")
    folder.remove("pinned.json")
    spec = {"home": str(home), "identity": "refused", "request": request.model_dump(mode="json")}
    with pytest.raises(error, match=message):
        _plan(Job(folder.write("spec.json", spec)), request)


def test_reference_finds_the_version_that_it_means(champion: registry.Version) -> None:
    """A name is its champion; aliases, numbers and MLflow's own URIs are read too."""
    for reference in (NAME, f"{NAME}@champion", f"{NAME}/1", f"models:/{NAME}@champion", f"models:/{NAME}/1"):
        assert asdict(registry.resolve(reference))["version"] == champion.version
    with pytest.raises(RegistryError, match="expected NAME, NAME@ALIAS"):
        registry.resolve("a/b/c")


def _driver(services: Services) -> psutil.Process:
    """The process of the apply job among the descendants of this session's Ray head."""
    head = next(process for process in services.processes if process.name == "ray")
    for process in psutil.Process(head.pid).children(recursive=True):
        line = process.cmdline()
        if "pipelines.jobs" in line and "apply" in line and "python" in Path(line[0]).name:
            return process
    raise AssertionError("no driver runs")
