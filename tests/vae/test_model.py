"""The VAE: what its terms are, what conditions it, and what its weights depend on."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, distributions

from vae.config import ModelConfig, parse
from vae.errors import DataError
from vae.model import VAE, Column, ExampleSpec
from vae.parts.distributions import Gaussian
from vae.parts.terms import Inputs

SHAPE = (1, 4, 4)
WEIGHT = "encoder.dense.stages.0.layer.weight"


def build(seed: int = 0, classes: int = 0, **changes: Any) -> VAE:
    config = parse(
        ModelConfig,
        {
            "latent_dim": 3,
            "encoder": {"kind": "mlp", "hidden": [8]},
            "likelihood": {"kind": "gaussian"},
            "condition": "class" if classes else "none",
            **changes,
        },
    )
    return VAE(config, ExampleSpec(SHAPE, tuple("abcdef"[:classes]) or None), seed)


def batch(rows: int = 5, samples: int = 2, latent: int = 3) -> tuple[Inputs, Tensor]:
    generator = torch.Generator().manual_seed(7)
    x = torch.rand(rows, *SHAPE, generator=generator)
    return Inputs(x), torch.randn(samples, rows, latent, generator=generator)


def told(inputs: Inputs, model: VAE, labels: Tensor) -> Inputs:
    return inputs._replace(condition=model.condition(labels))


def test_terms_match_torch_distributions() -> None:
    """KL and importance weight agree with an independent implementation of the same Gaussians."""
    model = build()
    x, noise = batch()
    terms = model(x, noise)
    q = distributions.Normal(terms.posterior.mean, terms.posterior.std())
    p = distributions.Normal(0.0, 1.0)
    torch.testing.assert_close(terms.z, q.mean + q.stddev * noise)
    assert terms.kl is not None
    torch.testing.assert_close(terms.kl[0], distributions.kl_divergence(q, p))
    torch.testing.assert_close(terms.rate[0], distributions.kl_divergence(q, p).sum(-1))
    log_weight = terms.log_likelihood + (p.log_prob(terms.z) - q.log_prob(terms.z)).sum(-1)
    torch.testing.assert_close(terms.log_weight, log_weight)
    assert torch.equal(terms.distortion, -terms.log_likelihood)


def test_kl_closed_form_matches_monte_carlo() -> None:
    """E[log q − log p] over 100,000 draws is the closed-form KL, within 5 standard errors."""
    model = build()
    with torch.no_grad():
        model.posterior.head.bias[3:] = torch.tensor([-1.5, 0.0, 0.7])  # narrow, equal and wide dimensions
        posterior, prior = model.encode(batch()[0]), model.prior_of()
        draw = posterior.draw(torch.randn(100_000, 5, 3, generator=torch.Generator().manual_seed(0)), prior)
        ratio = (draw.log_prob() - prior.log_prob(draw)).double()
        kl = prior.kl(posterior, draw)
        assert kl is not None
        error = (ratio.mean(0) - kl[0].sum(-1)) / (ratio.std(0) / len(ratio) ** 0.5)
    assert error.abs().max() < 5


def test_terms_do_not_mix_examples() -> None:
    """Each example's terms are the same alone as in a batch, with its own noise and class."""
    model = build(classes=3)
    x, noise = batch()
    labels = torch.tensor([0, 1, 2, 0, 1])
    together = model(told(x, model, labels), noise)
    for row in range(5):
        part = slice(row, row + 1)
        alone = model(told(Inputs(x.x[part]), model, labels[part]), noise[:, part])
        torch.testing.assert_close(alone.log_likelihood, together.log_likelihood[:, part])
        torch.testing.assert_close(alone.rate, together.rate[:, part])


def test_condition_reaches_encoder_and_decoder() -> None:
    """Permuting the classes changes log q(z|x,y) and log p(x|z,y)."""
    model = build(classes=3)
    x, noise = batch()
    labels = torch.tensor([0, 1, 2, 0, 1])
    one, other = told(x, model, labels), told(x, model, labels.roll(1))
    q, other_q = model.encode(one), model.encode(other)
    assert isinstance(q, Gaussian)
    assert isinstance(other_q, Gaussian)
    assert (q.log_prob(noise) != other_q.log_prob(noise)).all()
    score = model.likelihood.log_prob
    first, second = model.decode(noise, one.condition), model.decode(noise, other.condition)
    assert (score(x.x, first) != score(x.x, second)).all()


def test_condition_is_one_hot_and_standardised() -> None:
    """Categories become one-hot vectors, numbers standard deviations from their mean, in the order of the model's list."""
    size, colour = Column("size", None, 100.0, 20.0), Column("colour", ("red", "green"))
    config = parse(ModelConfig, {"latent_dim": 2, "condition": ["size", "class", "colour"]})
    model = VAE(config, ExampleSpec(SHAPE, ("a", "b", "c"), attributes=(colour, size)))
    found = model.condition(torch.tensor([2, 0]), torch.tensor([[1.0, 130.0], [0.0, 90.0]]))
    assert found is not None
    assert found.tolist() == [[1.5, 0, 0, 1, 0, 1], [-0.5, 1, 0, 0, 1, 0]]


def test_unconditional_model_ignores_labels() -> None:
    """Labels of the data change nothing in a model without a condition."""
    model = build()
    x, noise = batch()
    assert model.condition(torch.arange(5)) is None
    assert torch.equal(model(x, noise).log_weight, model(told(x, model, torch.arange(5)), noise).log_weight)


def test_condition_without_labels_in_the_data_is_refused() -> None:
    """A conditional model of unlabelled data is refused with what to do."""
    with pytest.raises(DataError) as error:
        VAE(ModelConfig(condition="class"), ExampleSpec(SHAPE))
    assert str(error.value) == (
        "model.condition is `class`, but the dataset has no labels; ingest it with labels or set it to `none`"
    )


def test_weights_depend_on_the_seed_alone() -> None:
    """The same seed gives the same weights, another one others; the global generator is left alone."""
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    first, again, other = build(0), build(0), build(1)
    assert torch.equal(torch.rand(1), expected)
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    assert not torch.equal(first.state_dict()[WEIGHT], other.state_dict()[WEIGHT])


def test_decoder_may_differ_from_the_encoder() -> None:
    """A conv encoder with an MLP decoder is one configuration."""
    model = build(encoder={"kind": "conv", "channels": [4], "hidden": 8}, decoder={"kind": "mlp", "hidden": [6]})
    x, noise = batch()
    assert model(x, noise).log_likelihood.shape == (2, 5)
