"""The loop: seeds, early stopping, moving averages, divergence, and two real ranks."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.vae.training.runs import (
    BASE,
    EPOCHS,
    PER_EPOCH,
    ROWS,
    STEPS,
    CutFeed,
    assert_same_run,
    metrics,
    train,
    weights,
)
from vae.config import override
from vae.data.batches import Batch, InOrder, Share
from vae.data.parquet import Dataset
from vae.errors import ConfigError, DataError, Diverged
from vae.metrics.likelihood import bound_sums
from vae.parts.terms import Inputs
from vae.progress import Progress, listening
from vae.training.hooks import EpochReport, Hooks, TrainingResult
from vae.training.loop import Training


def test_runs_repeat_and_depend_on_the_seed(small: Dataset) -> None:
    """The same configuration gives the same run twice; another seed gives another."""
    first = train(BASE, small)
    torch.manual_seed(123)
    assert_same_run(train(BASE, small), first)
    other = train(override(BASE, {"training.seed": 1}), small)
    assert metrics(other.history) != metrics(first.history)


def test_noise_is_new_at_every_step(small: Dataset) -> None:
    """No two steps share the draw of the latent; nor, with dynamic binarisation, that of the pixels."""
    training = Training(override(BASE, {"training.batch_size": ROWS}), small)
    noises: list[Tensor] = []
    whites: list[float] = []

    def watch(_: object, inputs: tuple[Inputs, Tensor]) -> None:
        if training.model.training:
            noises.append(inputs[1])
            whites.append(inputs[0].x.sum().item())

    training.model.register_forward_pre_hook(watch)
    training.run()
    assert len(noises) == EPOCHS
    assert not any(torch.equal(a, b) for a, b in itertools.combinations(noises, 2))
    assert len(set(whites)) == EPOCHS


def test_training_lowers_the_bound(small: Dataset) -> None:
    """Ten epochs on digits lower the validation bound, and the reports count epochs and steps."""
    result = train(override(BASE, {"training.epochs": 10}), small)
    bounds = [report.validation_negative_elbo for report in result.history]
    assert bounds[-1] < bounds[0] - 3
    assert [(r.epoch, r.step) for r in result.history] == [(e, e * PER_EPOCH) for e in range(1, 11)]
    assert [r.is_last for r in result.history] == [False] * 9 + [True]
    assert all(r.validation_negative_elbo == r.validation_distortion + r.validation_rate for r in result.history)


def test_training_losses_are_those_of_their_epoch(small: Dataset) -> None:
    """At a learning rate of next to nothing every epoch has the same losses, up to its own noise."""
    result = train(override(BASE, {"training.learning_rate": 1e-30}), small)
    first, *others = (report.train_distortion + report.train_rate for report in result.history)
    assert others == pytest.approx([first] * (EPOCHS - 1), rel=0.05)
    assert first == pytest.approx(result.best.validation_negative_elbo, rel=0.05)


def bound_of(result: TrainingResult, dataset: Dataset) -> float:
    return bound_sums(result.model, InOrder(Share.of(dataset, "validation")), 0).bound().negative_elbo


def test_early_stopping_returns_the_best_epoch(small: Dataset) -> None:
    """Patience ends the run at the epoch where the best is so many epochs old, and the best weights come back."""
    changes = {"training.epochs": 60, "training.learning_rate": 0.05, "model.encoder": {"kind": "mlp", "hidden": [64]}}
    config = override(BASE, {**changes, "training.batch_size": ROWS})
    full = train(config, small)
    stopped = train(override(config, {"training.patience_epochs": 3}), small)
    bounds = [report.validation_negative_elbo for report in full.history]
    best = [int(np.argmin(bounds[: epoch + 1])) for epoch in range(60)]
    last = next(epoch for epoch in range(60) if epoch - best[epoch] >= 3)
    assert len(stopped.history) == last + 1 < 60
    assert stopped.history[-1].is_last
    assert [r.validation_negative_elbo for r in stopped.history] == bounds[: last + 1]
    assert stopped.best.epoch == best[last] + 1
    assert bound_of(stopped, small) == pytest.approx(bounds[best[last]], rel=1e-9)
    assert stopped.best.validation_objective == stopped.history[-1].best_objective


def test_best_epoch_is_by_the_bound_that_is_trained_for(small: Dataset) -> None:
    """Of an importance-weighted run the bound of as many draws chooses, which is tighter than that of one draw."""
    changes = {"training.epochs": 40, "training.learning_rate": 0.03, "model.encoder": {"kind": "mlp", "hidden": [64]}}
    result = train(override(BASE, {**changes, "objective.bound": {"kind": "iwae", "samples": 10}}), small)
    tight = [report.validation_negative_bound for report in result.history]
    loose = [report.validation_negative_elbo for report in result.history]
    assert all(a < b for a, b in zip(tight, loose, strict=True))
    # The best so far, after each epoch: somewhere on the way the two bounds disagree, on any machine's arithmetic.
    chosen, by_tight, by_loose = (
        [report.best_epoch for report in result.history],
        [1 + int(np.argmin(tight[: epoch + 1])) for epoch in range(40)],
        [1 + int(np.argmin(loose[: epoch + 1])) for epoch in range(40)],
    )
    assert chosen == by_tight != by_loose
    assert result.best.epoch == by_tight[-1]


def test_moving_average_is_what_is_shipped(small: Dataset) -> None:
    """The weights returned are the average of the weights after each step, by hand, and hold no graph. The first weights
    are soon forgotten: the decay begins at a tenth and rises to what is configured.
    """
    config = override(BASE, {"training.epochs": 1, "training.ema_decay": 0.25})
    training = Training(config, small)
    name = "decoder.out.weight"
    after_steps = [training.model.get_parameter(name).detach().clone()]

    class Watching(CutFeed):
        def epoch(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
            for batch in self.feed.epoch(epoch, first_step):
                yield batch
                after_steps.append(training.model.get_parameter(name).detach().clone())

    training.feed = Watching(training.feed, 0)
    result = training.run()
    expected = after_steps[0]
    decays = [1 / 10, 2 / 11, *[0.25] * (len(after_steps) - 3)]
    for current, decay in zip(after_steps[1:], decays, strict=True):
        expected = decay * expected + (1 - decay) * current
    torch.testing.assert_close(weights(result)[name], expected)
    assert not torch.allclose(expected, after_steps[-1])
    assert training.averaged is not None
    assert not any(parameter.requires_grad for parameter in training.averaged.parameters())
    assert bound_of(result, small) == pytest.approx(result.best.validation_negative_elbo, rel=1e-9)


def test_moving_average_takes_buffers_as_they_are(small: Dataset) -> None:
    """A codebook is an average already: it is validated and shipped as it is after an epoch's last step."""
    changes = {
        "training.epochs": 1,
        "training.ema_decay": 0.9,
        "model.posterior": {"kind": "vector_quantized", "codes": 8, "code_dim": 1},
        "model.prior": {"kind": "uniform_codes"},
    }
    training = Training(override(BASE, changes), small)
    start, codes = training.model.posterior.codebook.codes.clone(), []

    class Watching(Hooks):
        def on_epoch(self, report: EpochReport) -> None:
            codes.append(training.model.posterior.codebook.codes.clone())

    training.hooks = Watching()
    shipped = training.run().model.posterior.codebook.codes
    assert torch.equal(shipped, codes[0])
    assert not torch.allclose(shipped, start)


def test_gradient_clipping_bounds_the_step(small: Dataset) -> None:
    """The gradient's norm is cut to the configured one: a tiny norm leaves other weights than none."""
    clipped = train(override(BASE, {"training.gradient_clip_norm": 1e-9, "training.epochs": 1}), small)
    free = train(override(BASE, {"training.epochs": 1}), small)
    start = Training(BASE, small).model.get_parameter("decoder.out.weight")
    moved = [(weights(run)["decoder.out.weight"] - start).abs().max().item() for run in (clipped, free)]
    assert moved[0] < 0.5 * moved[1]


def test_diverged_names_the_step_and_the_cure(small: Dataset) -> None:
    """A loss that is not a number ends the run with where it was and what to change."""
    training = Training(BASE, small)
    with torch.no_grad():
        training.model.posterior.head.bias.fill_(float("nan"))
    with pytest.raises(Diverged) as error:
        training.run()
    assert "the loss became nan at step 1 (epoch 1, batch 1)" in str(error.value)
    assert "--set training.learning_rate=0.001 --set training.gradient_clip_norm=1" in str(error.value)


def test_diverged_in_the_last_step_is_noticed(small: Dataset) -> None:
    """Weights that the very last step ruined are not shipped, though every training loss was finite."""
    changes = {"training.learning_rate": 1e30, "training.batch_size": ROWS, "training.epochs": 1}
    with pytest.raises(Diverged, match=r"after epoch 1 \(step 1\)"):
        train(override(BASE, changes), small)


def test_warmup_longer_than_the_run_is_refused(small: Dataset) -> None:
    """The schedule is held against the steps that the data gives, before the first of them."""
    changes = {"objective.controller": {"kind": "warmup", "steps": STEPS + 1}}
    with pytest.raises(ConfigError) as error:
        Training(override(BASE, changes), small)
    assert f"objective.controller.steps: the warmup takes {STEPS + 1} steps and the run has {STEPS}" in str(error.value)


def test_dataset_without_validation_is_refused(publish: Callable[..., Dataset], tmp_path: Path) -> None:
    """Without a validation split there is no bound to stop and select by; it is refused before the first step."""
    dataset = publish(tmp_path, np.zeros((64, 1, 8, 8), np.uint8), None, {"train": 64}, 25)
    with pytest.raises(DataError, match=r"has no validation split"):
        Training(BASE, dataset)


def test_unlabelled_data_refuses_a_conditional_model(publish: Callable[..., Dataset], tmp_path: Path) -> None:
    """A class condition on data without classes is refused before the first step."""
    dataset = publish(tmp_path, np.zeros((64, 1, 8, 8), np.uint8), None, {"train": 48, "validation": 16}, 25)
    with pytest.raises(DataError, match="the dataset has no labels"):
        Training(override(BASE, {"model.condition": "class"}), dataset)


def test_progress_counts_examples_of_the_whole_run(small: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """With no time between reports each step is reported: the examples done, those of the run, the epoch and the step."""
    seen: list[Progress] = []
    monkeypatch.setattr("vae.progress.EVERY_SECONDS", -1.0)
    with listening(seen.append):
        train(BASE, small)
    size = BASE.training.batch_size
    steps = {round(one.done / size): one for one in seen if one.part == "training"}
    assert sorted(steps) == [*range(STEPS + 1)]
    assert {(one.total, one.unit) for one in steps.values()} == {(STEPS * size, "examples")}
    assert steps[1].note == f"epoch 1 of {BASE.training.epochs}, step 1"
    assert "nats (best" in steps[STEPS].note


def test_bfloat16_trains_with_densities_in_float32(small: Dataset) -> None:
    """Under autocast the run is finite and near the float32 one, and its weights stay float32."""
    exact = train(BASE, small)
    rounded = train(override(BASE, {"training.precision": "bfloat16"}), small)
    assert {value.dtype for value in weights(rounded).values()} == {torch.float32}
    assert rounded.best.validation_negative_elbo == pytest.approx(exact.best.validation_negative_elbo, rel=0.02)
    assert metrics(rounded.history) != metrics(exact.history)


# --- several ranks --------------------------------------------------------------------------------------------------

SEGMENTS = [*zip(*np.random.default_rng(0).integers([[1], [2]], [[4], [9]], (2, 10)).tolist(), strict=True), (2, 10**6)]
"""Ranks of each part of a run, and the steps after which it is killed."""


@pytest.fixture(scope="module")
def ranks(small: Dataset, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two real processes, joined by gloo, reports of `two_ranks.py`."""
    folder = tmp_path_factory.mktemp("ranks")
    script = Path(__file__).with_name("two_ranks.py")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(script.parents[3])}
    workers = [
        subprocess.Popen(
            [
                sys.executable,
                str(script),
                str(rank),
                str(folder),
                small.uri,
                BASE.model_dump_json(),
                json.dumps(SEGMENTS),
            ],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(3)
    ]
    try:
        errors = [worker.communicate(timeout=200)[1] for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    assert [worker.returncode for worker in workers] == [0, 0, 0], "\n".join(errors)
    return [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in range(3)]


def test_two_ranks_draw_different_noise(ranks: list[dict[str, Any]]) -> None:
    """Two ranks do not share the draw of a step: their batch would count for less than its size."""
    assert ranks[0]["first_noise"] != ranks[1]["first_noise"]


@pytest.mark.parametrize("run", ["resident", "streaming in windows", "resident in windows", "resumed"])
def test_two_ranks_end_equal(ranks: list[dict[str, Any]], run: str) -> None:
    """Both ranks end with the same weights, history and step count, though their shares differ in size."""
    assert ranks[0][run] == ranks[1][run]
    assert [report["step"] for report in ranks[0][run]["history"]] == [PER_EPOCH, 2 * PER_EPOCH, 3 * PER_EPOCH]


def test_two_ranks_resume_exactly(ranks: list[dict[str, Any]]) -> None:
    """Two ranks stopped in mid-epoch and resumed repeat the unbroken run, each rank's own sums included."""
    assert ranks[0]["resumed_from_step"] == ranks[1]["resumed_from_step"] == PER_EPOCH + 3
    assert ranks[0]["resumed"] == ranks[0]["resident"]


def test_two_ranks_refuse_a_foreign_checkpoint_together(ranks: list[dict[str, Any]]) -> None:
    """A folder of another configuration is refused on both ranks: none is left waiting for the other."""
    for rank in ranks[:2]:
        assert "belongs to another run (config.objective.beta: was 1.0, is 4.0)" in rank["refusal"]


def test_both_feeds_walk_one_order(ranks: list[dict[str, Any]], small: Dataset) -> None:
    """A split in windows is the same to the bit, resident or streamed, and with one rank but for rounding."""
    assert ranks[0]["streaming in windows"] == ranks[0]["resident in windows"]
    windows = override(BASE, {"training.feed": "streaming", "training.memory_budget_bytes": 4 * 64 * 60})
    assert_like(ranks[0]["streaming in windows"], train(windows, small))


def test_two_ranks_train_the_model_of_one(ranks: list[dict[str, Any]], small: Dataset) -> None:
    """The same rows with the same draws at each step: the curves differ by the rounding of sums alone."""
    assert_like(ranks[0]["resident"], train(BASE, small))


def test_run_that_changes_its_number_of_ranks(ranks: list[dict[str, Any]], small: Dataset) -> None:
    """Stopped ten times and continued by 1, 2 or 3 ranks, a run sees each row once an epoch and ends as undisturbed."""
    assert_like(ranks[0]["elastic"], train(BASE, small))
    steps: dict[str, dict[int, dict[int, list[int]]]] = {}
    for rank in ranks:
        for step, taken in rank["rows"].items():
            for world_size, number, rows in taken:
                steps.setdefault(step, {}).setdefault(world_size, {})[number] = rows
    epochs: dict[str, list[int]] = {}
    for step, by_size in steps.items():
        batches = {tuple(row for number in sorted(parts) for row in parts[number]) for parts in by_size.values()}
        assert len(batches) == 1, "a step that another number of ranks takes again has the same rows in the same order"
        epochs.setdefault(step.split()[0], []).extend(*batches)
    assert len(steps) == 3 * PER_EPOCH
    for rows in epochs.values():
        assert len(rows) == len(set(rows)) == PER_EPOCH * BASE.training.batch_size


def assert_like(found: dict[str, Any], alone: TrainingResult) -> None:
    """Asserts that two curves agree but for the rounding of sums."""
    for left, right in zip(found["history"], metrics(alone.history), strict=True):
        assert left == pytest.approx(right, rel=1e-5)
