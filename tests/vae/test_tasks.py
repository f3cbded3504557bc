"""Tasks: what a trained model gives, and that it gives it again."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from vae import importance, tasks
from vae.config import MLP, Bernoulli, Gaussian, Likelihood, ModelConfig
from vae.model import VAE, ExampleSpec

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


def images(rows: int = 6) -> Tensor:
    return torch.rand(rows, *SHAPE, generator=torch.Generator().manual_seed(0))


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
        lambda labels: tasks.encode(model, x, labels).mean,
        lambda labels: tasks.decode(model, z, labels),
        lambda labels: tasks.reconstruct(model, x, labels),
        lambda labels: tasks.generate(model, 6, labels),
        lambda labels: tasks.score(model, x, labels, num_samples=2),
    ):
        assert not torch.allclose(task(first), task(second))


def test_score_is_the_importance_sampled_evidence() -> None:
    """The score of grey pixels under a Gaussian is the estimate of log p(x), a draw that the seed repeats."""
    model = build(Gaussian(sigma="fixed"))
    score = tasks.score(model, images(), num_samples=4000, seed=0)
    reference = importance.log_likelihood(
        model, images(), None, num_samples=4000, generator=torch.Generator().manual_seed(5)
    )
    torch.testing.assert_close(score, reference, atol=0.2, rtol=0)
    assert torch.equal(score, tasks.score(model, images(), num_samples=4000, seed=0))
    assert not torch.equal(score, tasks.score(model, images(), num_samples=4000, seed=1))


@pytest.mark.parametrize("policy", ["static", "dynamic"])
def test_score_binarises_what_the_model_saw_binary(policy: str) -> None:
    """Grey images are scored as binary ones: where every pixel has logit 1, the score counts whole pixels."""
    model = build(Bernoulli.model_validate({"binarization": policy}))
    with torch.no_grad():
        for parameter in [*model.decoder.parameters(), *model.posterior.parameters()]:
            parameter.zero_()  # the posterior is the prior, so that every importance weight is p(x|z)
        model.decoder.get_parameter("out.bias").fill_(1.0)
    white = tasks.score(model, images(), num_samples=3) + 16 * math.log(1 + math.e)
    torch.testing.assert_close(white, white.round(), atol=1e-4, rtol=0)
    binary = images().round()
    expected = binary.sum((1, 2, 3)) - 16 * math.log(1 + math.e)
    torch.testing.assert_close(tasks.score(model, binary, num_samples=3), expected)
