"""The registered model in a virtual environment that holds its own requirements alone. Slow: it installs torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import mlflow.pyfunc
import pytest

from pipelines.data.ingest import IngestResult
from pipelines.flows.promote import promote
from pipelines.flows.train import train
from pipelines.services import Services
from pipelines.stages.promote import PromoteRequest
from pipelines.stages.train import TrainRequest
from tests.pipelines.conftest import run_flow
from vae.config import RunConfig

pytestmark = pytest.mark.servers("services")

PROGRAM = """
import importlib.util, json, mlflow.pyfunc
assert importlib.util.find_spec("ray") is None and importlib.util.find_spec("prefect") is None
model = mlflow.pyfunc.load_model("models:/elsewhere@champion")
new = model.predict(None, params={"task": "generate", "n": 3})
code = model.predict(new, params={"task": "encode"})
print(json.dumps([list(new.shape), list(code["mean"].shape), list(model.predict(new).shape)]))
"""


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_model_loads_with_its_own_requirements_alone(
    services: Services, digits: IngestResult, tiny: RunConfig, tmp_path: Path
) -> None:
    """From an empty folder, with pickle refused, the champion generates, encodes and reconstructs."""
    request = TrainRequest(dataset="digits", name="elsewhere", config=tiny)
    trained = run_flow(train, request)
    run_flow(promote, PromoteRequest(run=trained.run, name="elsewhere", num_samples=4))
    requirements = mlflow.pyfunc.get_model_dependencies("models:/elsewhere@champion")
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", "-r", requirements], check=True)
    empty = tmp_path / "empty"
    empty.mkdir()
    done = subprocess.run(
        [str(python), "-c", PROGRAM],
        cwd=empty,
        env={
            "PATH": os.environ["PATH"],
            **{name: value for name, value in services.environment().items() if name.startswith("MLFLOW_")},
            "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [[3, 1, 8, 8], [3, 3], [3, 1, 8, 8]]
