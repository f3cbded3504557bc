"""Bodies: shapes, sizes that do not halve evenly, and what the condition reaches."""

from __future__ import annotations

import pytest
import torch

from vae.data.schema import ExampleSpec
from vae.errors import ConfigError
from vae.parts.bodies import BodyConfig
from vae.parts.bodies.body import ACTIVATIONS, INITIAL_OPENNESS, Context, ContextDims, decoder_gate, encoder_gate
from vae.parts.bodies.conv import Conv, ResidualBlock, halvings
from vae.parts.bodies.mlp import MLP

CONV = Conv(channels=(4, 6, 8), hidden=16)


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 9, 13), (2, 15, 8)])
@pytest.mark.parametrize(
    "body", [MLP(hidden=(12, 7)), MLP(hidden=(12,), gated=True), CONV, Conv(channels=(4,), residual_blocks=2)]
)
@pytest.mark.parametrize("classes", [0, 3])
def test_bodies_fit_any_example_size(body: BodyConfig, shape: tuple[int, int, int], classes: int) -> None:
    """The encoder returns the features it announces and the decoder the exact shape, at odd sizes too."""
    context, widths = Context(torch.eye(classes)[:2] if classes else None), ContextDims(classes)
    encoder = body.encoder(ExampleSpec(shape), widths)
    decoder = body.decoder(5, shape, widths._replace(decodes=True))
    assert encoder(torch.rand(2, *shape), None, context).shape == (2, encoder.num_features)
    assert decoder(torch.randn(2, 5), context).shape == (2, *shape)


def test_halvings_lists_each_size() -> None:
    """28 × 20 pixels halve to 14 × 10, 7 × 5 and 3 × 2."""
    assert halvings(CONV, 28, 20) == [(28, 20), (14, 10), (7, 5), (3, 2)]


@pytest.mark.parametrize("build", ["encoder", "decoder"])
def test_conv_refuses_examples_too_small_to_halve(build: str) -> None:
    """Too many halvings are refused with the size they need and the size there is."""
    small, none = (1, 8, 4), ContextDims()
    with pytest.raises(ConfigError) as error:
        CONV.encoder(ExampleSpec(small), none) if build == "encoder" else CONV.decoder(2, small, none)
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
        body = config.encoder(ExampleSpec((1, 4, 4)), ContextDims())
        outputs.append(body(torch.linspace(-1, 1, 16).view(1, 1, 4, 4), None, Context()))
    assert all(not torch.allclose(a, b) for i, a in enumerate(outputs) for b in outputs[:i])


def test_gates_are_the_papers() -> None:
    """2σ(a) in the encoder, √ReLU(1 − exp a) in the decoder (Bae et al. 2023), where that is not near its zero."""
    affine = torch.linspace(-6, 6, 101)
    torch.testing.assert_close(encoder_gate(affine), 2 / (1 + torch.exp(-affine)))
    torch.testing.assert_close(decoder_gate(affine), torch.relu(1 - affine.exp()).sqrt())


def test_decoders_gate_has_finite_gradients_at_its_zero() -> None:
    """Where the gate closes, beside that, and where exp overflows: the gradient is a number, and 0 once it is closed."""
    affine = torch.tensor([-1e-7, -1e-30, 0.0, 1e-7, 1.0, 1000.0], requires_grad=True)
    gate = decoder_gate(affine)
    gate.sum().backward()
    assert affine.grad is not None
    assert affine.grad.isfinite().all()
    assert affine.grad[:2].abs().min() > 1
    assert affine.grad[3:].eq(0).all()
    assert gate[2:].eq(0).all()


def test_gates_start_open_alike_at_every_beta() -> None:
    """A fresh encoder does not depend on β at all, and a fresh decoder is less than 3% closed."""
    widths = ContextDims(log_beta=True)
    encoder = MLP().encoder(ExampleSpec((1, 4, 4)), widths)
    decoder = MLP().decoder(5, (1, 4, 4), widths._replace(decodes=True))
    low, high = (Context(log_beta=torch.full((2, 1), value)) for value in (-3.0, 3.0))
    x, z = torch.rand(2, 1, 4, 4), torch.randn(2, 5)
    assert torch.equal(encoder(x, None, low), encoder(x, None, high))
    assert torch.equal(decoder(z, low), decoder(z, high))
    assert decoder_gate(torch.tensor(INITIAL_OPENNESS)) > 0.97
