"""The optimiser against torch's own."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from vae.config import TrainingConfig
from vae.errors import ConfigError
from vae.training.optimizer import FusedAdamW, check_warmup, learning_rate_at
from vae.training.state import optimizer_tensors, restore_optimizer


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(7, 5), nn.Tanh(), nn.Linear(5, 3))


def backward(net: nn.Module, step: int) -> None:
    net.zero_grad()
    net(torch.linspace(-1, step, 28).view(4, 7)).square().sum().backward()


def assert_equal(a: nn.Module, b: nn.Module) -> None:
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


def test_advance_is_torchs_step_bit_for_bit() -> None:
    """Weights and state are those of torch's AdamW, with weight decay and a learning rate that changes on the way."""
    ours, reference = network(), network()
    optimizer = FusedAdamW(ours.parameters(), learning_rate=0.05, weight_decay=0.1)
    torchs = torch.optim.AdamW(reference.parameters(), lr=0.05, weight_decay=0.1, fused=True)
    for step in range(6):
        for group in (*optimizer.param_groups, *torchs.param_groups):
            group["lr"] = 0.05 / (1 + step)
        backward(ours, step)
        optimizer.advance()
        backward(reference, step)
        torchs.step()
        assert_equal(ours, reference)
    found, expected = optimizer_tensors(optimizer), optimizer_tensors(torchs)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


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


def test_restored_state_goes_on_bit_for_bit() -> None:
    """State taken out between two steps and put into a used optimiser continues as if nothing had happened."""
    unbroken = network()
    optimizer = FusedAdamW(unbroken.parameters(), learning_rate=0.05, weight_decay=0.1)
    other = network()
    again = FusedAdamW(other.parameters(), learning_rate=0.05, weight_decay=0.1)
    for step in range(3):
        backward(unbroken, step)
        optimizer.advance()
        backward(other, step + 10)
        again.advance()
    tensors = optimizer_tensors(optimizer)
    assert len({value.data_ptr() for value in tensors.values()}) == len(tensors), "a file cannot hold shared memory"
    other.load_state_dict(unbroken.state_dict())
    restore_optimizer(again, {name: value.clone() for name, value in tensors.items()})
    for step in range(3, 6):
        for net, advancing in ((unbroken, optimizer), (other, again)):
            backward(net, step)
            advancing.advance()
    assert_equal(unbroken, other)
