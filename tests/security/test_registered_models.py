"""Who can write the registry can run code: a version that holds a pickle, or other weights, is refused when pulled."""

from __future__ import annotations

from pathlib import Path

import mlflow
import numpy as np
import pytest
from mlflow.pyfunc.model import PythonModel

from pipelines.data.apply.work import pull
from pipelines.models import packaging, registry, tracking
from pipelines.services import Services
from tests.security.table import Answered
from vae import serving
from vae.config import ModelConfig
from vae.data.schema import ExampleSpec
from vae.errors import BetalineError, CheckpointError, RegistryError
from vae.model import VAE
from vae.parts.bodies.mlp import MLP
from vae.storage import locate, sha256_of
from vae.training.state import WEIGHTS, save_model

pytestmark = pytest.mark.servers("services")

SCORE = registry.Score(1.0, "nll", "a dataset's id")


class Pickled(PythonModel):
    """A model that makes a file when it is unpickled, and is a pickle itself."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.marker,)

    def predict(self, context: object, model_input: np.ndarray) -> np.ndarray:
        return model_input


def checked(uri: str) -> None:
    """Loads a version as a promotion does."""
    with packaging.fresh_process() as check_loads:
        check_loads(uri)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")  # MLflow's own, of pickled models
def test_pickled_version_is_refused(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answered: Answered
) -> None:
    """A version with a pickle is not loaded by the check, nor by whoever applies it, and the pickle does not run."""
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "true")  # or MLflow would not even write it
    marker = tmp_path / "ran"
    run_id = tracking.open_run("hostile", "hostile-pickle")
    with mlflow.start_run(run_id=run_id):
        info = mlflow.pyfunc.log_model(name="model", python_model=Pickled(marker), pip_requirements=["mlflow"])
    version = registry.register("hostile-pickle", info.model_uri, run_id, "0" * 64, SCORE, "a test's")
    marker.unlink(missing_ok=True)
    for what, call in (("the check before promotion", checked), ("betaline apply", pull)):
        with pytest.raises(BetalineError) as refusal:
            call(version.uri)
        assert not marker.exists(), what
        answered("a registered model", f"a pickle, by {what}", refusal.value)


@pytest.mark.slow
@pytest.mark.ci
def test_version_with_a_flipped_bit_is_refused(services: Services, tmp_path: Path, answered: Answered) -> None:
    """One wrong bit in the stored weights is refused on load, in words: by the check, and by who pulls the model."""
    config = ModelConfig(latent_dim=2, encoder=MLP(hidden=(4,)))
    folder = tmp_path / serving.ARTIFACT
    save_model(VAE(config, ExampleSpec((1, 8, 8), None)).eval(), str(folder))
    run_id = tracking.open_run("hostile", "hostile-weights")
    uri = packaging.log_model(run_id, folder, config, np.zeros((1, 1, 8, 8), np.float32), "a test's")
    weights = sha256_of(locate(str(folder / WEIGHTS)))
    version = registry.register("hostile-weights", uri, run_id, weights, SCORE, "a test's")
    checked(version.uri)
    stored = [
        file for file in (Path(services.home) / "artifacts").rglob(WEIGHTS) if sha256_of(locate(str(file))) == weights
    ]
    assert stored
    for file in stored:
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
    message = r"is damaged: its SHA-256 is not the one in model\.json"
    with pytest.raises(RegistryError, match=message):
        checked(version.uri)
    with pytest.raises(CheckpointError, match=message) as refusal:
        pull(version.uri)
    answered("a registered model", "a flipped bit in its weights", refusal.value)
