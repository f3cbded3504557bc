"""What rides in lanes, what Ray Tune draws, and what would not fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.vae.conftest import _publish
from tuning.space import SearchConfig
from tuning.stacks import STACK, check_memory, checkpoints_of, divide, lane_configs, plan_stacks
from vae.config import parse
from vae.data.parquet import Dataset
from vae.errors import ConfigError
from vae.training.lanes import bytes_of_a_lane, check_lanes

BETAS = {"kind": "choice", "values": [0.5, 1.0, 4.0]}
SEEDS = {"kind": "choice", "values": [0, 1]}
BODIES = {"kind": "choice", "values": [{"kind": "mlp", "hidden": [16]}, {"kind": "mlp", "hidden": [256, 64]}]}
CODES = {"kind": "vector_quantized", "codes": 16, "code_dim": 2}


def search(space: dict[str, Any], **changes: Any) -> SearchConfig:
    return parse(SearchConfig, {"space": space, **changes})


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """300 images of 8x8 noise."""
    pixels = np.random.default_rng(0).integers(256, size=(300, 1, 8, 8), dtype=np.uint8)
    return _publish(tmp_path_factory.mktemp("noise"), pixels, None, {"train": 200, "validation": 100})


def test_choices_of_beta_and_seed_ride_in_lanes() -> None:
    """Every combination is a lane, and what is left is Ray Tune's."""
    plan = plan_stacks(search({"model.encoder": BODIES, "objective.beta": BETAS, "training.seed": SEEDS}))
    assert list(plan.searched) == ["model.encoder"]
    assert len(plan.points) == 6
    assert plan.points[1] == {"objective.beta": 0.5, "training.seed": 1}


def test_lanes_of_a_trial_are_a_stack() -> None:
    """They have the drawn architecture, their own β and seed, and the same batches."""
    chosen = search({"model.encoder": BODIES, "objective.beta": BETAS, "training.seed": SEEDS})
    configs = lane_configs(chosen, plan_stacks(chosen), {"model.encoder": "mlp 256-64"})
    check_lanes(configs)
    assert [(c.objective.beta, c.training.seed) for c in configs[:3]] == [(0.5, 0), (0.5, 1), (1.0, 0)]
    assert {c.training.data_seed for c in configs} == {0}
    assert {c.model.encoder.hidden for c in configs} == {(256, 64)}  # pyright: ignore[reportAttributeAccessIssue]


def test_divided_lanes_are_all_there_once() -> None:
    """The stacks of an architecture have each point once between them; the seeds of a setting stay together."""
    chosen = search({"model.encoder": BODIES, "objective.beta": BETAS, "training.seed": SEEDS})
    plan = plan_stacks(chosen, 2)
    assert plan.settings == 3
    assert list(plan.searched) == ["model.encoder", STACK]
    stacks = [plan.points_of({"model.encoder": "mlp 16", STACK: number}) for number in range(2)]
    assert [[point["objective.beta"] for point in stack] for stack in stacks] == [[0.5, 0.5, 4.0, 4.0], [1.0, 1.0]]
    assert sorted(map(str, stacks[0] + stacks[1])) == sorted(map(str, plan_stacks(chosen).points))
    config = lane_configs(chosen, plan, {"model.encoder": "mlp 256-64", STACK: 1})[1]
    assert (config.objective.beta, config.training.seed) == (1.0, 1)


@pytest.mark.parametrize(
    ("architectures", "settings", "workers", "division"),
    [
        (1, 8, 1, 1),  # nobody is idle
        (1, 8, 2, 2),  # both have half
        (3, 8, 2, 2),  # three stacks would leave one worker idle for a third of the time
        (2, 8, 2, 1),  # they are as many as the workers
        (3, 5, 2, 1),  # single lanes would cost two each
        (24, 8, 2, 1),  # many more than the workers: what a stack costs beside its lanes counts
        (3, 8, 64, 8),  # every lane has a worker
        (1, 3, 64, 3),
    ],
)
def test_lanes_are_divided_so_that_workers_are_busy(
    architectures: int, settings: int, workers: int, division: int
) -> None:
    """By hand for some clusters."""
    sizes = {"kind": "choice", "values": list(range(2, 2 + architectures))}
    betas = {"kind": "choice", "values": [1.0 + number for number in range(settings)]}
    assert divide(search({"model.latent_dim": sizes, "objective.beta": betas}), workers) == division


def test_lanes_stay_together_where_not_all_architectures_are_tried() -> None:
    """A division would leave out settings of those that are drawn."""
    space = {"model.latent_dim": {"kind": "choice", "values": [2, 3, 4]}, "objective.beta": BETAS}
    assert divide(search(space, num_trials=2), 64) == 1
    assert (
        divide(search({**space, "model.latent_dim": {"kind": "integers", "low": 2, "high": 9}}, num_trials=9), 64) == 1
    )
    assert divide(search({"model.latent_dim": space["model.latent_dim"]}), 64) == 1


@pytest.mark.parametrize(
    ("space", "changes", "reason"),
    [
        ({"objective.beta": {"kind": "uniform", "low": 0.5, "high": 4.0}}, {"num_trials": 3}, None),
        ({"objective.beta": BETAS}, {"lanes": False}, None),
        (
            {"objective.beta": BETAS, "model.prior": {"kind": "choice", "values": [{"kind": "uniform_codes"}]}},
            {"base": {"model": {"posterior": CODES, "prior": {"kind": "uniform_codes"}}}},
            "model.posterior: a vector_quantized posterior",
        ),
    ],
)
def test_what_cannot_be_stacked_is_one_model_a_trial(
    space: dict[str, Any], changes: dict[str, Any], reason: str | None
) -> None:
    """A continuous β, a search that wants none, and a part that vmap cannot carry, which is named."""
    chosen = search(space, **changes)
    plan = plan_stacks(chosen)
    assert not plan.lanes
    assert list(plan.searched) == list(space)
    assert plan.points == [{}]
    assert plan.reason is None if reason is None else str(plan.reason).startswith(reason)
    assert lane_configs(chosen, plan, {})[0] == chosen.base


def test_stack_that_would_not_fit_is_refused_with_the_number_that_would(images: Dataset) -> None:
    """Before anything is trained, by the largest model of the space."""
    base = {"model": {"encoder": BODIES["values"][0]}}
    chosen = search({"model.encoder": BODIES, "objective.beta": BETAS, "training.seed": SEEDS}, base=base)
    configs = lane_configs(chosen, plan_stacks(chosen), {"model.encoder": "mlp 256-64"})
    lane, data = bytes_of_a_lane(configs[0], images), 300 * 64
    check_memory(chosen, plan_stacks(chosen), images, 6 * lane + data)
    with pytest.raises(
        ConfigError,
        match=r"6 lanes of mlp 256-64 .* with batches of 128 .*: 4 lanes would fit. Take fewer choices of objective.beta",
    ):
        check_memory(chosen, plan_stacks(chosen), images, 4.5 * lane + data)
    with pytest.raises(ConfigError, match=r"5 lanes would fit"):
        check_memory(chosen, plan_stacks(chosen), images, 6 * lane + data - 1)


def test_checkpoints_of_a_trial_are_found_in_any_order_of_its_parameters() -> None:
    """Whatever order its parameters come back in, a trial has one folder, and another trial has another."""
    drawn = {"model.latent_dim": 4, "model.encoder": "mlp 16"}
    assert checkpoints_of("runs", drawn) == checkpoints_of("runs", dict(reversed(drawn.items())))
    assert checkpoints_of("runs", drawn) != checkpoints_of("runs", {**drawn, "model.latent_dim": 5})
