"""Stacks of models: each lane is the run that its configuration says, whoever trains beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.vae.training.runs import BASE, CutFeed, Killed, assert_same_run, metrics
from vae.config import RunConfig, override
from vae.config.presets import preset
from vae.data.batches import Batch
from vae.data.parquet import Dataset
from vae.errors import CheckpointError, ConfigError, Diverged
from vae.training.assembly import build_model
from vae.training.hooks import TrainingResult
from vae.training.lanes import LaneTraining, bytes_of_a_lane, check_lanes
from vae.training.loop import Training
from vae.training.stack import Stack

BETAS = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
EPOCHS = 15  # of 7 steps
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "averaged, clipped, decayed, conditional": {
        "training.ema_decay": 0.9,
        "training.gradient_clip_norm": 1.0,
        "training.weight_decay": 0.1,
        "training.learning_rate_schedule": "cosine",
        "training.warmup_steps": 3,
        "model.condition": "class",
        "objective.controller": {"kind": "warmup", "steps": 10},
    },
    "conv, film": {
        "training.epochs": 5,
        "model.encoder": {"kind": "conv", "channels": [4], "hidden": 8, "residual_blocks": 1},
        "model.likelihood": {"kind": "gaussian"},
        "model.condition": "class",
        "model.condition_by": "film",
    },
    "controlled, corrupted, total correlation": {
        "objective.controller": {"kind": "geco", "distortion": 20.0},
        "objective.corruption": {"kind": "salt_and_pepper"},
        "objective.regularizers": [{"kind": "total_correlation", "weight": 2.0}],
    },
}


SHORT = {"training.epochs": 2}


def lanes(betas: Sequence[float] = BETAS, **changes: Any) -> list[RunConfig]:
    """Each with a seed and a learning rate of its own, and all with the same batches."""
    base = override(BASE, {"training.epochs": EPOCHS, "training.data_seed": 5, **changes})
    fields = ("objective.beta", "training.seed", "training.learning_rate")
    return [
        override(base, dict(zip(fields, (beta, number, 2e-3 if number % 2 else 1e-3), strict=True)))
        for number, beta in enumerate(betas)
    ]


def finished(results: Sequence[TrainingResult | Diverged]) -> list[TrainingResult]:
    """All of them, none of which has diverged."""
    found = [result for result in results if isinstance(result, TrainingResult)]
    assert len(found) == len(results)
    return found


def curve(result: TrainingResult) -> list[float]:
    return [report.train_distortion + report.train_rate for report in result.history]


def test_lane_in_bfloat16_is_the_run_that_its_configuration_says(small: Dataset) -> None:
    """As nearly as that precision has it."""
    configs = lanes((1.0, 4.0), **{"training.precision": "bfloat16", "training.epochs": 5})
    for config, found in zip(configs, finished(LaneTraining(configs, small).run()), strict=True):
        assert curve(found) == pytest.approx(curve(Training(config, small).run()), rel=1e-2)


@pytest.mark.parametrize("variant", VARIANTS)
def test_lane_is_the_run_that_its_configuration_says(variant: str, small: Dataset) -> None:
    """Over 105 steps, or 35 of convolutions: in a stack of eight, in a stack of its own, and in an ordinary training."""
    configs = lanes(**VARIANTS[variant])
    together = finished(LaneTraining(configs, small).run())
    for number in (0, 3, 7):
        alone = finished(LaneTraining([configs[number]], small).run())[0]
        ordinary = Training(configs[number], small).run()
        assert together[number].history[-1].step == 7 * configs[0].training.epochs
        assert curve(together[number]) == pytest.approx(curve(alone), rel=1e-5)
        assert curve(together[number]) == pytest.approx(curve(ordinary), rel=1e-5)
        bounds = [
            [report.validation_negative_bound for report in found.history] for found in (together[number], ordinary)
        ]
        assert bounds[0] == pytest.approx(bounds[1], rel=1e-5)
        assert together[number].best.epoch == ordinary.best.epoch


def test_gradients_below_the_clipping_norm_are_left_alone(small: Dataset) -> None:
    """A norm that no gradient reaches changes nothing, in any lane."""
    clipped, free = (
        finished(LaneTraining(lanes((1.0, 4.0), **{"training.gradient_clip_norm": norm, **SHORT}), small).run())
        for norm in (1e6, None)
    )
    for one, other in zip(clipped, free, strict=True):
        assert_same_run(one, other)


def test_lanes_differ_and_share_their_batches(small: Dataset) -> None:
    """A larger β gives a smaller rate; two lanes that are the same in all come to the same bytes."""
    twins = lanes((1.0, 4.0))
    first, second, third = finished(LaneTraining([*twins, twins[0]], small).run())
    assert second.history[-1].validation_rate < first.history[-1].validation_rate
    assert_same_run(third, first)


def test_lane_leaves_the_stack_as_an_ordinary_model(small: Dataset) -> None:
    """Bit for bit, from the start as from any step."""
    models = [build_model(config, small) for config in lanes((1.0, 2.0, 4.0))]
    stack = Stack(models)
    for number, model in enumerate(models):
        for name, value in model.state_dict().items():
            assert torch.equal(stack.lane(number)[name], value)
    stack.keep([2, 0])
    assert len(stack) == 2
    assert torch.equal(stack.lane(0)["decoder.out.weight"], models[2].state_dict()["decoder.out.weight"])


def test_moving_averages_take_buffers_as_they_are(small: Dataset) -> None:
    """What a step moves in place is validated and shipped as it is after an epoch's last step, in every lane."""
    changes = {
        "training.ema_decay": 0.9,
        "training.epochs": 1,
        "model.likelihood": {"kind": "gaussian", "sigma": "fixed"},
    }
    training = LaneTraining(lanes((1.0, 2.0), **changes), small)
    scale_K = training.stack.buffers["likelihood.family.log_scale.raw"]

    class Moving(CutFeed):
        def epoch(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
            for batch in self.feed.epoch(epoch, first_step):
                yield batch
                scale_K.add_(torch.tensor([0.01, 0.02]))

    start, training.feed = scale_K.clone(), Moving(training.feed, 0)
    for number, result in enumerate(finished(training.run())):
        shipped = result.model.state_dict()["likelihood.family.log_scale.raw"]
        torch.testing.assert_close(shipped, start[number] + 7 * 0.01 * (number + 1))


@pytest.mark.parametrize("ema_decay", [None, 0.5])
def test_lanes_stop_one_by_one(ema_decay: float | None, small: Dataset) -> None:
    """A lane without progress leaves, and the others go on as if it had never been there, averages included."""
    learning = override(lanes()[0], {"training.patience_epochs": 2, "training.ema_decay": ema_decay})
    idle = override(learning, {"training.learning_rate": 1e-30})
    epochs: list[list[int]] = []
    training = LaneTraining([idle, learning], small, on_epoch=lambda reports: epochs.append(list(reports)))
    stopped, going = finished(training.run())
    assert epochs == [[0, 1]] * 3 + [[1]] * (EPOCHS - 3)
    alone = Training(learning, small).run()
    assert curve(going) == pytest.approx(curve(alone), rel=1e-5)
    bounds = [[report.validation_negative_bound for report in found.history] for found in (going, alone)]
    assert bounds[0] == pytest.approx(bounds[1], rel=1e-5)
    assert curve(stopped) == pytest.approx(curve(Training(idle, small).run()), rel=1e-5)


def test_diverged_lane_leaves_and_says_why(small: Dataset) -> None:
    """The others come to what they come to without it."""
    good, bad = lanes((1.0, 1.0))
    bad = override(bad, {"training.learning_rate": 1e30})
    failed, result = LaneTraining([bad, good], small).run()
    assert isinstance(failed, Diverged)
    assert "at step 2 (epoch 1, batch 2)" in str(failed)
    assert "The learning rate of 1e+30 may be too high" in str(failed)
    assert isinstance(result, TrainingResult)
    assert curve(result) == pytest.approx(curve(Training(good, small).run()), rel=1e-5)


def one_leaves_and_one_diverges() -> list[RunConfig]:
    changes = {"training.patience_epochs": 3, "training.ema_decay": 0.8, "training.checkpoint_steps": 3}
    configs = lanes((1.0, 2.0, 4.0, 1.0), **changes)
    configs[1] = override(configs[1], {"training.learning_rate": 1e-30})
    configs[3] = override(configs[3], {"training.learning_rate": 1e30})
    return configs


@pytest.fixture(scope="module")
def unbroken(small: Dataset) -> list[TrainingResult | Diverged]:
    """Results of a stack that nothing interrupts."""
    return LaneTraining(one_leaves_and_one_diverges(), small).run()


@pytest.mark.parametrize("steps", [1, 7, 30, 104])
def test_resume_repeats_the_unbroken_stack(
    steps: int, unbroken: list[TrainingResult | Diverged], small: Dataset, tmp_path: Path
) -> None:
    """Bit for bit, from mid-epoch too, with a lane that has left and one that has diverged."""
    configs = one_leaves_and_one_diverges()
    broken = LaneTraining(configs, small, checkpoints=str(tmp_path))
    broken.feed = CutFeed(broken.feed, steps)
    with pytest.raises(Killed):
        broken.run()
    resumed = LaneTraining(configs, small, checkpoints=str(tmp_path)).run()
    for found, wanted in zip(resumed, unbroken, strict=True):
        assert type(found) is type(wanted)
        if isinstance(found, TrainingResult) and isinstance(wanted, TrainingResult):
            assert_same_run(found, wanted)
            assert found.resumed_from_step == steps - steps % 3
        else:
            assert str(found) == str(wanted)


def test_finished_stack_is_not_trained_again(small: Dataset, tmp_path: Path) -> None:
    """Nor is another one's checkpoint taken."""
    configs = lanes((1.0, 2.0), **{"training.epochs": 2})
    first = finished(LaneTraining(configs, small, checkpoints=str(tmp_path)).run())
    again = LaneTraining(configs, small, checkpoints=str(tmp_path))
    again.feed = CutFeed(again.feed, 0)
    for found, wanted in zip(finished(again.run()), first, strict=True):
        assert metrics(found.history) == metrics(wanted.history)
    with pytest.raises(CheckpointError, match="belongs to another run"):
        LaneTraining(configs[:1], small, checkpoints=str(tmp_path)).run()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model.latent_dim": 3}, r"lane 1 differs from lane 0 in model.latent_dim.*objective.beta, training.seed"),
        ({"training.data_seed": 6}, r"lane 1 differs from lane 0 in training.data_seed"),
        ({"training.batch_size": 64}, r"lane 1 differs from lane 0 in training.batch_size"),
    ],
)
def test_lanes_that_are_no_stack_are_refused(changes: dict[str, Any], message: str) -> None:
    """By the field in which they differ."""
    first, second = lanes((1.0, 2.0))
    with pytest.raises(ConfigError, match=message):
        check_lanes([first, override(second, changes)])


def test_lanes_without_a_data_seed_would_see_other_batches() -> None:
    """And are refused."""
    first, second = lanes((1.0, 2.0), **{"training.data_seed": None})
    with pytest.raises(ConfigError, match=r"lane 1 sees other batches.*set training.data_seed for all"):
        check_lanes([first, second])


def test_memory_of_a_lane(small: Dataset) -> None:
    """At least six copies of the weights where they are averaged, and more for a larger batch."""
    config = lanes()[0]
    weights = sum(value.nbytes for value in build_model(config, small).state_dict().values())
    plain, averaged, larger = (
        bytes_of_a_lane(override(config, changes), small)
        for changes in ({}, {"training.ema_decay": 0.9}, {"training.batch_size": 128})
    )
    assert plain > 5 * weights
    assert averaged == plain + weights
    assert larger > plain
    assert asdict(finished(LaneTraining([config], small).run())[0].best)["epoch"] >= 1


@pytest.mark.parametrize("name", ["table_vae", "miwae"])
def test_lanes_of_a_table_are_the_runs_alone(name: str, people: Dataset) -> None:
    """A lane's weights make an ordinary model of a table, whose buffers that are made anew are not among them."""
    changes = {"training.epochs": 2, "training.patience_epochs": None, "training.data_seed": 0}
    configs = [override(preset(name), {**changes, "objective.beta": beta}) for beta in (0.5, 1.0)]
    alone = Training(configs[1], people).run()
    lane = finished(LaneTraining(configs, people).run())[1]
    assert lane.best.epoch == alone.best.epoch
    torch.testing.assert_close(lane.model.state_dict(), alone.model.state_dict(), rtol=1e-3, atol=1e-4)
