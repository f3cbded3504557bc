"""Changes: edits follow learned directions, and conditions are inferred."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.vae import ppca
from tests.vae.inference.small import LATENT, SHAPE, build, images
from vae import inference
from vae.config import ModelConfig
from vae.data.schema import Column
from vae.errors import ConfigError
from vae.model import VAE, ExampleSpec
from vae.parts.directions import Directions, fit_directions
from vae.parts.terms import Inputs


def test_edit_takes_the_method_that_is_asked_for() -> None:
    """Along the means or along the probe, so many steps."""
    model = build()
    model.directions = Directions(["size"], LATENT)
    model.directions.means[0], model.directions.probes[0] = torch.tensor([[1.0, 0, 0], [0, -2.0, 0]])
    mean = model.encode(images()).mean
    for method, direction in (("means", [1.0, 0, 0]), ("probe", [0, -2.0, 0])):
        expected = inference.decode(model, mean + 0.5 * torch.tensor(direction))
        torch.testing.assert_close(inference.edit(model, images(), "size", 0.5, method), expected)


def test_directions_are_those_that_made_the_latents() -> None:
    """Of z = 2·size·u + [class is b]·v + noise, with class and size correlated, each direction is told from the other."""
    generator = np.random.default_rng(0)
    label = generator.integers(2, size=20_000)
    size = generator.normal(size=20_000) * 3 + label
    u, v = np.array([1.0, 0, 0]), np.array([0, 1.0, 1.0])
    z = 2 * size[:, None] * u + label[:, None] * v + generator.normal(0, 0.3, (20_000, 3))
    columns = (Column("class", ("a", "b")), Column("size"), Column("same", ("only", "never")))
    values = np.stack([label, size, np.zeros(20_000)], axis=1).astype(np.float32)
    found = fit_directions(z.astype(np.float32), columns, values, np.zeros(3, np.float32))
    assert found.names == ("class=a", "class=b", "size")
    torch.testing.assert_close(
        found.of("size", "means"), torch.tensor([2 * size.std(), 0, 0]).float(), atol=0.05, rtol=0
    )
    torch.testing.assert_close(found.of("class=b", "means"), torch.tensor([0, 1.0, 1.0]), atol=0.05, rtol=0)
    torch.testing.assert_close(found.of("class=a", "means"), -found.of("class=b", "means"), atol=0.01, rtol=0)
    probe = found.of("class=b", "probe")
    assert torch.cosine_similarity(probe, torch.tensor([0, 1.0, 1.0]), dim=0) > 0.99
    assert probe @ found.of("class=b", "means") == pytest.approx(probe.square().sum().item(), rel=0.01)


def test_probe_gives_no_weight_to_an_unused_dimension() -> None:
    """Of a factor in z₀ and a dimension whose posterior is the prior, the probe moves the output as the means do.

    The output is z₀; the posterior's mean in the unused dimension is a trace of the factor, 1e-4 as large.
    """
    generator = np.random.default_rng(0)
    size = generator.normal(size=5000)
    z = np.stack([size + generator.normal(0, 0.3, 5000), 1e-4 * size + generator.normal(0, 1e-6, 5000)], axis=1)
    variance = np.array([0.01, 1.0], np.float32)
    found = fit_directions(z.astype(np.float32), (Column("size"),), size[:, None].astype(np.float32), variance)
    means, probe = (found.of("size", method)[0].item() for method in ("means", "probe"))
    assert 0.5 * means <= probe <= 1.01 * means


def test_category_is_contrasted_with_all_others() -> None:
    """A step of 1 leads from the mean of the other rows to the mean of the category's, also where shares differ."""
    generator = np.random.default_rng(0)
    label = generator.choice(3, 9000, p=[0.6, 0.3, 0.1])
    z = np.array([[0.0, 0], [4, 0], [0, 9]])[label] + generator.normal(0, 0.1, (9000, 2))
    columns, values = (Column("class", ("a", "b", "c")),), label[:, None].astype(np.float32)
    found = fit_directions(z.astype(np.float32), columns, values, np.zeros(2, np.float32))
    for code, name in enumerate(found.names):
        expected = z[label == code].mean(0) - z[label != code].mean(0)
        np.testing.assert_allclose(found.of(name, "means"), expected, atol=0.02)


def test_condition_is_found_out_by_the_likelihood() -> None:
    """Of a linear-Gaussian model whose classes shift the example, the likeliest class is that of the exact evidence."""
    torch.manual_seed(0)
    made = ppca.build(gap=1.0, classes=3)
    labels = torch.arange(30) % 3
    x = (made.evidence.sample((30,)) + labels[:, None]).view(30, *ppca.SHAPE)
    found = inference.infer_condition(made.model, Inputs(x), num_samples=5000).argmax(-1)
    exact = torch.stack([made.evidence.log_prob(x.flatten(1) - c) for c in range(3)]).argmax(0)
    assert torch.equal(found, exact)
    assert (found == labels).float().mean() > 0.7


def test_condition_of_numbers_is_not_found_out() -> None:
    """A number has no list of values to try."""
    config = ModelConfig.model_validate({"latent_dim": LATENT, "condition": ["size"]})
    model = VAE(config, ExampleSpec(SHAPE, attributes=(Column("size"),))).eval()
    with pytest.raises(ConfigError, match=r"categories alone; say which it is$"):
        inference.infer_condition(model, images())
