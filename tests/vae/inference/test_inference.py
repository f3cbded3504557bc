"""Inference: what a trained model gives, and that it gives it again."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tests.vae.inference.small import LATENT, SHAPE, build, images
from vae import inference
from vae.config import ModelConfig
from vae.draws import RowDraws
from vae.errors import ConfigError
from vae.inference import coding, importance
from vae.inference.paths import spherical
from vae.model import VAE, ExampleSpec
from vae.parts.aggregate import fit_aggregate
from vae.parts.likelihoods.bernoulli import Bernoulli
from vae.parts.likelihoods.gaussian import Gaussian
from vae.parts.terms import Inputs
from vae.seeds import Stream


def test_encode_gives_the_posterior() -> None:
    """Mean and standard deviation are those of q(z|x), the same every time."""
    model = build()
    posterior = model.encode(images())
    code = inference.encode(model, images())
    assert torch.equal(code.mean, posterior.mean)
    assert torch.equal(code.std, posterior.std())
    assert not code.mean.requires_grad


def test_reconstruct_decodes_the_posterior_mean() -> None:
    """A reconstruction is the likelihood's mean at the posterior mean, in [0, 1]."""
    model = build()
    expected = model.decode(model.encode(images()).mean[None])[0].sigmoid()
    found = inference.reconstruct(model, images())
    torch.testing.assert_close(found, expected)
    assert found.shape == (6, *SHAPE)
    assert 0 <= found.min() <= found.max() <= 1


@pytest.mark.parametrize("output", ["mean", "sample"])
def test_generate_repeats_for_a_seed(output: inference.Output) -> None:
    """The same seed gives the same bytes, another seed other images; the global generator plays no part."""
    model = build(Bernoulli())
    first = inference.generate(model, 5, seed=3, output=output)
    torch.manual_seed(99)
    assert torch.equal(inference.generate(model, 5, seed=3, output=output), first)
    assert not torch.equal(inference.generate(model, 5, seed=4, output=output), first)
    assert first.shape == (5, *SHAPE)


def test_generate_draws_pixels_around_the_mean() -> None:
    """A sample comes from the same latents as the mean: binary, and on average the mean."""
    model = build(Bernoulli())
    mean = inference.generate(model, 4000, seed=3)
    sample = inference.generate(model, 4000, seed=3, output="sample")
    assert set(sample.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(sample.mean(0), mean.mean(0), atol=0.05, rtol=0)


def test_temperature_scales_the_latent() -> None:
    """At temperature t the latent is t times that at 1; near 0 every image is the decoder's at the origin."""
    model = build()
    cold = inference.generate(model, 3, seed=0, temperature=1e-8)
    torch.testing.assert_close(cold, inference.decode(model, torch.zeros(3, LATENT)))
    warm = inference.generate(model, 64, seed=0).std(0).mean()
    assert inference.generate(model, 64, seed=0, temperature=2.0).std(0).mean() > 1.2 * warm


def test_tasks_use_the_condition() -> None:
    """Another class gives another code, decoding, generation and score."""
    model = build(classes=3)
    x, first, second = images(), torch.zeros(6, dtype=torch.int64), torch.ones(6, dtype=torch.int64)
    z = torch.zeros(6, LATENT)
    for task in (
        lambda condition: inference.encode(model, x._replace(condition=condition)).mean,
        lambda condition: inference.decode(model, z, condition),
        lambda condition: inference.reconstruct(model, x._replace(condition=condition)),
        lambda condition: inference.generate(model, 6, condition),
        lambda condition: inference.score(model, x._replace(condition=condition), num_samples=2),
    ):
        assert not torch.allclose(task(model.condition(first)), task(model.condition(second)))


def test_score_is_the_importance_sampled_evidence() -> None:
    """The score of grey pixels under a Gaussian is the estimate of log p(x), a draw that the seed repeats."""
    model = build(Gaussian(sigma="fixed"))
    score = inference.score(model, images(), num_samples=4000, seed=0)
    reference = importance.log_likelihood(model, images(), num_samples=4000, draws=RowDraws(5, Stream.EVALUATION))
    torch.testing.assert_close(score, reference, atol=0.2, rtol=0)
    assert torch.equal(score, inference.score(model, images(), num_samples=4000, seed=0))
    assert not torch.equal(score, inference.score(model, images(), num_samples=4000, seed=1))


def test_generate_from_the_aggregate_posterior() -> None:
    """Latents come from the fitted mixture: from one narrow component, every image is the decoder's at its mean."""
    model = build()
    z = np.random.default_rng(0).normal([2.0, -1.0, 0.5], 1e-3, (100, LATENT)).astype(np.float32)
    with pytest.raises(ConfigError, match=r"no mixture .* use the prior$"):
        inference.generate(model, 3, sampler="aggregate")
    model.aggregate = fit_aggregate(z, 1, seed=0)
    expected = inference.decode(model, torch.tensor([[2.0, -1.0, 0.5]]).expand(3, -1))
    torch.testing.assert_close(inference.generate(model, 3, sampler="aggregate"), expected, atol=0.02, rtol=0)


def test_temperature_reaches_the_aggregate_posterior() -> None:
    """Near 0 every latent is the mean of its component, however wide that is."""
    model = build()
    z = np.random.default_rng(0).normal([2.0, -1.0, 0.5], 3.0, (100, LATENT)).astype(np.float32)
    model.aggregate = fit_aggregate(z, 1, seed=0)
    found = inference.generate(model, 3, sampler="aggregate", temperature=1e-8)
    expected = inference.decode(model, torch.from_numpy(z.mean(0)).expand(3, -1))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_score_of_codes_is_the_bound() -> None:
    """Of a vector-quantised model: minus the distortion at the codes, minus log K for each of them."""
    quantized = {"kind": "vector_quantized", "codes": 8, "code_dim": 1}
    parts = {"latent_dim": LATENT, "encoder": {"kind": "mlp", "hidden": [8]}, "posterior": quantized}
    config = ModelConfig.model_validate({**parts, "prior": {"kind": "uniform_codes"}})
    model, x = VAE(config, ExampleSpec(SHAPE)).eval(), images()._replace(x=images().x.round())
    with torch.no_grad():
        outputs = model.decode(model.encode(x).mean[None])
        expected = model.likelihood.log_prob(x.x, outputs)[0] - LATENT * math.log(8)
    torch.testing.assert_close(inference.score(model, x), expected)


def test_every_draw_has_a_stream_of_its_own() -> None:
    """With one seed, latents, pixels and the other draws of a task come from different random numbers."""
    seeds = [
        inference.generator_of(torch.zeros(1), seed, draws).initial_seed() for seed in (0, 1) for draws in coding.DRAWS
    ]
    assert len(set(seeds)) == 2 * len(coding.DRAWS)


def test_aggregate_posterior_is_refused_where_each_condition_has_its_own_latents() -> None:
    """A mixture that knows no condition would give a class another's latents."""
    config = ModelConfig.model_validate({"latent_dim": LATENT, "condition": "class", "prior": {"kind": "conditional"}})
    model = VAE(config, ExampleSpec(SHAPE, classes=("a", "b")))
    model.aggregate = fit_aggregate(np.zeros((20, LATENT), np.float32), 1, seed=0)
    with pytest.raises(ConfigError, match=r"conditional prior .* use the prior$"):
        inference.generate(model, 2, model.condition(torch.tensor([0, 1])), sampler="aggregate")


def bent() -> VAE:
    """A model whose decoder is far from linear."""
    model = build()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4)
    return model


def test_geodesic_is_no_longer_than_the_line() -> None:
    """Under the decoder's metric, row by row, and shorter for most; with the same ends."""
    model, first, second = bent(), images(8), Inputs(images(16).x[8:])
    line, geodesic = (inference.latent_path(model, first, second, 12, path) for path in ("linear", "geodesic"))
    lengths = [inference.path_length(model, path, first, second) for path in (line, geodesic)]
    assert (lengths[1] <= lengths[0]).all()
    assert (lengths[1] < 0.99 * lengths[0]).float().mean() > 0.5
    assert torch.equal(line[:, [0, -1]], geodesic[:, [0, -1]])


def test_spherical_path_keeps_to_the_sphere() -> None:
    """Between latents of one length every point has that length, and the angle grows evenly; the same point stays."""
    ends = torch.tensor([[3.0, 0.0, 0.0], [0.0, 3.0, 0.0]])
    path = spherical(ends[:1], ends[1:], 7)
    torch.testing.assert_close(path.norm(dim=-1), torch.full((1, 7), 3.0))
    angles = torch.atan2(path[0, :, 1], path[0, :, 0])
    torch.testing.assert_close(angles, torch.linspace(0, math.pi / 2, 7), atol=1e-5, rtol=0)
    torch.testing.assert_close(spherical(ends[:1], ends[:1], 5), ends[:1].expand(1, 5, 3))
    assert spherical(ends[:1], -ends[:1], 5).isfinite().all()
