"""Many runs and many requests at once lose nothing, and no answer goes to somebody else."""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from pipelines.models import packaging, registry, tracking
from pipelines.services import Services
from pipelines.services.process import end, free_port, spawn
from tests.load.table import Carried
from tests.processes import wait_until
from vae import serving
from vae.config import ModelConfig
from vae.data.schema import ExampleSpec
from vae.model import VAE
from vae.parts.bodies.mlp import MLP
from vae.storage import locate, sha256_of
from vae.training.state import WEIGHTS, save_model

pytestmark = pytest.mark.servers("load")

NUM_RUNS, NUM_EPOCHS = 50, 20
NUM_REQUESTS = 200


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.usefixtures("mlflow_server")
def test_curves_of_50_runs_at_once_are_whole(carried: Carried) -> None:
    """50 runs that log their epochs at the same time each have all of their own, and none of another's."""

    def value(run: int, epoch: int, name: str) -> float:
        return run + epoch / 100 + tracking.EPOCH_METRICS.index(name) / 10_000

    def log(run: int) -> str:
        run_id = tracking.open_run("load", f"load-{run}", params={"number": run})
        for epoch in range(1, NUM_EPOCHS + 1):
            names = {name: value(run, epoch, name) for name in tracking.EPOCH_METRICS}
            tracking.log_epochs(run_id, [{"epoch": epoch, **names}])
        tracking.close_run(run_id)
        return run_id

    began = time.monotonic()
    with ThreadPoolExecutor(NUM_RUNS) as pool:
        runs = list(pool.map(log, range(NUM_RUNS)))
    seconds = time.monotonic() - began
    assert len(set(runs)) == NUM_RUNS
    client = MlflowClient()
    for number, run_id in enumerate(runs):
        found = client.get_run(run_id)
        assert (found.data.params["number"], found.info.status) == (str(number), "FINISHED")
        for name in tracking.EPOCH_METRICS:
            curve = {metric.step: metric.value for metric in client.get_metric_history(run_id, name)}
            assert curve == {epoch: value(number, epoch, name) for epoch in range(1, NUM_EPOCHS + 1)}
    points = NUM_RUNS * NUM_EPOCHS * len(tracking.EPOCH_METRICS)
    figure = f"{points:,} points, none lost, {points / seconds:,.0f} points/s"
    carried(f"{NUM_RUNS} runs that log their curves at once", figure)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_200_requests_at_once_each_get_their_own_rows(
    mlflow_server: Services, tmp_path: Path, carried: Carried
) -> None:
    """`mlflow models serve` answers 200 concurrent requests without an error, each with the latents of its own rows."""
    config = ModelConfig(latent_dim=3, encoder=MLP(hidden=(8,)))
    model = VAE(config, ExampleSpec((1, 8, 8), None), seed=1).eval()
    folder = tmp_path / serving.ARTIFACT
    save_model(model, str(folder))
    run_id = tracking.open_run("load", "load-serving")
    uri = packaging.log_model(run_id, folder, config, np.zeros((1, 1, 8, 8), np.float32), "a test's")
    weights = sha256_of(locate(str(folder / WEIGHTS)))
    version = registry.register("served", uri, run_id, weights, registry.Score(1.0, "nll", "data"), "a test's")
    served = serving.RegisteredVAE()
    served.model = model
    rows = np.random.default_rng(0).random((NUM_REQUESTS, 2, 1, 8, 8), np.float32)

    def differs(number: int, url: str) -> float:
        answer = predict(url, rows[number])
        expected = served.predict(None, rows[number], {"task": "encode"})["mean"]
        return float(np.abs(np.array(answer["mean"]) - np.asarray(expected)).max())

    with serve(version.uri, mlflow_server, tmp_path) as url, ThreadPoolExecutor(NUM_REQUESTS) as pool:
        began = time.monotonic()
        found = list(pool.map(lambda number: differs(number, url), range(NUM_REQUESTS)))
        seconds = time.monotonic() - began
    assert max(found) < 1e-5
    assert np.abs(rows[0] - rows[1]).max() > 0.5, "rows must differ to be told apart"
    figure = f"no error, no wrong row, {NUM_REQUESTS / seconds:.0f} requests/s"
    carried(f"{NUM_REQUESTS} requests at once to `mlflow models serve`", figure)


@contextmanager
def serve(uri: str, services: Services, folder: Path) -> Iterator[str]:
    """A real scoring server of a registered model."""
    port = free_port(0, set())
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", uri, "--env-manager", "local"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    # MLflow starts uvicorn by its name: the virtual environment's, which need not be activated here.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    pickle = {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
    environment = {**os.environ, **services.environment(), **pickle, "PATH": path}
    process = spawn("serving", command, environment, folder / "serving.log", folder)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: is_up(url), 300, "the scoring server answers")
        yield url
    finally:
        end([process])


def is_up(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/ping", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def predict(url: str, rows: np.ndarray) -> dict[str, list[list[float]]]:
    body = json.dumps({"inputs": rows.tolist(), "params": {"task": "encode"}}).encode()
    request = urllib.request.Request(f"{url}/invocations", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=300) as answer:
        return json.load(answer)["predictions"]
