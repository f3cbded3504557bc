"""The training job without a cluster or a server: what it leaves, whether training ends or fails."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines.cli import options
from pipelines.jobs import choosing, evaluate, train
from pipelines.jobs.job import Job
from pipelines.models import tracking
from pipelines.stages.train import TrainRequest
from tests.pipelines.conftest import QUICK, job_of
from vae.config import override
from vae.data.batches import InOrder
from vae.data.parquet import Dataset
from vae.errors import ClusterError, Diverged, RegistryError
from vae.metrics.likelihood import bound_sums
from vae.training.assembly import share_of
from vae.training.distributed import TrainOutcome, TrainSpec
from vae.training.loop import Training, Unfinished, unfinished
from vae.training.state import save_model
from vae.training.verdict import BLOCKING

Listener = Callable[[list[dict[str, Any]]], None]


@pytest.fixture
def job(tmp_path: Path, noise: Dataset) -> Job:
    return job_of(tmp_path, TrainRequest(dataset=noise.uri, name="noise", config=QUICK))


def test_training_leaves_a_report_of_its_model(job: Job, pages: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The result names it; it has the epochs, the pictures on validation data, and what the training held."""

    def alone(spec: TrainSpec, on_report: Listener, on_event: Any) -> TrainOutcome:
        result = Training(spec.config, Dataset.open(spec.dataset)).run()
        save_model(result.model, f"{spec.folder}/model")
        return TrainOutcome(f"{spec.folder}/model", [asdict(r) for r in result.history], asdict(result.best), 0)

    monkeypatch.setattr(train, "train", alone)
    result = train.run(job)
    (page,) = pages
    assert result.report == f"runs:/run-1/{tracking.REPORT}"
    assert "on 30 validation examples" in page
    assert {"reconstructions", "samples", "interpolations", "curves", "latent"} <= {*re.findall(r'id="(\w+)"', page)}
    assert "2 of 2 at most" in page
    assert "CPU-hours" in page


def test_training_that_fails_leaves_its_epochs_and_its_reason(
    job: Job, pages: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those epochs among them that the job heard of last, which a thread sends."""

    def diverge(spec: TrainSpec, on_report: Listener, on_event: Any) -> TrainOutcome:
        result = Training(spec.config, Dataset.open(spec.dataset)).run()
        on_report([asdict(report) for report in result.history])
        raise Diverged("the loss became nan in epoch 3 (step 5)")

    monkeypatch.setattr(train, "train", diverge)
    with pytest.raises(Diverged):
        train.run(job)
    (page,) = pages
    assert "Failed after 2 of 2 epochs: Diverged: the loss became nan in epoch 3 (step 5)" in page
    assert 'id="curves"' in page
    assert "Reconstructions: the run has left no checkpoint." in page


def test_training_that_diverges_leaves_the_model_of_its_best_epoch(
    job: Job, pages: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error has the command that goes on from it; the run can be promoted, and started from, as one that ended."""

    def diverge(spec: TrainSpec, on_report: Listener, on_event: Any) -> TrainOutcome:
        result = Training(spec.config, Dataset.open(spec.dataset)).run()
        save_model(result.model, f"{spec.folder}/model")
        on_report([asdict(report) for report in result.history])
        raise Diverged("the loss became nan at step 5")

    monkeypatch.setattr(train, "train", diverge)
    with pytest.raises(Diverged) as error:
        train.run(job)
    flags = "--set training.learning_rate=0.0001 --set training.gradient_clip_norm=1"
    assert f"betaline train {job.request.dataset} --start-from one {flags}" in str(error.value)
    left = train.earlier_training(job, "one")
    assert [epoch.epoch for epoch in left.history] == [1, 2]
    assert left.config == QUICK
    (finding,) = evaluate.divergence(left)
    assert finding.name in BLOCKING
    assert options.configuration_of(job.home, "one") == left.config.model_dump(mode="json")
    started = train.spec_of(job, QUICK, Dataset.open(job.request.dataset), "one")
    assert started.start == left.model


def test_weights_that_ran_away_are_not_gone_on_from(
    job: Job, pages: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Epochs that were finite and no good leave nothing to start from: the error asks for a new run."""

    def diverge(spec: TrainSpec, on_report: Listener, on_event: Any) -> TrainOutcome:
        result = Training(spec.config, Dataset.open(spec.dataset)).run()
        save_model(result.model, f"{spec.folder}/model")
        on_report([{**asdict(report), "validation_negative_elbo": 1e9} for report in result.history])
        raise Diverged("the loss became nan at step 5")

    monkeypatch.setattr(train, "train", diverge)
    with pytest.raises(Diverged, match="No epoch was any good before: train again under another --run"):
        train.run(job)
    with pytest.raises(RegistryError):
        job.result_of("one")


STEPS = 4
"""Of the training: 2 epochs of 2 steps, with a checkpoint after each."""


@pytest.fixture
def failed(monkeypatch: pytest.MonkeyPatch) -> Callable[[Job, Callable[[Path], None]], None]:
    """Runs a training that fails at its end; before that something may happen to the folder of its checkpoints."""

    def run(job: Job, harm: Callable[[Path], None]) -> None:
        def fail(spec: TrainSpec, on_report: Listener, on_event: Any) -> TrainOutcome:
            config = override(spec.config, {"training.checkpoint_steps": 1, "training.keep_checkpoints": STEPS})
            result = Training(config, Dataset.open(spec.dataset), checkpoints=spec.checkpoints).run()
            on_report([asdict(report) for report in result.history])
            harm(Path(spec.checkpoints))
            raise ClusterError("the last node is gone")

        monkeypatch.setattr(train, "train", fail)
        with pytest.raises(ClusterError):
            train.run(job)

    return run


def flip(folder: Path, *steps: int) -> None:
    """Changes a byte of the weights at some steps."""
    for step in steps:
        file = folder / f"step-{step:08d}" / "best.safetensors"
        file = file if file.exists() else file.with_name("model.safetensors")
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 0xFF
        file.write_bytes(content)


@pytest.mark.parametrize(
    ("torn", "said"),
    [
        ((), f"step {STEPS}, with the weights of epoch 2, the best by then"),
        ((4,), "step 3, with the weights of epoch 1, the best by then"),
        ((2, 3, 4), "step 1, in the first epoch"),
    ],
    ids=["whole", "last torn", "one left"],
)
def test_training_that_fails_shows_its_last_whole_checkpoint(
    torn: tuple[int, ...], said: str, job: Job, pages: list[str], failed: Any
) -> None:
    """Its page has the pictures and the scores of the newest checkpoint that is intact, and says which that is."""
    failed(job, lambda folder: flip(folder, *torn))
    (page,) = pages
    assert "Failed after 2 of 2 epochs: ClusterError: the last node is gone" in page
    assert f"Scores and pictures are of the checkpoint at {said}; on validation data." in page
    assert {"reconstructions", "samples", "traversals", "latent", "curves"} <= {*re.findall(r'id="(\w+)"', page)}
    spec, opened = job.request, Dataset.open(job.request.dataset)
    left = unfinished(spec.config, opened, str(Path(job.folder.uri, "checkpoints")))
    assert left is not None
    bound = bound_sums(left.model, InOrder(share_of(spec.config, opened, "validation")), seed=0).bound()
    assert f"<strong>{bound.negative_elbo:.2f}</strong>" in page


def test_training_that_fails_without_a_whole_checkpoint_says_why(
    job: Job, pages: list[str], failed: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    """It has its epochs as before, and the words of what is damaged once."""
    failed(job, lambda folder: flip(folder, 1, 2, 3, 4))
    (page,) = pages
    assert page.count("none of the 4 checkpoints is intact") == 1
    assert "Reconstructions: no checkpoint can be shown." in page
    assert 'id="curves"' in page
    assert "the report is without a model" in capfd.readouterr().err


def test_weights_that_are_no_numbers_are_told_of_and_not_drawn(
    job: Job, pages: list[str], failed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as a first epoch's that diverges after its last checkpoint was written."""

    def broken(*arguments: Any) -> Unfinished | None:
        found = unfinished(*arguments)
        assert found is not None
        torch.nn.init.constant_(next(found.model.parameters()), math.nan)
        return found

    monkeypatch.setattr(train, "unfinished", broken)
    failed(job, lambda folder: None)
    (page,) = pages
    assert "The weights of the checkpoint at step 4, with the weights of epoch 2" in page
    assert "are not finite numbers." in page
    assert 'id="reconstructions"' not in page


def test_training_without_a_configuration_takes_what_suits_the_data(
    tmp_path: Path, noise: Dataset, pages: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The choice is in the result and the run's tag, and pinned: a second attempt takes the same, and chooses nothing."""
    tags: list[dict[str, str]] = []

    def alone(spec: TrainSpec, on_report: Listener, on_event: Any) -> TrainOutcome:
        result = Training(spec.config, Dataset.open(spec.dataset)).run()
        save_model(result.model, f"{spec.folder}/model")
        return TrainOutcome(f"{spec.folder}/model", [asdict(r) for r in result.history], asdict(result.best), 0)

    def open_run(*arguments: Any, **named: Any) -> str:
        tags.append(named["tags"])
        return "run-1"

    monkeypatch.setattr(train, "train", alone)
    monkeypatch.setattr(tracking, "open_run", open_run)
    changes = {"training.epochs": 1, "training.patience_epochs": None}
    job = job_of(tmp_path, TrainRequest(dataset=noise.uri, name="noise", changes=changes))
    result = train.run(job)
    chosen = result.chosen
    assert (chosen.preset, chosen.changes["training.batch_size"]) == ("vae", 16)
    assert result.config.model.likelihood.kind == "discretized_logistic", "noise has every shade"
    assert result.config.training.epochs == 1
    assert tags[0][choosing.CHOSEN] == chosen.sentence
    monkeypatch.setattr(choosing, "suited", lambda facts: pytest.fail("a second attempt chooses again"))
    assert train.run(job).config == result.config
