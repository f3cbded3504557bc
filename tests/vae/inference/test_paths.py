"""Walks through the latent: whose points, lengths and conditions are those that they claim."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from vae import inference
from vae.config import ModelConfig
from vae.data.schema import ExampleSpec
from vae.inference import paths
from vae.model import VAE
from vae.parts.terms import Inputs

SHAPE, LATENT, CLASSES = (1, 4, 4), 3, ("a", "b")


def build(factor: float = 1.0, **parts: Any) -> VAE:
    """A model whose weights are so many times the initial ones: the larger, the farther from linear."""
    config = {"latent_dim": LATENT, "encoder": {"kind": "mlp", "hidden": [16]}, "likelihood": {"kind": "gaussian"}}
    model = VAE(ModelConfig.model_validate({**config, **parts}), ExampleSpec(SHAPE, CLASSES)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(factor)
    return model


def images(rows: int, seed: int = 0) -> Inputs:
    return Inputs(torch.rand(rows, *SHAPE, generator=torch.Generator().manual_seed(seed)))


def told(model: VAE, inputs: Inputs, *labels: int) -> Inputs:
    return inputs._replace(condition=model.condition(torch.tensor(labels)))


def test_geodesic_is_the_shortest_path_met() -> None:
    """More steps never make a path longer, though the descent passes over the minimum of some rows on its way."""
    model, first, second = build(factor=4.0), images(8), images(8, seed=1)
    lengths = []
    for steps in (0, 10, 13, 16, 20, 30, 40):
        path = inference.latent_path(model, first, second, 6, "geodesic", steps)
        lengths.append(inference.path_length(model, path, first, second).detach())
    assert (torch.stack(lengths).diff(dim=0) <= 0).all()
    assert (lengths[-1] < lengths[0]).all()


def test_path_length_is_of_means_and_spreads() -> None:
    """The sum of the distances between successive answers, in which a pixel's mean and its spread count alike."""
    model = build(factor=3.0, likelihood={"kind": "gaussian", "sigma": "per_pixel"})
    first, second = images(2), images(2, seed=1)
    path_NTL = inference.latent_path(model, first, second, 4, "linear")
    found = inference.path_length(model, path_NTL, first, second)
    for row, z_TL in enumerate(path_NTL):
        outputs = model.decode(z_TL[None])[0].detach()
        means, stds = model.likelihood.mean(outputs).flatten(1), model.likelihood.std(outputs).flatten(1)
        steps = [
            math.sqrt((means[t] - means[t + 1]).square().sum() + (stds[t] - stds[t + 1]).square().sum())
            for t in range(3)
        ]
        assert found[row].item() == pytest.approx(sum(steps), rel=1e-5)


def test_spherical_path_changes_its_length_evenly() -> None:
    """From a latent of length 1 to one of length 3 the length grows in a straight line."""
    path = paths.spherical(torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[0.0, 3.0, 0.0]]), 5)
    torch.testing.assert_close(path.norm(dim=-1), torch.linspace(1, 3, 5)[None])


@pytest.mark.parametrize("path", ["linear", "spherical"])
def test_path_between_conditions_ends_under_the_second(path: Any) -> None:
    """The ends are the reconstructions of both rows, each under its own condition."""
    model = build(factor=3.0, condition="class")
    first, second = told(model, images(2), 0, 1), told(model, images(2, seed=1), 1, 0)
    found = inference.interpolate(model, first, second, num_points=5, path=path)
    for place, end in ((0, first), (-1, second)):
        torch.testing.assert_close(found[:, place], inference.reconstruct(model, end), rtol=1e-5, atol=1e-5)


def test_traversal_decodes_each_row_with_one_dimension_set() -> None:
    """Point by point: the row's mean latent with the named dimension at its value, under the row's own condition."""
    model = build(factor=3.0, condition="class")
    inputs = told(model, images(3), 0, 1, 1)
    found = inference.traverse(model, inputs, dimensions=(2, 0), extent=1.5, num_points=4)
    assert sorted(found.dimensions.tolist()) == [0, 2]
    torch.testing.assert_close(found.values, torch.linspace(-1.5, 1.5, 4))
    means: Tensor = inference.encode(model, inputs).mean
    for place, dimension in enumerate(found.dimensions.tolist()):
        for point, value in enumerate(found.values):
            z_NL = means.clone()
            z_NL[:, dimension] = value
            expected = inference.decode(model, z_NL, inputs.condition)
            torch.testing.assert_close(found.examples[:, place, point], expected, rtol=1e-5, atol=1e-5)


def test_traversal_begins_with_what_carries_most() -> None:
    """Dimensions come by their KL, which is that of the closed form, the largest first."""
    model, inputs = build(factor=3.0), images(8)
    posterior = model.encode(inputs)
    kl_L = torch.distributions.kl_divergence(
        torch.distributions.Normal(posterior.mean, posterior.std()), torch.distributions.Normal(0.0, 1.0)
    ).mean(0)
    found = inference.traverse(model, inputs)
    torch.testing.assert_close(found.kl, kl_L.sort(descending=True).values)
    assert torch.equal(found.dimensions, kl_L.argsort(descending=True))
