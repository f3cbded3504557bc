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

STEPS = 4
"""Steps of the training: 2 epochs of 2 steps, with a checkpoint after each where checkpoints are kept."""
ALL_CHECKPOINTS = {"training.checkpoint_steps": 1, "training.keep_checkpoints": STEPS}
PICTURES = {"reconstructions", "samples", "traversals", "latent", "curves"}

Trainer = Callable[..., None]


@pytest.fixture
def job(tmp_path: Path, noise: Dataset) -> Job[TrainRequest]:
    return job_of(tmp_path, TrainRequest(dataset=noise.uri, name="noise", config=QUICK))


@pytest.fixture
def trains(monkeypatch: pytest.MonkeyPatch) -> Trainer:
    """Replaces Ray Train by a training in this process."""

    def replace(
        error: Exception | None = None, *, keeps_model: bool = True, harm: Any = None, **epoch_changes: float
    ) -> None:
        """Makes the training raise an error at its end, after harm to the folder of its checkpoints."""

        def train_here(spec: TrainSpec, on_report: Any, on_event: Any) -> TrainOutcome:
            config = override(spec.config, ALL_CHECKPOINTS) if harm else spec.config
            checkpoints = spec.checkpoints if harm else None
            result = Training(config, Dataset.open(spec.dataset), checkpoints=checkpoints).run()
            history = [{**asdict(epoch), **epoch_changes} for epoch in result.history]
            if keeps_model:
                save_model(result.model, f"{spec.folder}/model")
            on_report(history)
            if harm:
                harm(Path(spec.checkpoints))
            if error:
                raise error
            return TrainOutcome(f"{spec.folder}/model", history, asdict(result.best), 0)

        monkeypatch.setattr(train, "train", train_here)

    return replace


def figures_of(page: str) -> set[str]:
    """The ids of a page's figures."""
    return {*re.findall(r'id="(\w+)"', page)}


def test_training_leaves_a_report_of_its_model(job: Job, pages: list[str], trains: Trainer) -> None:
    """The result names it; it has the epochs, the pictures on validation data, and the cost of the training."""
    trains()
    result = train.run(job)
    (page,) = pages
    assert result.report == f"runs:/run-1/{tracking.REPORT}"
    assert all(words in page for words in ("on 30 validation examples", "2 of 2 at most", "CPU-hours"))
    assert {"reconstructions", "samples", "interpolations", "curves", "latent"} <= figures_of(page)


def test_training_that_fails_leaves_its_epochs_and_its_reason(job: Job, pages: list[str], trains: Trainer) -> None:
    """The last epochs that the job received, which a thread sends to MLflow, are among them."""
    trains(Diverged("the loss became nan in epoch 3 (step 5)"), keeps_model=False)
    with pytest.raises(Diverged):
        train.run(job)
    (page,) = pages
    assert "Failed after 2 of 2 epochs: Diverged: the loss became nan in epoch 3 (step 5)" in page
    assert "curves" in figures_of(page)
    assert "Reconstructions: the run has left no checkpoint." in page


@pytest.mark.usefixtures("pages")
def test_training_that_diverges_leaves_the_model_of_its_best_epoch(job: Job, trains: Trainer) -> None:
    """The error has the command that trains on from it; the run can be promoted and started from like one that ended."""
    trains(Diverged("the loss became nan at step 5"))
    with pytest.raises(Diverged) as error:
        train.run(job)
    flags = "--set training.learning_rate=0.0001 --set training.gradient_clip_norm=1"
    assert f"betaline train {job.request.dataset} --from one {flags}" in str(error.value)
    left = train.earlier_training(job, "one")
    assert [epoch.epoch for epoch in left.history] == [1, 2]
    assert left.config == QUICK
    (finding,) = evaluate.divergence(left)
    assert finding.name in BLOCKING
    assert options.configuration_of(job.home, "one") == left.config.model_dump(mode="json")
    job.request = job.request.model_copy(update={"start_from": "one"})
    assert train.start_of(job) == left.model


@pytest.mark.usefixtures("pages")
def test_weights_that_ran_away_are_not_trained_on(job: Job, trains: Trainer) -> None:
    """Epochs that were finite and no good leave nothing to start from: the error asks for a new run."""
    trains(Diverged("the loss became nan at step 5"), validation_negative_elbo=1e9)
    with pytest.raises(Diverged, match="No epoch was any good before: train again under another --run"):
        train.run(job)
    with pytest.raises(RegistryError):
        job.result_of("one")


def flip(folder: Path, *steps: int) -> None:
    """Changes a byte of the weights at some steps."""
    for step in steps:
        file = folder / f"step-{step:08d}" / "best.safetensors"
        file = file if file.exists() else file.with_name("model.safetensors")
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 0xFF
        file.write_bytes(content)


@pytest.fixture
def failed(trains: Trainer, pages: list[str]) -> Callable[..., str]:
    """Runs a training that fails at its end with some torn checkpoints; returns the page of its report."""

    def run(job: Job, *torn: int) -> str:
        trains(ClusterError("the last node is gone"), keeps_model=False, harm=lambda folder: flip(folder, *torn))
        with pytest.raises(ClusterError):
            train.run(job)
        return pages[0]

    return run


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
    torn: tuple[int, ...], said: str, job: Job, failed: Callable[..., str]
) -> None:
    """Its page has the pictures and the scores of the newest checkpoint that is intact, and says which that is."""
    page = failed(job, *torn)
    assert "Failed after 2 of 2 epochs: ClusterError: the last node is gone" in page
    assert f"Scores and pictures are of the checkpoint at {said}; on validation data." in page
    assert figures_of(page) >= PICTURES
    config, dataset = job.request.config, Dataset.open(job.request.dataset)
    left = unfinished(config, dataset, str(Path(job.folder.uri, "checkpoints")))
    assert left is not None
    bound = bound_sums(left.model, InOrder(share_of(config, dataset, "validation")), seed=0).bound()
    assert f"<strong>{bound.negative_elbo:.2f}</strong>" in page


def test_training_that_fails_without_a_whole_checkpoint_says_why(
    job: Job, failed: Callable[..., str], capfd: pytest.CaptureFixture[str]
) -> None:
    """It has its epochs as before, and names the damage once."""
    page = failed(job, 1, 2, 3, 4)
    assert page.count("none of the 4 checkpoints is intact") == 1
    assert "Reconstructions: no checkpoint can be shown." in page
    assert "curves" in figures_of(page)
    assert "the report is without a model" in capfd.readouterr().err


def test_weights_that_are_no_numbers_are_named_and_not_drawn(
    job: Job, failed: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """For example the weights of a first epoch that diverges after its last checkpoint was written."""

    def broken(*arguments: Any) -> Unfinished | None:
        checkpoint = unfinished(*arguments)
        assert checkpoint is not None
        torch.nn.init.constant_(next(checkpoint.model.parameters()), math.nan)
        return checkpoint

    monkeypatch.setattr(train, "unfinished", broken)
    page = failed(job)
    assert "The weights of the checkpoint at step 4, with the weights of epoch 2" in page
    assert "are not finite numbers." in page
    assert "reconstructions" not in figures_of(page)


@pytest.mark.usefixtures("pages")
def test_training_without_a_configuration_takes_one_that_suits_the_data(
    tmp_path: Path, noise: Dataset, trains: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The choice is in the result and the run's tag, and pinned: a second attempt takes the same, and chooses nothing."""
    tags: list[dict[str, str]] = []
    trains()
    monkeypatch.setattr(tracking, "open_run", lambda *_, **named: tags.append(named["tags"]) or "run-1")
    changes = {"training.epochs": 1, "training.patience_epochs": None}
    job = job_of(tmp_path, TrainRequest(dataset=noise.uri, name="noise", changes=changes))
    result = train.run(job)
    assert result.chosen is not None
    assert (result.chosen.preset, result.chosen.changes["training.batch_size"]) == ("vae", 16)
    assert result.config.model.likelihood.kind == "discretized_logistic", "noise has every shade"
    assert result.config.training.epochs == 1
    assert tags[0][choosing.CHOSEN] == result.chosen.sentence
    monkeypatch.setattr(choosing, "suited", lambda facts: pytest.fail("a second attempt chooses again"))
    assert train.run(job).config == result.config
