"""The flows, for real: a Prefect server, an MLflow server, a Ray cluster."""

from __future__ import annotations

import importlib
import io
import json
import logging
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from mlflow import MlflowClient
from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey, ArtifactFilterType
from prefect.context import refresh_global_settings_context
from rich.console import Console

from pipelines.cli.command import app
from pipelines.cli.live import watched
from pipelines.cluster.runs import Event
from pipelines.data.ingest import IngestResult
from pipelines.data.sources import IngestConfig
from pipelines.flows import ingest as ingest_flow
from pipelines.flows import promote as promote_flow
from pipelines.flows import ray_job
from pipelines.flows import tune as tune_flow
from pipelines.flows.pipeline import pipeline
from pipelines.flows.promote import promote
from pipelines.flows.train import train
from pipelines.models import registry, tracking
from pipelines.operating import deployments
from pipelines.services import Services
from pipelines.stages.pipeline import PipelineRequest, PipelineResult
from pipelines.stages.promote import PendingPromotion, PromoteRequest
from pipelines.stages.train import TrainRequest, TrainResult
from pipelines.stages.tune import TuneRequest, TuneResult
from pipelines.stages.yaml_files import write_yaml
from tests.pipelines.conftest import run_flow
from tuning.frontier import Trial
from tuning.space import SearchConfig
from vae.config import RunConfig, override
from vae.errors import ClusterError, ConfigError, DataError, Diverged
from vae.inference.answering import TASKS

pytestmark = pytest.mark.servers("flows")

ROOT = Path(__file__).parents[3]


class Timed(io.StringIO):
    """A file that keeps each line with the time at which it was written."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[float, str]] = []

    def write(self, text: str) -> int:
        self.lines += [(time.monotonic(), line) for line in text.splitlines() if line]
        return super().write(text)


@pytest.fixture(scope="module")
def printed() -> Timed:
    """What a whole pipeline prints where there is no terminal."""
    return Timed()


@pytest.fixture(scope="module")
def champion(services: Services, digits: IngestResult, small: PipelineRequest, printed: Timed) -> dict[str, Any]:
    """What a whole pipeline came to."""
    with watched("betaline run", Console(file=printed)) as view:
        return run_flow(pipeline, small, listener=view.on_event)


def test_pipeline_is_never_silent(champion: PipelineResult, printed: Timed) -> None:
    """Every stage is announced, and between two lines are never more than 10 s."""
    stages = [line.split()[2] for _, line in printed.lines if "done in" not in line]
    assert [*dict.fromkeys(stages)] == ["ingest:", "tune:", "train:", "promote:"]
    assert max(later[0] - earlier[0] for earlier, later in pairwise(printed.lines)) <= 10


def test_pipeline_leaves_a_full_progress_artifact_for_each_stage(champion: PipelineResult) -> None:
    """Prefect has one for each job, by the stage's name, which ends at 100 and says how long the stage took."""
    identities = [champion.search.run, champion.training.run, champion.search.run.replace("tune", "promote")]
    with get_client(sync_client=True) as client:
        wanted = ArtifactFilter(type=ArtifactFilterType(any_=["progress"]))
        artifacts = {one.description.split(": ")[0]: one for one in client.read_artifacts(artifact_filter=wanted)}
    for stage, identity in zip(("tune", "train", "promote"), identities, strict=True):
        artifact = artifacts[f"{stage} {identity}"]
        assert artifact.key == f"{stage}-progress"
        assert artifact.data == 100
        assert artifact.flow_run_id is not None
        assert ": done in " in artifact.description


def test_pipeline_ends_in_a_champion(champion: PipelineResult, digits: IngestResult) -> None:
    """Ingest finds the dataset, the search tries the whole grid, two workers train, and the alias moves."""
    assert champion.dataset.dataset_id == digits.dataset_id
    assert champion.dataset.reused
    assert len(champion.search.trials) == 4
    assert champion.training.config.scaling.num_workers == 2
    assert len(champion.training.history) == 3
    assert champion.promotion.promoted
    found = registry.find("digits", "champion")
    assert found is not None
    assert found.version == champion.promotion.version.version
    assert found.score is not None
    assert found.score.name == "nll_bernoulli_dynamic_is8"


def test_pipeline_logs_trials_curves_and_report(champion: PipelineResult) -> None:
    """MLflow holds a parent run with a child for each trial, one point per epoch of each curve, and the report."""
    client = MlflowClient()
    search_run = client.get_run(champion.search.mlflow_run_id)
    children = client.search_runs(
        [search_run.info.experiment_id], f"tags.`mlflow.parentRunId` = '{search_run.info.run_id}'"
    )
    assert len(children) == 4
    assert {run.info.status for run in children} == {"FINISHED"}
    assert all("negative_bound" in run.data.metrics for run in children)
    run_id = champion.training.mlflow_run_id
    curve = client.get_metric_history(run_id, "validation_negative_elbo")
    assert [metric.step for metric in curve] == [1, 2, 3]
    assert [metric.value for metric in curve] == [epoch.validation_negative_elbo for epoch in champion.training.history]
    artifacts = {file.path for file in client.list_artifacts(run_id, "report")}
    assert {"report/report.html", "report/reconstructions.png", "report/samples.png"} <= artifacts


@pytest.fixture(scope="module")
def again(champion: PipelineResult) -> tuple[TrainRequest, TrainResult]:
    """The champion's own configuration trained once more, as `champion-again`: what was asked, and what it came to."""
    request = TrainRequest(dataset="digits", name="digits", config=champion.training.config)
    return request, run_flow(train, request, run="champion-again")


def test_training_and_search_leave_reports_that_prefect_links(champion: PipelineResult, again: Any) -> None:
    """Both runs of MLflow have a page, and an artifact of Prefect leads to each."""
    key = ArtifactFilter(key=ArtifactFilterKey(any_=["report"]))
    with get_client(sync_client=True) as client:
        linked = " ".join(str(artifact.data) for artifact in client.read_artifacts(artifact_filter=key))
    for run_id in (champion.search.mlflow_run_id, again[1].mlflow_run_id):
        page = Path(MlflowClient().download_artifacts(run_id, tracking.REPORT)).read_text()
        assert "Reconstructions" in page
        assert f"/runs/{run_id}/artifacts/report/report.html" in linked


@pytest.fixture
def command(services: Services, home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """The `betaline` command in this process, which gets its environment back."""
    monkeypatch.setenv("BETALINE_HOME", str(home))
    monkeypatch.setenv("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")

    def run(*arguments: str) -> None:
        refresh_global_settings_context()
        app([*arguments, "--home", str(home)], standalone_mode=False)

    return run


def test_command_says_where_the_report_is(
    again: Any, command: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`betaline train`, of a run that has ended already: for a person, and in the JSON."""
    request, trained = again
    (tmp_path / "train.yaml").write_text(write_yaml(request.config.model_dump(mode="json")))
    command("train", "digits", "--config", str(tmp_path / "train.yaml"), "--run", "champion-again", "--json")
    said = capsys.readouterr()
    url = json.loads(said.out.splitlines()[-1])["report_url"]
    assert url == trained.report_url
    assert url.endswith(f"/runs/{trained.mlflow_run_id}/artifacts/report/report.html")
    assert f"Report and plots: {url}" in said.err


def test_failed_promotion_leads_to_its_report(
    again: Any, command: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    """The command prints where it is, Prefect links it, and it lies beside the report of the run, which stays."""
    with pytest.raises(DataError):
        command("promote", "champion-again", "digits", "--metrics", "disentanglement")
    (url,) = [line for line in capsys.readouterr().out.splitlines() if "Report and plots" in line]
    run_id = again[1].mlflow_run_id
    assert url.endswith(f"/runs/{run_id}/artifacts/failed-promotion/report.html")
    with get_client(sync_client=True) as client:
        key = ArtifactFilter(key=ArtifactFilterKey(any_=["report"]))
        assert any(url.split()[-1] in str(artifact.data) for artifact in client.read_artifacts(artifact_filter=key))
    failed = Path(MlflowClient().download_artifacts(run_id, "failed-promotion/report.html")).read_text()
    assert "Failed promotion" in failed
    assert "Reconstructions" in failed
    assert "Failed" not in Path(MlflowClient().download_artifacts(run_id, tracking.REPORT)).read_text()


@pytest.mark.slow
@pytest.mark.ci
def test_diverged_training_leaves_a_report(digits: IngestResult, tiny: RunConfig) -> None:
    """With what it said and the epochs before, in MLflow, and linked from Prefect."""
    told: list[Event] = []
    config = override(tiny, {"training.learning_rate": 1e30, "training.epochs": 50})
    with pytest.raises(Diverged):
        run_flow(
            train,
            TrainRequest(dataset="digits", name="digits", config=config),
            run="diverging",
            listener=lambda kind, event: told.append(event),
        )
    (url,) = [event.fields["url"] for event in told if event.kind == "report"]
    run_id = tracking.open_run("digits", "diverging")
    tracking.close_run(run_id, "FAILED")
    assert url.endswith(f"/runs/{run_id}/artifacts/report/report.html")
    page = Path(MlflowClient().download_artifacts(run_id, tracking.REPORT)).read_text()
    assert "Failed training" in page
    assert "Diverged: the loss became" in page


def test_candidate_that_is_no_better_does_not_move_the_alias(champion: PipelineResult, again: Any) -> None:
    """The same configuration scores the same, so the alias stays, and the reason says so."""
    promoted = run_flow(promote, PromoteRequest(run="champion-again", name="digits", num_samples=8))
    nats = champion.promotion.score.nats
    assert not promoted.promoted
    assert promoted.reason == (
        f"nll_bernoulli_dynamic_is8 {nats:.3f} nats is no better than the champion's {nats:.3f}: +0.000 nats per example, "
        "99% interval +0.000 to +0.000, on all 180 test rows"
    )
    found = registry.find("digits", "champion")
    assert found is not None
    assert found.version == champion.promotion.version.version


PROOF = """
import json, numpy as np
again = model.predict(code["mean"], params={"task": "decode"})
same = model.predict(None, params={"task": "generate", "n": 16, "seed": 1})
print(json.dumps({
    "shapes": [list(a.shape) for a in (new, code["std"], back, images, nats, steps, carried.examples, threes)],
    "reconstruct_is_decoded_mean": bool(np.array_equal(back, again)),
    "repeats": bool(np.array_equal(new, same)),
    "code": __import__("vae").__file__,
}))
try:
    model.predict(new, params={"task": "generat"})
except Exception as error:
    print(error)
"""


def test_registered_model_does_elsewhere_what_the_readme_says(champion: PipelineResult, tmp_path: Path) -> None:
    """A process in an empty folder, with pickle refused, pulls the champion and runs the Python of both pages."""
    pages = [(ROOT / page).read_text() for page in ("README.md", "docs/use.md")]
    blocks = [block for page in pages for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL)]
    program = [block for block in blocks if not block.startswith("import vae\n")]  # trains instead
    assert len(program) == 4
    done = subprocess.run(
        [sys.executable, "-c", "\n".join([*program, PROOF])],
        cwd=tmp_path,
        env={**os.environ, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    answer, refusal = done.stdout.strip().splitlines()
    found = json.loads(answer)
    image = [1, 8, 8]
    paths = [[8, 9, *image], [16, 3, 5, *image]]
    assert found["shapes"] == [[16, *image], [16, 3], [16, *image], [16, *image], [16], *paths, [16, *image]]
    assert found["reconstruct_is_decoded_mean"]
    assert found["repeats"]
    assert str(ROOT) not in found["code"], "the model brings its own code"
    assert refusal == f"unknown task 'generat' (did you mean `generate`?): this model knows {', '.join(TASKS)}"


def test_finished_run_is_not_trained_twice(again: tuple[TrainRequest, TrainResult]) -> None:
    """The same run name returns the finished result without another job, and another configuration is refused."""
    request, first = again
    events: list[Event] = []
    second = run_flow(train, request, run="champion-again", listener=lambda kind, event: events.append(event))
    assert second == first
    assert [event.kind for event in events if event.kind != "progress"] == ["report"], (
        "where it is, and nothing of a job"
    )
    other = request.model_copy(update={"config": override(request.config, {"training.seed": 1})})
    with pytest.raises(ConfigError, match="champion-again"):
        run_flow(train, other, run="champion-again")


def test_more_workers_than_the_cluster_has_are_refused(services: Services, digits: IngestResult) -> None:
    """The message names what was asked for and what there is, within seconds and before anything is submitted."""
    config = override(RunConfig(), {"scaling.num_workers": 64})
    with pytest.raises(ClusterError) as refused:
        run_flow(train, TrainRequest(dataset="digits", name="digits", config=config))
    cpus = psutil.cpu_count()
    assert str(refused.value) == (
        f"asked for 64 workers of 1 CPU, the cluster has {cpus} CPU; ask for at most {cpus}, or add nodes"
    )


def test_unknown_dataset_is_refused_with_the_nearest(services: Services, digits: IngestResult) -> None:
    """What the job refuses reaches the caller as the same error, without a traceback."""
    with pytest.raises(DataError, match="did you mean `digits`"):
        run_flow(train, TrainRequest(dataset="digit", name="digits"))


def test_search_promotes_its_best(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search that names an alias promotes its best model, as a training does; its job does not learn of the alias."""
    best = Trial("a", {}, "finished", 1)
    result = TuneResult(
        run="search", mlflow_run_id="", dataset="", trials=(best,), pareto=(), best=best, config=RunConfig(),
        search=SearchConfig(), select="bound", search_seconds=1.0, verdict="sound", findings=(), report=None,
    )  # fmt: skip
    pending = PendingPromotion(reason="a person decides", flow_run="red-owl")
    asked: list[Any] = []
    monkeypatch.setattr(tune_flow, "ray_job", lambda kind, request, *_: asked.append(request) or result)
    monkeypatch.setattr(tune_flow, "linked_report", lambda kind, folder: nullcontext(SimpleNamespace(url=None)))
    monkeypatch.setattr(tune_flow, "create_table_artifact", lambda **_: None)
    monkeypatch.setattr(promote_flow, "hand_on", lambda request, run: asked.append((request, run)) or pending)
    request = TuneRequest(dataset="digits", name="digits", alias="champion", approve=True)
    assert tune_flow.tune.fn(request, run="search").promotion == pending
    job, (promotion, run) = asked
    assert not {"alias", "approve"} & job.keys()
    expected = PromoteRequest(run="search", name="digits", alias="champion", approve=True)
    assert (promotion, run) == (expected, "search-promote")


def test_every_flow_is_deployed_and_watched_for_heartbeats() -> None:
    """A flow that is missing in `FLOWS` is shown as running for ever once its process has died."""
    rooms = [
        importlib.import_module(f"pipelines.flows.{file.stem}") for file in (ROOT / "pipelines/flows").glob("*.py")
    ]
    flows = {one for room in rooms for one in vars(room).values() if isinstance(one, Flow)}
    assert set(deployments.FLOWS.values()) == flows


def test_cancelled_watch_stops_its_ingest(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The ingest of a watched source runs under a name that a cancelled flow run stops."""
    stopped: list[str] = []
    runs: list[str] = []
    monkeypatch.setenv("PREFECT__RUNTIME__FLOW_RUN__ID", "7")
    monkeypatch.setenv("BETALINE_HOME", str(tmp_path))
    monkeypatch.setattr(ray_job, "stop_job", lambda identity: stopped.append(identity))
    monkeypatch.setattr(ingest_flow, "get_run_logger", lambda: logging.getLogger())
    monkeypatch.setattr(ingest_flow.Watch, "look", lambda self: ("ready", "seen"))
    monkeypatch.setattr(ingest_flow, "ingest", lambda request, run=None: runs.append(run))
    watched = ingest_flow.watch.fn(IngestConfig(source=str(tmp_path), name="scans"))
    ray_job.stop_jobs(ingest_flow.watch, SimpleNamespace(id="7", parameters={}), None)  # pyright: ignore
    assert watched.step == "ingested"
    assert runs[0] in stopped


def test_own_dataset_travels_to_the_cluster(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module that only this process can import is read by the job; one that it cannot import is named."""
    code = "import numpy as np\nplain = [(np.full((4, 4), number, np.uint8), number % 3) for number in range(60)]\n"
    (tmp_path / "travelling_cells.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    result = run_flow(ingest_flow.ingest, IngestConfig(source="travelling_cells:plain", name="travelled"))
    assert (sum(result.rows.values()), result.classes) == (60, ("0", "1", "2"))
    with pytest.raises(DataError, match="No module named 'absent_cells'; install the package"):
        run_flow(ingest_flow.ingest, IngestConfig(source="absent_cells:plain", name="absent"))
