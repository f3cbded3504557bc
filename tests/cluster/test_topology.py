"""The main job on a team's cluster: every server behind a password, every file in S3, every row in PostgreSQL."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.stages.pipeline import PipelineRequest
from tests.cluster.topology import ROOT, Topology, bare_environment, topology, why_no_topology

pytestmark = [pytest.mark.servers("cluster"), pytest.mark.slow, pytest.mark.timeout(900)]

PULL = """
import json, mlflow.pyfunc
model = mlflow.pyfunc.load_model("models:/digits@champion")
drawn = model.predict(None, params={"task": "generate", "n": 4, "seed": 1})
print(json.dumps({"shape": list(drawn.shape), "mean": float(drawn.mean())}))
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Topology]:
    """A whole cluster; the tests are skipped, with the reason, if it cannot be started."""
    if reason := why_no_topology():
        pytest.skip(reason)
    with topology(tmp_path_factory.mktemp("cluster")) as running:
        yield running


def test_main_job_on_a_cluster_ends_in_a_champion(cluster: Topology, small: PipelineRequest, tmp_path: Path) -> None:
    """From ingest to champion by a deployment: files in S3, rows in PostgreSQL, work on both nodes, nothing kept here."""
    before = strays(cluster)
    seconds = cluster.run_main_job(small, "main")
    print({name: round(value, 1) for name, value in {**cluster.seconds, **seconds}.items()})
    assert list(seconds) == ["pipeline", "ingest", "tune", "train", "promote"]

    started = "SELECT DISTINCT state_type FROM flow_run WHERE start_time IS NOT NULL"
    assert cluster.postgres.query("prefect", started) == [("COMPLETED",)]
    assert cluster.postgres.query("mlflow", "SELECT name, version FROM model_versions") == [("digits", 1)]
    assert cluster.postgres.query("mlflow", "SELECT name, alias, version FROM registered_model_aliases") == [
        ("digits", "champion", 1)
    ]

    promoted = cluster.bucket.json("home/runs/main-promote/result.json")
    trained = cluster.bucket.json("home/runs/main-train/result.json")
    assert promoted["version"]["version"] == "1"
    assert trained["model"].startswith("s3://betaline/home/runs/main-train/")
    for kept in ("home/datasets/digits/", "home/runs/main-tune/tune/", "home/runs/main-train/checkpoints/"):
        assert cluster.bucket.keys(kept), f"nothing under {kept}"
    assert any(key.endswith("report/report.html") for key in cluster.bucket.keys("artifacts/"))
    assert any(key.endswith("weights.safetensors") for key in cluster.bucket.keys("artifacts/"))
    assert strays(cluster) == before, "a home on this disk was made"

    assert len(cluster.nodes_of("main-train-0")) == 2, "each of two workers was on a node of its own"
    assert len(cluster.nodes_of("main-tune-0")) == 2, "trials were on both nodes"

    log = cluster.folder / "mlflow.log"
    asked = log.read_text().count("/presigned/")
    # Else MLflow's client asks the server for signed URLs, and downloads from S3 itself.
    environment = {**cluster.mlflow.environment, "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "false"}
    command = [sys.executable, "-c", PULL]
    pulled = subprocess.run(
        command, cwd=tmp_path, env={**bare_environment(), **environment}, capture_output=True, text=True, check=False
    )
    assert pulled.returncode == 0, pulled.stderr
    assert json.loads(pulled.stdout)["shape"] == [4, 1, 8, 8]
    assert log.read_text().count("/presigned/") == asked, "all of it came through the server"


def strays(cluster: Topology) -> set[Path]:
    """Returns traces of a home on this disk; a URI taken for a path begins with a folder `s3:`."""
    names = (".betaline", "s3:", "datasets", "runs", "artifacts")
    return {folder / name for folder in (ROOT, cluster.folder) for name in names if (folder / name).exists()}
