"""The schedule of the learning rate, and the optimiser."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch
from torch import nn

from vae.config import TrainingConfig
from vae.errors import ConfigError
from vae.training.optimizer import AdamW, check_warmup, learning_rate_at


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


def test_optimizer_takes_the_steps_of_torch() -> None:
    """Twelve steps equal those of `torch.optim.AdamW` to the bit; a step that is to be skipped changes nothing."""
    ours, theirs = nn.Linear(5, 3), nn.Linear(5, 3)
    theirs.load_state_dict(ours.state_dict())
    skips = torch.zeros(())
    optimizer = AdamW(dict(ours.named_parameters()), weight_decay=0.1, skips=skips)
    reference = torch.optim.AdamW(theirs.parameters(), weight_decay=0.1, fused=True)
    for step in range(12):
        for layer in (ours, theirs):
            layer(torch.full((2, 5), float(step))).square().sum().backward()
        reference.param_groups[0]["lr"] = 0.1 / (step + 1)
        reference.step()
        reference.zero_grad()
        optimizer.advance([0.1 / (step + 1)])
        assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
    skips.fill_(1)
    ours(torch.full((2, 5), torch.nan)).sum().backward()
    optimizer.advance([0.1])
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
    assert optimizer.step == 12


def test_optimizer_imports_no_compiler() -> None:
    """A step leaves torch._dynamo out, whose import takes over a second of every process that trains."""
    code = (
        "import sys, torch; from vae.training.loop import AdamW; weight = torch.ones(3, requires_grad=True)\n"
        "optimizer = AdamW({'weight': weight}, 0.0); weight.sum().backward(); optimizer.advance([0.1])\n"
        "assert 'torch._dynamo' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
