"""A registered model behind MLflow's scoring server, from the folder that MLflow's image of it copies."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipelines.models import registry
from pipelines.services import Services
from pipelines.services.process import end, free_port, spawn
from tests.pipelines.conftest import register
from tests.processes import wait_until
from vae import serving
from vae.config import ModelConfig
from vae.data.schema import Column, ExampleSpec
from vae.inference.answering import answer
from vae.model import VAE
from vae.parts.bodies.table import TableBody
from vae.parts.likelihoods.mixed import Mixed

pytestmark = [
    pytest.mark.ci,
    pytest.mark.slow,
    pytest.mark.servers("services"),
    pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning"),  # of MLflow's reading of a data frame
]

ROWS = ExampleSpec((2,), None, (Column("age", None, 40.0, 10.0), Column("colour", ("blue", "red"))))
FRAME = pd.DataFrame({"age": [30.0, None], "colour": ["red", "blue"]})


@pytest.fixture(scope="module")
def model() -> VAE:
    config = ModelConfig(latent_dim=2, encoder=TableBody(hidden=(8,)), likelihood=Mixed())
    return VAE(config, ROWS, seed=1).eval()


@pytest.fixture(scope="module")
def image(model: VAE, services: Services, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a Dockerfile that `mlflow models generate-dockerfile` wrote for a registered model."""
    folder = tmp_path_factory.mktemp("image")
    version = register(model, FRAME, "served-elsewhere", registry.Score(1.0, "nll", "data"), folder)
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "models",
        "generate-dockerfile",
        "-m",
        version.uri,
        "-d",
        str(folder / "image"),
    ]
    subprocess.run(command, env={**os.environ, **services.environment()}, check=True, capture_output=True, timeout=240)
    return folder / "image"


@pytest.fixture(scope="module")
def url(image: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server of what the image copies, which knows no registry and unpickles nothing."""
    folder, port = tmp_path_factory.mktemp("server"), free_port(0, set())
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "models",
        "serve",
        "-m",
        str(image / "model_dir"),
        "--env-manager",
        "local",
    ]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # of uvicorn
    environment = {**os.environ, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false", "PATH": path}
    process = spawn("serving", command, environment, folder / "serving.log", folder)
    address = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: is_up(address), 240, "the scoring server answers")
        yield address
    finally:
        end([process])


def is_up(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/ping", timeout=5) as said:
            return said.status == 200
    except OSError:
        return False


def ask(url: str, **content: Any) -> Any:
    body = json.dumps(content).encode()
    request = urllib.request.Request(f"{url}/invocations", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as said:
        return json.load(said)["predictions"]


def test_image_copies_the_model_and_installs_what_it_needs(image: Path) -> None:
    """The Dockerfile copies the folder, whose requirements are the versions that made the model."""
    assert "COPY model_dir /opt/ml/model" in (image / "Dockerfile").read_text()
    needed = (image / "model_dir" / "requirements.txt").read_text().split()
    assert set(serving.requirements(ModelConfig(encoder=TableBody(), likelihood=Mixed()))) <= set(needed)
    assert not [*image.rglob("*.pkl")]


@pytest.mark.timeout(300)
def test_served_model_answers_tasks_on_rows_with_gaps(model: VAE, url: str) -> None:
    """Rows as JSON in pandas' split form give the answers of `predict`; null is missing."""
    rows = FRAME.astype(object).where(FRAME.notna(), None).to_dict(orient="split", index=False)
    served = ask(url, dataframe_split=rows, params={"task": "encode"})
    np.testing.assert_allclose(served["mean"], answer(model, FRAME, {"task": "encode"})["mean"], atol=1e-6)
    back = pd.DataFrame(ask(url, dataframe_split=rows, params={"task": "reconstruct"}))
    expected = answer(model, FRAME, {"task": "reconstruct"})
    np.testing.assert_allclose(back["age"], expected["age"], atol=1e-4)
    assert back["colour"].tolist() == expected["colour"].tolist()
    asked = {"task": "decode", "output": "mean"}
    made = pd.DataFrame(ask(url, inputs=[[0.5, -0.5]], params=asked))
    latents = np.array([[0.5, -0.5]])
    np.testing.assert_allclose(made["age"], answer(model, latents, asked)["age"], atol=1e-4)


@pytest.mark.timeout(300)
def test_served_model_refuses_with_the_reason(url: str) -> None:
    """A wrong request gets status 400 and the sentence that says what would work."""
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask(url, dataframe_split={"columns": ["age"], "data": [[3]]}, params={"task": "encode"})
    assert refused.value.code == 400
    assert "column 'colour' is missing" in refused.value.read().decode()
