"""Numbers that are not finite: the step that meets them changes nothing, and says where they came from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import Tensor

from vae.config import RunConfig, override
from vae.config.presets import preset
from vae.data.parquet import Dataset
from vae.data.schema import Column
from vae.errors import Diverged
from vae.training.guard import all_finite
from vae.training.lanes import LaneTraining
from vae.training.loop import Training, unfinished
from vae.training.state import save_model

BASE = override(
    RunConfig(),
    {
        "model.latent_dim": 2,
        "model.encoder": {"kind": "mlp", "hidden": [8]},
        "training.epochs": 3,
        "training.batch_size": 100,
        "training.patience_epochs": None,
    },
)
TABLE = override(preset("table_vae"), {"training.epochs": 2, "training.batch_size": 50, "model.latent_dim": 2})


def spoil(training: Training, at_step: int) -> None:
    """Lets one gradient be NaN at a step, as an operation without a gradient at 0 would, while every loss is finite."""
    bias = training.model.posterior.head.bias

    def poison(gradient: Tensor) -> Tensor:
        return gradient * torch.nan if training.steps_done == at_step else gradient

    bias.register_hook(poison)


@pytest.mark.parametrize("at_step", [0, 17, 20])
def test_gradient_that_is_not_finite_stops_the_step(digits: Dataset, tmp_path: Path, at_step: int) -> None:
    """The error names step, epoch and batch; weights stay as the step before left them, and so do all checkpoints."""
    config = override(BASE, {"training.checkpoint_steps": 5})
    training = Training(config, digits, checkpoints=str(tmp_path))
    spoil(training, at_step)
    with pytest.raises(Diverged) as error:
        training.run()
    epoch, batch = divmod(at_step, 14)
    assert f"a gradient is not finite at step {at_step + 1} (epoch {epoch + 1}, batch {batch + 1})" in str(error.value)
    assert training.steps_done == at_step
    assert all_finite(training.model.state_dict())
    assert all_finite(training.best_model().state_dict())
    left = unfinished(config, digits, str(tmp_path))
    assert (left is not None) == (at_step > 5)
    assert left is None or (left.step == at_step // 5 * 5 and all_finite(left.model.state_dict()))


def test_best_epoch_before_a_divergence_is_kept(digits: Dataset) -> None:
    """After a whole epoch it is that epoch's model, to the bit, that is left."""
    training, unbroken = Training(BASE, digits), Training(override(BASE, {"training.epochs": 1}), digits)
    spoil(training, 20)
    with pytest.raises(Diverged):
        training.run()
    expected = unbroken.run().model.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in training.best_model().state_dict().items())


def test_lane_with_a_gradient_that_is_not_finite_leaves_alone(digits: Dataset) -> None:
    """Its message names the step; the lane beside it comes to what it comes to without it."""
    configs = [override(BASE, {"training.data_seed": 0, "training.learning_rate": rate}) for rate in (1e30, 1e-3)]
    failed, result = LaneTraining(configs, digits).run()
    assert isinstance(failed, Diverged)
    assert "at step 2 (epoch 1, batch 2)" in str(failed)
    alone = Training(configs[1], digits).run()
    assert not isinstance(result, Diverged)
    assert result.best.validation_objective == pytest.approx(alone.best.validation_objective, rel=1e-5)


def test_row_and_column_that_began_it_are_named(publish_table: Callable[..., Dataset], tmp_path: Path) -> None:
    """A value of 3e38 among ordinary ones: the step, the row of the split and of the source, the column, the value."""
    rng = np.random.default_rng(0)
    width, height = rng.normal(size=(2, 300))
    table = pa.table({"width": width, "height": height})
    columns = [Column(name, dtype="double") for name in ("width", "height")]
    dataset = publish_table(tmp_path, table, columns, None, {"train": 200, "validation": 100})
    training = Training(TABLE, dataset)
    training.feed.rows.values[123, 1] = 3e38  # pyright: ignore[reportAttributeAccessIssue]
    spec = training.model.examples  # without the limits that would make such a value count as missing
    unlimited = tuple(replace(column, lowest=None, highest=None) for column in spec.columns or ())
    training.model.examples = replace(spec, columns=unlimited)
    with pytest.raises(Diverged, match=r"row 123 of the train split \(row 123 of the source\), column 'height'"):
        training.run()


def test_row_numbers_are_those_of_the_batches(digits: Dataset) -> None:
    """Resident and streaming feeds: the rows of a batch, looked up by number, are the batch."""
    for feed in ("resident", "streaming"):
        changes: dict[str, Any] = {"training.feed": feed, "training.memory_budget_bytes": 3 * 64 * 300}
        training = Training(override(BASE, changes), digits)
        for step, batch in enumerate(training.feed.epoch(1)):
            numbers = training.feed.order.row_numbers(1, step, training.feed.places)
            expected = np.concatenate([digits.read_rows("train", n, n + 1).values for n in numbers.tolist()])
            assert np.array_equal(batch.values.flatten(1).numpy(), expected)


def test_training_starts_from_the_weights_of_another(digits: Dataset, tmp_path: Path) -> None:
    """The first step of a run that starts from a model begins with its weights; a wider latent begins anew in part."""
    trained = Training(BASE, digits).run().model
    save_model(trained, str(tmp_path / "model"))
    training = Training(override(BASE, {"training.learning_rate": 1e-4}), digits, start=str(tmp_path / "model"))
    for name, value in training.model.state_dict().items():
        assert torch.equal(value, trained.state_dict()[name]), name
    wider = Training(override(BASE, {"model.latent_dim": 3}), digits, start=str(tmp_path / "model"))
    assert wider.kept is not None
    assert wider.kept.new
