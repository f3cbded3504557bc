"""Tasks: what a trained model gives, and that it gives it again."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vae import importance, tasks
from vae.aggregate import fit_aggregate
from vae.config import MLP, Bernoulli, Gaussian, Likelihood, ModelConfig
from vae.errors import ConfigError
from vae.model import VAE, ExampleSpec, Inputs

SHAPE = (1, 4, 4)
LATENT = 3


def build(likelihood: Likelihood | None = None, classes: int = 0) -> VAE:
    config = ModelConfig(
        latent_dim=LATENT,
        encoder=MLP(hidden=(16,)),
        likelihood=likelihood or Gaussian(),
        condition="class" if classes else "none",
    )
    return VAE(config, ExampleSpec(SHAPE, tuple("abc"[:classes]) or None)).eval()


def images(rows: int = 6) -> Inputs:
    return Inputs(torch.rand(rows, *SHAPE, generator=torch.Generator().manual_seed(0)))


def test_encode_gives_the_posterior() -> None:
    """Mean and standard deviation are those of q(z|x), the same every time."""
    model = build()
    posterior = model.encode(images())
    code = tasks.encode(model, images())
    assert torch.equal(code.mean, posterior.mean)
    assert torch.equal(code.std, posterior.std())
    assert not code.mean.requires_grad


def test_reconstruct_decodes_the_posterior_mean() -> None:
    """A reconstruction is the likelihood's mean at the posterior mean, in [0, 1]."""
    model = build()
    expected = model.decode(model.encode(images()).mean[None])[0].sigmoid()
    found = tasks.reconstruct(model, images())
    torch.testing.assert_close(found, expected)
    assert found.shape == (6, *SHAPE)
    assert 0 <= found.min() <= found.max() <= 1


@pytest.mark.parametrize("output", ["mean", "sample"])
def test_generate_repeats_for_a_seed(output: tasks.Output) -> None:
    """The same seed gives the same bytes, another seed other images; the global generator plays no part."""
    model = build(Bernoulli())
    first = tasks.generate(model, 5, seed=3, output=output)
    torch.manual_seed(99)
    assert torch.equal(tasks.generate(model, 5, seed=3, output=output), first)
    assert not torch.equal(tasks.generate(model, 5, seed=4, output=output), first)
    assert first.shape == (5, *SHAPE)


def test_generate_draws_pixels_around_the_mean() -> None:
    """A sample comes from the same latents as the mean: binary, and on average the mean."""
    model = build(Bernoulli())
    mean = tasks.generate(model, 4000, seed=3)
    sample = tasks.generate(model, 4000, seed=3, output="sample")
    assert set(sample.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(sample.mean(0), mean.mean(0), atol=0.05, rtol=0)


def test_temperature_scales_the_latent() -> None:
    """At temperature t the latent is t times that at 1; near 0 every image is the decoder's at the origin."""
    model = build()
    cold = tasks.generate(model, 3, seed=0, temperature=1e-8)
    torch.testing.assert_close(cold, tasks.decode(model, torch.zeros(3, LATENT)))
    warm = tasks.generate(model, 64, seed=0).std(0).mean()
    assert tasks.generate(model, 64, seed=0, temperature=2.0).std(0).mean() > 1.2 * warm


def test_tasks_use_the_condition() -> None:
    """Another class gives another code, decoding, generation and score."""
    model = build(classes=3)
    x, first, second = images(), torch.zeros(6, dtype=torch.int64), torch.ones(6, dtype=torch.int64)
    z = torch.zeros(6, LATENT)
    for task in (
        lambda condition: tasks.encode(model, x._replace(condition=condition)).mean,
        lambda condition: tasks.decode(model, z, condition),
        lambda condition: tasks.reconstruct(model, x._replace(condition=condition)),
        lambda condition: tasks.generate(model, 6, condition),
        lambda condition: tasks.score(model, x._replace(condition=condition), num_samples=2),
    ):
        assert not torch.allclose(task(model.condition(first)), task(model.condition(second)))


def test_score_is_the_importance_sampled_evidence() -> None:
    """The score of grey pixels under a Gaussian is the estimate of log p(x), a draw that the seed repeats."""
    model = build(Gaussian(sigma="fixed"))
    score = tasks.score(model, images(), num_samples=4000, seed=0)
    reference = importance.log_likelihood(model, images(), num_samples=4000, generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(score, reference, atol=0.2, rtol=0)
    assert torch.equal(score, tasks.score(model, images(), num_samples=4000, seed=0))
    assert not torch.equal(score, tasks.score(model, images(), num_samples=4000, seed=1))


def test_generate_from_the_aggregate_posterior() -> None:
    """Latents come from the fitted mixture: from one narrow component, every image is the decoder's at its mean."""
    model = build()
    z = np.random.default_rng(0).normal([2.0, -1.0, 0.5], 1e-3, (100, LATENT)).astype(np.float32)
    with pytest.raises(ConfigError, match=r"no mixture .* use the prior$"):
        tasks.generate(model, 3, sampler="aggregate")
    model.aggregate = fit_aggregate(z, 1, seed=0)
    expected = tasks.decode(model, torch.tensor([[2.0, -1.0, 0.5]]).expand(3, -1))
    torch.testing.assert_close(tasks.generate(model, 3, sampler="aggregate"), expected, atol=0.02, rtol=0)


def test_aggregate_posterior_is_refused_where_each_condition_has_its_own_latents() -> None:
    """A mixture that knows no condition would give a class another's latents."""
    config = ModelConfig.model_validate({"latent_dim": LATENT, "condition": "class", "prior": {"kind": "conditional"}})
    model = VAE(config, ExampleSpec(SHAPE, classes=("a", "b")))
    model.aggregate = fit_aggregate(np.zeros((20, LATENT), np.float32), 1, seed=0)
    with pytest.raises(ConfigError, match=r"conditional prior .* use the prior$"):
        tasks.generate(model, 2, model.condition(torch.tensor([0, 1])), sampler="aggregate")
