"""Bounds over a split: sampled, seeded, additive, and above the negative log-likelihood."""

from __future__ import annotations

import json
import math
from dataclasses import asdict

import pytest
import torch
from torch import Tensor

from vae.config import ModelConfig
from vae.data.batches import Batch
from vae.draws import RowDraws
from vae.inference import importance
from vae.metrics.likelihood import (
    Sums,
    bound_sums,
    inputs_of,
    mutual_information,
    negative_log_likelihood,
    row_likelihoods,
)
from vae.model import VAE, ExampleSpec
from vae.parts import distributions
from vae.parts.bodies.mlp import MLP
from vae.parts.bounds.iwae import Iwae
from vae.parts.likelihoods import LikelihoodConfig
from vae.parts.likelihoods.bernoulli import Bernoulli
from vae.parts.likelihoods.categorical import Categorical
from vae.parts.likelihoods.gaussian import Gaussian
from vae.parts.terms import Inputs
from vae.seeds import Stream

SHAPE = (1, 4, 4)
LATENT = 3


def build(likelihood: LikelihoodConfig | None = None) -> VAE:
    config = ModelConfig(
        latent_dim=LATENT, encoder=MLP(hidden=(8,)), likelihood=likelihood or Bernoulli(binarization="none")
    )
    return VAE(config, ExampleSpec(SHAPE))


def images(rows: int = 64) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return 255 * torch.randint(2, (rows, *SHAPE), generator=generator).to(torch.uint8)


def cut(pixels: Tensor, size: int) -> list[Batch]:
    return [Batch(part, None) for part in pixels.split(size)]


def test_bound_is_the_mean_of_the_terms() -> None:
    """Distortion, rate and KL per dimension are means over examples; the last batch may be shorter."""
    model, pixels = build(), images(10)
    bound = bound_sums(model, cut(pixels, 4), seed=0).bound()
    standard = distributions.Gaussian(torch.zeros(LATENT), torch.zeros(LATENT))
    with torch.no_grad():
        kl = model.encode(Inputs(pixels.float() / 255)).kl(standard).mean(0)
    assert bound.num_examples == 10
    assert bound.kl_per_dimension == pytest.approx(kl.tolist(), rel=1e-5)
    assert bound.rate == pytest.approx(kl.sum().item(), rel=1e-5)
    assert bound.negative_elbo == bound.distortion + bound.rate


def test_importance_weighted_bound_is_of_as_many_draws() -> None:
    """−log 1/S Σ w of the draws that distortion and rate are means of: below the ELBO, which is their sum."""
    model, pixels = build(), images(10)
    with torch.no_grad():
        model.posterior.head.bias[LATENT:] = 1.0  # a posterior wide enough for the bounds to differ
    drawn: list[Tensor] = []
    model.register_forward_hook(lambda _, args, terms: drawn.append(terms.log_weight))
    bound = bound_sums(model, cut(pixels, 10), seed=0, bound=Iwae(samples=5)).bound()
    (log_weight_SB,) = drawn
    assert bound.negative_bound == pytest.approx(-(log_weight_SB.exp().mean(0).log()).mean().item(), rel=1e-5)
    assert bound.negative_bound < bound.negative_elbo - 0.1
    single = bound_sums(model, cut(pixels, 10), seed=0).bound()
    assert single.negative_bound == pytest.approx(single.negative_elbo, rel=1e-12)


def test_bound_samples_the_posterior() -> None:
    """The distortion is that of draws, the same for a seed and another for another, and above that of the mean."""
    model = build(Gaussian(sigma="fixed"))
    with torch.no_grad():
        model.decoder.get_parameter("out.weight").mul_(20)  # a decoder that reacts to where z is
    batches = cut(images(256), 256)
    first, again, other = (bound_sums(model, batches, seed=seed).bound() for seed in (0, 0, 1))
    assert first == again
    assert first.distortion != other.distortion
    assert first.rate == other.rate
    with torch.no_grad():
        x = Inputs(images(256).float() / 255)
        at_mean = model(x, torch.zeros(1, 256, LATENT)).distortion.mean().item()
    assert min(first.distortion, other.distortion) > 1.1 * at_mean


def test_bound_draws_belong_to_the_row() -> None:
    """Equal examples in other rows do not get the same noise; the same rows do, in whatever batches."""
    model, pixels = build(), images(8)
    once = bound_sums(model, cut(pixels, 8), seed=0).vector
    twice = bound_sums(model, cut(pixels.repeat(2, 1, 1, 1), 8), seed=0).vector
    elsewhere = bound_sums(model, cut(pixels, 8), seed=0, first=8).vector
    torch.testing.assert_close(bound_sums(model, cut(pixels, 3), seed=0).vector, once)
    assert elsewhere[1] != once[1]
    torch.testing.assert_close(twice, once + elsewhere)


def test_sums_of_ranks_add_up() -> None:
    """The bound of added sums is the bound over all examples."""
    model, pixels = build(), images(24)
    parts = [bound_sums(model, cut(pixels[part], 8), seed=0, first=part.start) for part in (slice(0, 5), slice(5, 24))]
    total = Sums(parts[0].vector + parts[1].vector).bound()
    weights = [5 / 24, 19 / 24]
    for field in ("distortion", "rate"):
        by_hand = sum(weight * getattr(part.bound(), field) for weight, part in zip(weights, parts, strict=True))
        assert getattr(total, field) == pytest.approx(by_hand, rel=1e-12)


def test_bound_leaves_the_global_generator_alone() -> None:
    """Evaluation draws nothing from the global generator and leaves no gradient."""
    model = build()
    state = torch.get_rng_state()
    bound_sums(model, cut(images(8), 4), seed=0)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_active_units_counts_dimensions_that_vary() -> None:
    """Means with variance 1, 0.02, 0.009 and 0 around an offset make two active units (threshold 0.01)."""
    mean = torch.stack([torch.tensor([-1.0, 1.0]) * math.sqrt(v) + 5 for v in (1.0, 0.02, 0.009, 0.0)], -1).double()
    moments = [mean.sum(0), mean.square().sum(0)]
    vector = torch.cat([torch.tensor([2.0, 0.0, 0.0, 0.0]), torch.zeros(4), *moments, *moments]).double()
    bound = Sums(vector).bound()
    assert bound.active_units == 2
    assert bound.mean_variance_per_dimension == pytest.approx((1.0, 0.02, 0.009, 0.0), rel=1e-4)
    assert bound.aggregate_std_per_dimension == pytest.approx((1.0, 0.02**0.5, 0.009**0.5, 0.0), rel=1e-4)
    assert bound.informative_dimensions == [0, 1, 2, 3]


def test_active_units_of_a_model_follow_its_encoder() -> None:
    """An encoder whose mean depends on the example in one dimension alone has one active unit."""
    model = build()
    with torch.no_grad():
        model.posterior.head.weight.zero_()
        model.posterior.head.weight[1] = 10.0
    assert bound_sums(model, cut(images(), 16), seed=0).bound().active_units == 1


def test_negative_elbo_is_above_the_negative_log_likelihood() -> None:
    """The bound is not below the NLL that 200 draws give, and one draw gives the bound within 5 standard errors."""
    model, pixels = build(), images(2048)
    with torch.no_grad():
        model.posterior.head.bias[LATENT:] = 1.0  # a posterior wide enough for the bound to be loose
    batches = cut(pixels, 512)
    bound = bound_sums(model, batches, seed=0).bound()
    tight = negative_log_likelihood(model, batches, num_samples=200, seed=0)
    loose = negative_log_likelihood(model, batches, num_samples=1, seed=0)
    assert tight.standard_error is not None
    assert loose.standard_error is not None
    assert bound.negative_elbo > tight.nats + 5 * tight.standard_error
    assert bound.negative_elbo == pytest.approx(loose.nats, abs=5 * math.sqrt(2) * loose.standard_error)


def test_negative_log_likelihood_states_its_protocol() -> None:
    """Count, draws, standard error and bits per dimension are what they say; the seed repeats it."""
    model, pixels = build(), images(100)
    result = negative_log_likelihood(model, cut(pixels, 30), num_samples=4, seed=3)
    assert result == negative_log_likelihood(model, cut(pixels, 30), num_samples=4, seed=3)
    assert result != negative_log_likelihood(model, cut(pixels, 30), num_samples=4, seed=4)
    assert (result.num_samples, result.num_examples) == (4, 100)
    assert result.bits_per_dim == pytest.approx(result.nats / math.log(2) / 16)
    assert result.standard_error is not None
    assert 0 < result.standard_error < 1


def test_standard_error_is_that_of_the_mean() -> None:
    """The spread of the examples' own estimates, divided by the root of their number."""
    model, pixels = build(), images(100)
    draws = RowDraws(3, Stream.EVALUATION)
    inputs = inputs_of(model, cut(pixels, 100)[0], draws)
    each = -importance.log_likelihood(model, inputs, num_samples=4, draws=draws)
    result = negative_log_likelihood(model, cut(pixels, 100), num_samples=4, seed=3)
    assert result.nats == pytest.approx(each.mean().item(), rel=1e-6)
    assert result.standard_error == pytest.approx(each.std().item() / 10, rel=1e-6)


def test_likelihood_of_a_row_does_not_depend_on_its_batch() -> None:
    """Pixels drawn anew and latents belong to a row and a sample: batches of any size, from any row on, agree."""
    model = build(Bernoulli(binarization="dynamic"))
    grey = torch.randint(256, (50, *SHAPE), generator=torch.Generator().manual_seed(4), dtype=torch.uint8)
    whole = row_likelihoods(model, cut(grey, 50), num_samples=5, seed=3).nats
    for size in (1, 7, 16):
        torch.testing.assert_close(row_likelihoods(model, cut(grey, size), num_samples=5, seed=3).nats, whole)
    part = row_likelihoods(model, cut(grey[13:], 9), num_samples=5, seed=3, first=13).nats
    torch.testing.assert_close(part, whole[13:])


def test_bits_per_dimension_are_of_the_observed_values() -> None:
    """A model to which 16 levels are equally probable needs 4 bits for each observed pixel, however few are observed."""
    model, generator = build(Categorical(levels=16)), torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in [*model.decoder.parameters(), *model.posterior.parameters()]:
            parameter.zero_()  # all levels get the same logit, and the posterior is the prior
    pixels = torch.randint(256, (50, *SHAPE), generator=generator, dtype=torch.uint8)
    observed = torch.rand(pixels.shape, generator=generator) < 0.1
    batches = [Batch(pixels[start : start + 20], observed=observed[start : start + 20]) for start in (0, 20, 40)]
    result = negative_log_likelihood(model, batches, num_samples=2, seed=0)
    assert result.bits_per_dim == pytest.approx(4)
    assert result.nats == pytest.approx(4 * math.log(2) * observed.sum().item() / 50)


def test_single_example_has_no_standard_error() -> None:
    """The standard error of one example's likelihood is None and not NaN, which is no JSON; the report shows a dash."""
    result = negative_log_likelihood(build(), cut(images(1), 1), num_samples=2, seed=0)
    assert result.standard_error is None
    assert math.isfinite(json.loads(json.dumps(asdict(result), allow_nan=False))["nats"])


@pytest.mark.parametrize(
    ("likelihood", "observed"),
    [(None, torch.zeros(3, *SHAPE, dtype=torch.bool)), (Gaussian(), None)],
    ids=["nothing is observed", "pixels are continuous"],
)
def test_likelihood_without_a_count_of_values_has_no_bits(
    likelihood: LikelihoodConfig | None, observed: Tensor | None
) -> None:
    """Bits per dimension need observed values to divide by, and probabilities rather than densities."""
    batch = Batch(images(3), observed=observed)
    assert negative_log_likelihood(build(likelihood), [batch], num_samples=2, seed=0).bits_per_dim is None


def test_mutual_information_of_known_posteriors() -> None:
    """Posteriors far apart tell which of 64 examples it was, log 64 nats; equal ones tell nothing."""
    model = build()
    with torch.no_grad():
        model.posterior.head.weight.mul_(1e4)
        model.posterior.head.weight[LATENT:] = 0.0
    assert mutual_information(model, cut(images(), 16), seed=0) == pytest.approx(math.log(64), abs=1e-3)
    with torch.no_grad():
        model.posterior.head.weight.zero_()
    assert mutual_information(model, cut(images(), 16), seed=0) == pytest.approx(0, abs=1e-4)


def test_quantized_model_is_scored_by_its_bound() -> None:
    """One code for an example: the score is distortion plus rate, and needs no draws."""
    config = ModelConfig.model_validate(
        {
            "latent_dim": 4,
            "encoder": {"kind": "mlp", "hidden": [8]},
            "posterior": {"kind": "vector_quantized", "codes": 5, "code_dim": 2},
            "prior": {"kind": "uniform_codes"},
        }
    )
    model, batches = VAE(config, ExampleSpec(SHAPE)), cut(images(), 16)
    score = negative_log_likelihood(model, batches, num_samples=7, seed=0)
    bound = bound_sums(model, batches, seed=0).bound()
    assert score.num_samples == 0
    assert score.nats == pytest.approx(bound.negative_elbo, rel=1e-5)
    assert bound.rate == pytest.approx(2 * math.log(5), rel=1e-6)
    assert bound.kl_per_dimension is None
