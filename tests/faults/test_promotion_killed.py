"""A promotion that is killed where it hurts: after the version is registered, and before the alias moves."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipelines.data.ingest import IngestResult
from pipelines.flows.promote import promote
from pipelines.flows.train import train
from pipelines.models import packaging, registry
from pipelines.services import Services
from pipelines.stages.promote import PromoteRequest
from pipelines.stages.train import TrainRequest
from tests.faults.table import Measured
from tests.pipelines.conftest import register, run_flow
from tests.servers import ROOT
from vae.config import RunConfig
from vae.data.schema import ExampleSpec
from vae.model import VAE

pytestmark = [pytest.mark.servers("faults"), pytest.mark.slow, pytest.mark.ci]
# The evaluation's job is killed when it has registered, which the flow survives; and the flow when it has decided.
PROMOTER = """
import os, signal, sys
import psutil
from pipelines.flows import job_events
from pipelines.flows.promote import promote
from pipelines.models import registry
from pipelines.stages.promote import PromoteRequest

def kill_the_job(kind, event):
    if event.kind == "progress" and event.fields["part"].startswith("loading it from the registry") and not killed:
        words = ["evaluate", "--spec", spec]
        job = next(p for p in psutil.process_iter(["cmdline"]) if words == (p.info["cmdline"] or [])[-3:])
        job.kill()
        killed.append(job.pid)
        print("killed the job", flush=True)

killed, spec = [], sys.argv[3]
registry.move_alias = lambda *arguments: os.kill(os.getpid(), signal.SIGKILL)
with job_events.session(kill_the_job):
    promote(PromoteRequest.model_validate_json(sys.argv[1]), run=sys.argv[2])
"""


@pytest.fixture
def champion(services: Services, digits: IngestResult, tiny: RunConfig, tmp_path: Path) -> registry.Version:
    """A model that was never trained, and that nothing has beaten yet."""
    model = VAE(tiny.model, ExampleSpec((1, 8, 8)), seed=0).eval()
    score = registry.Score(1e6, "nll_bernoulli_dynamic_is8", digits.dataset_id)
    version = register(model, np.zeros((1, 1, 8, 8), np.float32), "succeeded", score, tmp_path)
    registry.move_alias(version, "champion", "for a test")
    return version


@pytest.mark.timeout(600)
def test_killed_promotion_leaves_the_alias_and_adds_no_second_version(
    champion: registry.Version, digits: IngestResult, tiny: RunConfig, home: Path, measured: Measured
) -> None:
    """SIGKILL of the job after it has registered, and of the flow before it moves the alias: the old champion loads, and
    the same promotion goes on from there with one new version.
    """
    run_flow(train, TrainRequest(dataset="digits", name="succeeded", config=tiny), run="successor")
    request = PromoteRequest(run="successor", name="succeeded", num_samples=8)
    spec = home / "runs" / "succession" / "spec.json"
    promoter = subprocess.run(
        [sys.executable, "-c", PROMOTER, request.model_dump_json(), "succession", spec],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert promoter.returncode == -signal.SIGKILL, promoter.stderr
    assert promoter.stdout == "killed the job\n"
    assert aliases() == {"1": ("champion",), "2": ()}
    with packaging.fresh_process() as check_loads:
        check_loads("models:/succeeded@champion")
    again = run_flow(promote, request, run="succession")
    assert again.promoted, again.reason
    assert aliases() == {"1": (), "2": ("champion",)}
    measured(
        "killed between registering and moving the alias",
        redone="the evaluation, whose job was killed as well",
        kept="the old champion loads; the same promotion moves the alias, and there is one new version",
    )


def aliases() -> dict[str, tuple[str, ...]]:
    """Of each version."""
    return {version.version: version.aliases for version in registry.versions("succeeded")}
