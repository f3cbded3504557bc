"""The same ingest, asked for twice at the same time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.data.ingest import plan_ingest
from pipelines.data.ingest.staging import staging
from pipelines.data.sources import IngestConfig
from pipelines.services import Services
from tests.faults.table import Measured
from tests.servers import ROOT
from vae.data.parquet import Dataset

pytestmark = [pytest.mark.servers("faults"), pytest.mark.slow, pytest.mark.ci, pytest.mark.timeout(600)]


def test_two_identical_ingests_at_once_are_one_dataset(services: Services, home: Path, measured: Measured) -> None:
    """Two commands whose jobs both stand before the staging folder: both exit 0, with one identity and one manifest."""
    config = IngestConfig(source="sklearn:digits", name="at-once")
    dataset_id = plan_ingest(config).dataset_id
    command = [
        sys.executable,
        "-m",
        "pipelines.cli",
        "ingest",
        config.source,
        config.name,
        "--home",
        str(home),
        "--json",
    ]
    with staging(str(home), config.name, dataset_id):
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        running = [subprocess.Popen(command, cwd=ROOT, **pipes) for _ in range(2)]
        for process in running:
            assert process.stderr is not None
            assert any("waiting for another ingest" in line for line in process.stderr), "it waits"
    said = [process.communicate(timeout=300)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0]
    found = [json.loads(text.splitlines()[-1]) for text in said]
    assert [result["dataset_id"] for result in found] == [dataset_id] * 2
    assert sorted(result["reused"] for result in found) == [False, True]
    assert len(list((home / "datasets" / config.name).glob("*/manifest.json"))) == 1
    Dataset.open(found[0]["uri"]).verify()
    measured("two identical ingests at once", redone="nothing", kept="one identity, one manifest, both exit 0")
