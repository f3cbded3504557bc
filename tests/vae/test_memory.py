"""The number of rows that fit a budget of memory."""

from __future__ import annotations

import math

import pytest
import torch

from tests.laws import parts
from vae.config import ModelConfig, parse
from vae.examples import ExampleSpec
from vae.memory import rows_within
from vae.model import VAE

SHAPE = (3, 32, 32)
IMAGE_BYTES = 4 * math.prod(SHAPE)


def build(likelihood: parts.Config) -> VAE:
    config = {"latent_dim": 2, "encoder": {"kind": "mlp", "hidden": [4]}, "likelihood": likelihood}
    return VAE(parse(ModelConfig, config), ExampleSpec(SHAPE)).eval()


@pytest.mark.parametrize(
    ("likelihood", "copies"),
    [
        # The outputs, their cross entropy and its negative, the mask and the masked example.
        ({"kind": "bernoulli"}, (4, 6)),
        # The standard deviation needs the logits, the probabilities, the differences and their squares at once: 64 each.
        ({"kind": "categorical", "levels": 64}, (256, 262)),
    ],
)
def test_rows_follow_the_copies_a_likelihood_makes(likelihood: parts.Config, copies: tuple[int, int]) -> None:
    """A row is taken for as many copies of its image as are alive at once, counted in the formulas of the likelihood."""
    row_bytes = (1 << 30) / rows_within(build(likelihood), 1 << 30)
    fewest, most = copies
    assert fewest <= row_bytes / IMAGE_BYTES <= most


def test_rows_follow_the_budget() -> None:
    """Twice the budget holds twice the rows; a budget that is too small for one row still allows one."""
    model = build({"kind": "discretized_logistic"})
    assert rows_within(model, 1 << 29) == pytest.approx(rows_within(model, 1 << 30) / 2, abs=1)
    assert rows_within(model, 1) == 1


@pytest.mark.parametrize("config", parts.MODELS.values(), ids=parts.MODELS)
def test_measuring_changes_nothing(config: parts.Config) -> None:
    """Any model can be measured; its weights, its buffers and the global generator stay as they were."""
    model = parts.randomised(config)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.random.get_rng_state()
    assert rows_within(model, 1 << 20) > 1
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
