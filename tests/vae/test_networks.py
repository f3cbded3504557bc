"""Bodies: shapes, sizes that do not halve evenly, and what the condition reaches."""

from __future__ import annotations

import pytest
import torch

from vae.config import MLP, Body, Conv
from vae.errors import ConfigError
from vae.examples import ExampleSpec
from vae.networks import ACTIVATIONS, Context, ContextDims, ResidualBlock, decoder_body, encoder_body, halvings

CONV = Conv(channels=(4, 6, 8), hidden=16)


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 9, 13), (2, 15, 8)])
@pytest.mark.parametrize(
    "body", [MLP(hidden=(12, 7)), MLP(hidden=(12,), gated=True), CONV, Conv(channels=(4,), residual_blocks=2)]
)
@pytest.mark.parametrize("classes", [0, 3])
def test_bodies_fit_any_example_size(body: Body, shape: tuple[int, int, int], classes: int) -> None:
    """The encoder returns the features it announces and the decoder the exact shape, at odd sizes too."""
    context, widths = Context(torch.eye(classes)[:2] if classes else None), ContextDims(classes)
    encoder, features = encoder_body(body, ExampleSpec(shape), widths)
    decoder = decoder_body(body, 5, shape, widths)
    assert encoder(torch.rand(2, *shape), None, context).shape == (2, features)
    assert decoder(torch.randn(2, 5), context).shape == (2, *shape)


def test_halvings_lists_each_size() -> None:
    """28 × 20 pixels halve to 14 × 10, 7 × 5 and 3 × 2."""
    assert halvings(CONV, 28, 20) == [(28, 20), (14, 10), (7, 5), (3, 2)]


@pytest.mark.parametrize("build", ["encoder", "decoder"])
def test_conv_refuses_examples_too_small_to_halve(build: str) -> None:
    """Too many halvings are refused with the size they need and the size there is."""
    small, none = (1, 8, 4), ContextDims()
    with pytest.raises(ConfigError) as error:
        encoder_body(CONV, ExampleSpec(small), none) if build == "encoder" else decoder_body(CONV, 2, small, none)
    assert str(error.value) == (
        "model: a conv body with 3 channels entries halves the example 3 times and needs at least 8x8 "
        "pixels, the examples have 8x4; use fewer channels entries"
    )


def test_residual_block_starts_as_the_identity() -> None:
    """A fresh residual block changes nothing, yet its last layer gets a gradient."""
    block = ResidualBlock(3, "silu")
    x = torch.randn(2, 3, 5, 5)
    y = block(x)
    assert torch.equal(x, y)
    y.square().sum().backward()
    last = block.layers[-1].weight.grad
    assert last is not None
    assert last.abs().sum() > 0


def test_activation_changes_the_function() -> None:
    """The same draw of weights gives other features under another activation: the choice is used."""
    outputs = []
    for activation in ACTIVATIONS:
        torch.manual_seed(0)
        config = MLP.model_validate({"hidden": (16,), "activation": activation})
        body, _ = encoder_body(config, ExampleSpec((1, 4, 4)), ContextDims())
        outputs.append(body(torch.linspace(-1, 1, 16).view(1, 1, 4, 4), None, Context()))
    assert all(not torch.allclose(a, b) for i, a in enumerate(outputs) for b in outputs[:i])
