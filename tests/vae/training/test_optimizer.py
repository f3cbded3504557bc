"""The schedule of the learning rate."""

from __future__ import annotations

import math

import pytest

from vae.config import TrainingConfig
from vae.errors import ConfigError
from vae.training.optimizer import check_warmup, learning_rate_at


def test_learning_rate_rises_in_a_line_and_falls_by_half_a_wave() -> None:
    """As the formulas say, step by step; constant without a schedule, and nothing is left when a run would go on."""
    plain = TrainingConfig(learning_rate=0.5)
    assert {learning_rate_at(plain, step, 10) for step in range(10)} == {0.5}
    cosine = TrainingConfig(learning_rate=0.5, learning_rate_schedule="cosine", warmup_steps=2)
    found = [learning_rate_at(cosine, step, 10) for step in range(10)]
    assert found[:3] == [0.25, 0.5, 0.5]
    assert found[6] == pytest.approx(0.25)
    assert found[9] == pytest.approx(0.25 * (1 + math.cos(math.pi * 7 / 8)))
    assert found[1:] == sorted(found[1:], reverse=True)


def test_warmup_longer_than_the_run_is_refused() -> None:
    """A learning rate that would never be reached is refused with both numbers of steps."""
    config = TrainingConfig(warmup_steps=10)
    check_warmup(config, 11)
    with pytest.raises(
        ConfigError, match="would rise for 10 steps and the run has 10; shorten it or train more epochs"
    ):
        check_warmup(config, 10)
