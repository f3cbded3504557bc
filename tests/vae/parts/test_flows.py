"""Flows over the latent: the transforms that are asked for, whose inverse and log-determinant are exact."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vae.parts.normalizing_flows import autoregressive_flow

LATENT = 3


def flow(transforms: int = 1, *, splines: bool, context_dim: int = 0, hidden: tuple[int, ...] = (8,)) -> nn.Module:
    """A flow whose weights are large enough to bend what it transforms."""
    made = autoregressive_flow(LATENT, context_dim, transforms, hidden, splines=splines)
    generator = torch.Generator().manual_seed(0)
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.7, generator=generator)
    return made


def second_differences(transform: Any) -> Tensor:
    """How far each output is from a straight line in its own input, [L]."""
    centre = torch.tensor([0.3, -0.2, 0.1])
    found = []
    for dimension in range(LATENT):
        points = centre.repeat(3, 1)
        points[:, dimension] = torch.tensor([-0.9, 0.0, 0.9])
        low, middle, high = transform(points)[:, dimension]
        found.append(high - 2 * middle + low)
    return torch.stack(found)


@pytest.mark.parametrize("splines", [False, True])
def test_flow_has_the_transforms_that_are_asked_for(splines: bool) -> None:
    """Each has a network of its own, of the units that are asked for."""

    def size(transforms: int, *hidden: int) -> int:
        return sum(parameter.numel() for parameter in flow(transforms, splines=splines, hidden=hidden).parameters())

    assert size(3, 8) == 3 * size(1, 8) > 0
    assert size(1, 8, 16) > size(1, 16) > size(1, 8)


def test_affine_flow_is_affine_in_each_dimension_and_splines_are_not() -> None:
    """Given the dimensions before it, an output of an affine flow is a straight line in its own input."""
    with torch.no_grad():
        torch.testing.assert_close(second_differences(flow(splines=False)()), torch.zeros(LATENT), atol=1e-5, rtol=0)
        assert (second_differences(flow(splines=True)()).abs() > 1e-3).any()


@pytest.mark.parametrize("splines", [False, True])
def test_flow_is_inverted_and_knows_its_volume(splines: bool) -> None:
    """The inverse leads back, and the log-determinant is that of the Jacobian by automatic differentiation."""
    transform = flow(2, splines=splines).double()()
    z_NL = torch.randn(5, LATENT, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        out_NL, log_det_N = transform.call_and_ladj(z_NL)
        torch.testing.assert_close(transform.inv(out_NL), z_NL)
    jacobians = torch.stack([torch.autograd.functional.jacobian(transform, z_L) for z_L in z_NL])  # pyright: ignore
    torch.testing.assert_close(log_det_N, jacobians.det().abs().log())


def test_flow_depends_on_its_context() -> None:
    """Two contexts give two transforms."""
    made, z = flow(splines=False, context_dim=2), torch.zeros(1, LATENT)
    with torch.no_grad():
        assert not torch.allclose(made(torch.zeros(2))(z), made(torch.ones(2))(z))
