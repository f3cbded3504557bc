"""Likelihoods: each density against another implementation of it, and what batches become before they are scored.

What holds for all of them is in `tests/laws/test_likelihood_laws.py`.
"""

from __future__ import annotations

import itertools
import math
from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor, distributions

from vae.data.schema import Column, ExampleSpec
from vae.errors import ConfigError
from vae.parts.likelihoods import LikelihoodConfig
from vae.parts.likelihoods.bernoulli import Bernoulli
from vae.parts.likelihoods.categorical import Categorical, LevelFamily
from vae.parts.likelihoods.continuous_bernoulli import ContinuousBernoulli, ContinuousBernoulliFamily
from vae.parts.likelihoods.discretized_logistic import DiscretizedLogistic, DiscretizedLogisticFamily
from vae.parts.likelihoods.gaussian import Gaussian
from vae.parts.likelihoods.laplace import Laplace
from vae.parts.likelihoods.likelihood import GREY_LEVEL
from vae.parts.likelihoods.location_scale import LOG_SIGMA_FLOOR, DecodedScale, FixedScale, LearnedScale, anywhere
from vae.parts.likelihoods.mixed import Mixed
from vae.parts.likelihoods.student_t import StudentTFamily, StudentTLikelihood

IMAGES = ExampleSpec((2, 2, 3))
TABLE = ExampleSpec(
    (5,),
    columns=(
        Column("colour", ("red", "green", "blue"), mean=0.9, std=0.7),  # of codes, which mean nothing
        Column("weight", mean=70.0, std=12.5),
        Column("smokes", ("no", "yes")),
        Column("height", mean=1.7, std=0.1),
        Column("shape", ("round", "square", "long")),
    ),
)
PIXELS: list[LikelihoodConfig] = [
    Bernoulli(),
    ContinuousBernoulli(),
    Gaussian(),
    Laplace(),
    StudentTLikelihood(),
    DiscretizedLogistic(),
    Categorical(),
]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=generator(seed))


# --- each density ---------------------------------------------------------------------------------------------------


def test_bernoulli_sums_to_one_over_images() -> None:
    """Over all 2⁶ binary images the probabilities sum to 1 at each of several outputs."""
    images = torch.tensor(list(itertools.product([0.0, 1.0], repeat=6))).view(-1, 1, 2, 3)
    outputs = 3 * randn(4, 1, 1, 2, 3)
    log_prob = Bernoulli().build(ExampleSpec((1, 2, 3))).log_prob(images, outputs.expand(4, 64, 1, 2, 3))
    torch.testing.assert_close(log_prob.logsumexp(1), torch.zeros(4), atol=1e-5, rtol=0)


def test_bernoulli_is_finite_at_certain_logits() -> None:
    """Logits form: a confident wrong answer costs its logit, not infinity, and has a gradient."""
    outputs = torch.full((1, 1, 2, 2, 3), 200.0, requires_grad=True)
    log_prob = Bernoulli().build(IMAGES).log_prob(torch.zeros(1, 2, 2, 3), outputs)
    assert log_prob.item() == pytest.approx(-200.0 * 12)
    log_prob.sum().backward()
    assert outputs.grad is not None
    assert torch.equal(outputs.grad, -torch.ones_like(outputs))


def log_scale(raw: Tensor, initial: float = 0.25) -> Tensor:
    """Log s = −6 + log(1 + exp(raw + c)), with c so that s = `initial` at raw = 0."""
    return torch.log1p(torch.exp(raw + math.log(math.expm1(math.log(initial) + 6)))) - 6


@pytest.mark.parametrize(
    ("config", "reference"),
    [
        (Bernoulli(), lambda p: distributions.Bernoulli(logits=p[0])),
        (ContinuousBernoulli(), lambda p: distributions.ContinuousBernoulli(logits=p[0])),
        (Gaussian(sigma="fixed", initial_sigma=0.3), lambda p: distributions.Normal(p[0].sigmoid(), 0.3)),
        (Gaussian(initial_sigma=1.5), lambda p: distributions.Normal(p[0].sigmoid(), 1.5)),
        (
            Gaussian(sigma="per_pixel", initial_sigma=0.1),
            lambda p: distributions.Normal(p[0].sigmoid(), log_scale(p[1], 0.1).exp()),
        ),
        (Laplace(), lambda p: distributions.Laplace(p[0].sigmoid(), log_scale(p[1]).exp())),
        (
            StudentTLikelihood(),
            lambda p: distributions.StudentT(3 + p[2].exp().log1p(), p[0].sigmoid(), log_scale(p[1]).exp()),
        ),
    ],
    ids=lambda value: value.kind if hasattr(value, "kind") else "",
)
def test_density_is_that_of_torch_distributions(config: LikelihoodConfig, reference) -> None:
    """Log density, mean and deviation, of parameters that come as channels [P·C], the first of every channel first."""
    likelihood = config.build(IMAGES).double()
    outputs, x = randn(2, 5, *likelihood.outputs_shape).double(), randn(5, 2, 2, 3).gt(0).double()
    expected = reference(outputs.view(2, 5, -1, 2, 2, 3).movedim(2, 0))
    torch.testing.assert_close(likelihood.log_prob(x, outputs), expected.log_prob(x).sum((2, 3, 4)), rtol=1e-5, atol=0)
    torch.testing.assert_close(likelihood.mean(outputs), expected.mean, rtol=1e-5, atol=0)
    torch.testing.assert_close(likelihood.std(outputs), expected.variance.sqrt(), rtol=1e-4, atol=1e-5)


def test_categorical_is_that_of_torch_distributions() -> None:
    """A level's probability is the softmax of its logit; levels are of equal width."""
    likelihood = Categorical(levels=4).build(IMAGES)
    outputs, level = randn(2, 5, *likelihood.outputs_shape), torch.randint(4, (5, 2, 2, 3), generator=generator())
    expected = distributions.Categorical(logits=outputs.view(2, 5, 4, 2, 2, 3).movedim(2, -1))
    for first_or_last in (0, 63):
        x = (64 * level + first_or_last) / 255
        torch.testing.assert_close(likelihood.log_prob(x, outputs), expected.log_prob(level).sum((2, 3, 4)))


@pytest.mark.parametrize("levels", [2, 3, 100, 200, 255, 256])
def test_levels_share_the_grey_values(levels: int) -> None:
    """Each has ⌊256/K⌋ or ⌈256/K⌉ of them in order, and its value, their mean, is one of it."""
    family = LevelFamily(levels)
    numbers = torch.arange(levels, dtype=torch.double)  # as logits: log p of a level is its number, less a constant

    def level_of(x: Tensor) -> Tensor:
        log_prob = family.log_prob(x, numbers[:, None].expand(-1, len(x)))
        return (log_prob + numbers.logsumexp(0)).round().long()

    level = level_of(torch.arange(256) / 255)
    members = torch.bincount(level)
    assert (level.diff() >= 0).all()
    assert len(members) == levels
    assert set(members.tolist()) <= {256 // levels, -(-256 // levels)}
    values = family.mean(100 * torch.eye(levels))
    torch.testing.assert_close(values, torch.bincount(level, torch.arange(256) / 255).float() / members)
    assert torch.equal(level_of(values), torch.arange(levels))


@pytest.mark.parametrize("logit", [0.0, 1e-6, -1e-3, 0.1, 1.0, -1.01, 5.0, -30.0, 200.0])
def test_continuous_bernoulli_is_exact_near_one_half(logit: float) -> None:
    """Log density, its slope, mean and deviation in float32 agree with Gauss–Legendre integrals, where they are 0/0 too."""
    nodes, weights = np.polynomial.legendre.leggauss(200)
    t, weights = (nodes + 1) / 2, weights / 2
    mass = weights * np.exp(logit * (t - (logit > 0)))
    mean = (mass * t).sum() / mass.sum()
    variance = (mass * (t - mean) ** 2).sum() / mass.sum()
    family, params = ContinuousBernoulliFamily(), torch.tensor([[logit]], requires_grad=True)
    log_prob = family.log_prob(torch.tensor([0.3]), params)
    assert log_prob.item() == pytest.approx(logit * (0.3 - (logit > 0)) - math.log(mass.sum()), rel=1e-5, abs=1e-6)
    (slope,) = torch.autograd.grad(log_prob, params)
    assert slope.item() == pytest.approx(0.3 - mean, abs=2e-6)
    assert family.mean(params).item() == pytest.approx(mean, abs=1e-6)
    assert family.std(params).item() == pytest.approx(math.sqrt(variance), rel=1e-4)


def test_continuous_bernoulli_draws_uniformly_at_one_half() -> None:
    """Where the inverse of its distribution function is 0/0 a draw is the uniform number that it comes from."""
    drawn = ContinuousBernoulliFamily().sample(torch.tensor([[0.0, -1e-9]]).repeat(1, 100), generator())
    torch.testing.assert_close(drawn, torch.rand(200, generator=generator()), atol=1e-6, rtol=0)


def mixture(logits: list[float], location: list[float], raw_scale: list[float]) -> Tensor:
    """Parameters [3M,1] of one value."""
    return torch.tensor([*logits, *location, *raw_scale])[:, None]


MIXTURES = {
    "wide": mixture([0.0, 1.0, -1.0], [0.5, -2.0, 3.0], [0.0, 1.0, 3.0]),
    "narrow": mixture([0.0, 1.0, -1.0], [0.51, -2.0, 3.0], [-40.0, -5.0, -3.0]),
    "black": mixture([5.0, 0.0, 0.0], [-30.0, -2.0, 3.0], [-40.0, 0.0, 0.0]),
    "white": mixture([5.0, 0.0, 0.0], [30.0, -2.0, 3.0], [-40.0, 0.0, 0.0]),
}
GREY = (torch.arange(256) / 255)[:, None]


@pytest.mark.parametrize("params", MIXTURES.values(), ids=MIXTURES)
def test_discretized_logistic_is_the_difference_of_distribution_functions(params: Tensor) -> None:
    """Of the mixture's levels in float64, the outer ones reaching to infinity; even where float32 would round it to 0."""
    family = DiscretizedLogisticFamily(3, 0.25)
    logits, location, raw_scale = params.double().squeeze(1).view(3, 3).unbind()
    floor = -7 - math.log(2)
    scale = torch.exp(floor + torch.log1p(torch.exp(raw_scale + math.log(math.expm1(math.log(0.25) - floor)))))
    edges = torch.cat([torch.tensor([-torch.inf]), torch.arange(0.5, 255) / 255, torch.tensor([torch.inf])]).double()
    below = torch.sigmoid((edges[:, None] - location.sigmoid()) / scale) @ logits.softmax(0)
    found = family.log_prob(GREY, params[:, None]).squeeze(1)
    torch.testing.assert_close(found.exp().double(), below.diff(), atol=1e-6, rtol=1e-3)
    assert found.isfinite().all()


@pytest.mark.parametrize("params", MIXTURES.values(), ids=MIXTURES)
def test_discretized_logistic_announces_its_mean_within_half_a_level(params: Tensor) -> None:
    """Mean and standard deviation are at most 1/510 from the sums over 256 levels; 1e-4 where scales are wide."""
    family = DiscretizedLogisticFamily(3, 0.25)
    probability = family.log_prob(GREY, params[:, None]).exp()
    mean = (probability * GREY).sum()
    std = (probability * (GREY - mean).square()).sum().sqrt()
    bound = 1e-4 if params is MIXTURES["wide"] else 1 / 510
    assert family.mean(params).item() == pytest.approx(mean.item(), abs=bound)
    assert family.std(params).item() == pytest.approx(std.item(), abs=bound)


def test_student_t_always_has_a_variance() -> None:
    """However few degrees of freedom the decoder asks for, there are 3, so that the variance is 3 s²."""
    family = StudentTFamily(anywhere, DecodedScale(1.0))
    torch.testing.assert_close(family.std(torch.tensor([[0.0], [0.0], [-1e4]])), torch.tensor([math.sqrt(3)]))


@pytest.mark.parametrize("sigma", [0.05, 0.25, 1.0, 3.0])
def test_trained_scales_start_where_they_are_told(sigma: float) -> None:
    """σ is `initial_sigma` before training, and has a gradient; that of the decoder where it says 0."""
    learned, decoded, params = LearnedScale(sigma), DecodedScale(sigma), torch.zeros(2, 1, requires_grad=True)
    assert learned(params).exp().item() == pytest.approx(sigma, rel=1e-5)
    assert decoded(params).exp().item() == pytest.approx(sigma, rel=1e-5)
    (slope,) = torch.autograd.grad(learned(params), list(learned.parameters()))
    assert 0 < slope.item() <= 1
    (slope,) = torch.autograd.grad(decoded(params), params)
    assert 0 < slope[1].item() <= 1


def test_trained_scales_have_a_floor() -> None:
    """However far training pushes it, σ stays above e⁻⁶."""
    learned = LearnedScale(0.25)
    torch.nn.init.constant_(learned.raw, -1e6)
    assert learned(torch.zeros(1)).item() == LOG_SIGMA_FLOOR
    assert DecodedScale(0.25)(torch.full((2, 1), -1e6)).item() == LOG_SIGMA_FLOOR


TRAINED_DENSITIES: list[LikelihoodConfig] = [
    Gaussian(),
    Gaussian(sigma="per_pixel"),
    Laplace(),
    StudentTLikelihood(),
    ContinuousBernoulli(),
]


def density_of_a_certain_pixel(config: LikelihoodConfig, level: int) -> Tensor:
    """Log density at all grey values [256], float64, where training has made the scale as small as it goes."""
    likelihood = config.build(ExampleSpec((1, 1, 256))).double()
    for parameter in likelihood.parameters():
        torch.nn.init.constant_(parameter, -1e6)
    outputs = torch.full((1, 1, *likelihood.outputs_shape), -1e6, dtype=torch.double)
    if level:
        outputs[:, :, 0] = math.log(level / (255 - level))
    if config.kind == "student_t":
        outputs[:, :, 2] = 1e6  # as narrow as a Gaussian
    return (
        likelihood.log_prob_entries((torch.arange(256) / 255).double().view(1, 1, 1, 256), outputs).flatten().detach()
    )


@pytest.mark.parametrize("config", TRAINED_DENSITIES, ids=lambda config: config.kind)
def test_blank_border_earns_no_more_than_certainty(config: LikelihoodConfig) -> None:
    """However long a model trains on a pixel that is always black, its density stays below 255, that of one grey level."""
    assert density_of_a_certain_pixel(config, 0).max().item() <= math.log(255) + 1e-9


@pytest.mark.parametrize("config", TRAINED_DENSITIES[:4], ids=lambda config: config.kind)
def test_densities_over_grey_levels_are_no_more_than_probabilities(config: LikelihoodConfig) -> None:
    """Density times the width of a level sums to 1 over all grey values; 1.09 for a Laplace, whose peak is sharp."""
    total = (density_of_a_certain_pixel(config, 100).exp() * GREY_LEVEL).sum().item()
    assert total == pytest.approx(1.0, abs=0.09 if config.kind == "laplace" else 1e-3)


@pytest.mark.parametrize("config", TRAINED_DENSITIES, ids=lambda config: config.kind)
def test_scales_at_their_floor_can_still_grow(config: LikelihoodConfig) -> None:
    """A pixel that is white after all moves the parameter back, although the density is held where it is."""
    likelihood = config.build(ExampleSpec((1, 1, 1)))
    for parameter in likelihood.parameters():
        torch.nn.init.constant_(parameter, -1.0)
    outputs = torch.full((1, 1, *likelihood.outputs_shape), -5.0)
    if config.kind == "continuous_bernoulli":
        outputs.fill_(-300.0)
    outputs.requires_grad_()
    likelihood.log_prob(torch.ones(1, 1, 1, 1), outputs).sum().backward()
    trained = [*likelihood.parameters()] or [outputs]
    grads = trained[0].grad
    assert grads is not None
    assert (grads.flatten()[-1 if config.kind != "student_t" else 1] > 0).all()


@pytest.mark.parametrize("sigma", ["fixed", "learned", "per_pixel"])
def test_configured_sigma_is_where_it_starts(sigma: Literal["fixed", "learned", "per_pixel"]) -> None:
    """Whether σ is fixed, one for all pixels or one for each, the likelihood begins with `initial_sigma`."""
    likelihood = Gaussian(sigma=sigma, initial_sigma=0.07).build(ExampleSpec((1, 2, 2)))
    std = likelihood.std(torch.zeros(1, 1, *likelihood.outputs_shape))
    torch.testing.assert_close(std, torch.full((1, 1, 1, 2, 2), 0.07))


def test_discretized_logistic_draws_grey_values() -> None:
    """Every draw is one of the 256 levels that have a probability, the outer two among them."""
    draws = DiscretizedLogisticFamily(2, 0.3).sample(torch.randn(6, 4000, generator=generator()), generator())
    levels = (draws * 255).round()
    torch.testing.assert_close(draws, levels / 255, atol=0, rtol=0)
    assert levels.min() == 0
    assert levels.max() == 255


def test_fixed_sigma_is_not_trained() -> None:
    """A fixed σ is no parameter, yet part of the state, and may lie below the floor."""
    assert not list(FixedScale(1e-3).parameters())
    assert set(FixedScale(1e-3).state_dict()) == {"raw"}
    assert FixedScale(1e-3)(torch.zeros(1)).exp().item() == pytest.approx(1e-3)


# --- tables ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("numeric", "params"), [("gaussian", 2), ("laplace", 2), ("student_t", 3)])
def test_columns_are_scored_by_their_own_outputs(numeric: str, params: int) -> None:
    """Each output moves the entry of one column: P of every number, one of each category."""
    likelihood = Mixed.model_validate({"numeric": numeric}).build(TABLE)
    assert likelihood.outputs_shape == (2 * params + 3 + 2 + 3,)
    outputs, x = randn(*likelihood.outputs_shape), torch.tensor([[2.0, 0.3, 1.0, -1.2, 0.0]])
    jacobian = torch.autograd.functional.jacobian(
        lambda o: likelihood.log_prob_entries(x, o[None, None])[0, 0], outputs
    )
    assert isinstance(jacobian, Tensor)
    assert torch.equal((jacobian != 0).sum(0), torch.ones(*likelihood.outputs_shape, dtype=torch.long))
    assert (jacobian != 0).sum(1).tolist() == [3, params, 2, params, 3]


def test_table_is_the_densities_of_its_columns() -> None:
    """Column by column, in the table's order, against torch.distributions; numbers first in the outputs."""
    likelihood = Mixed().build(TABLE)
    outputs, x = randn(2, 3, 12), torch.tensor([[2.0, 0.3, 1.0, -1.2, 0.0]]).repeat(3, 1)
    location, raw_scale = outputs[..., :2], outputs[..., 2:4]
    number = distributions.Normal(location, log_scale(raw_scale, 1.0).exp())
    yes_no = distributions.Categorical(logits=outputs[..., 4:6])
    threes = outputs[..., 6:].unflatten(-1, (3, 2))  # the logits of category 0 of both columns, then of 1, then of 2
    colour, shape = (distributions.Categorical(logits=threes[..., column]) for column in (0, 1))
    weight, height = number.log_prob(x[:, [1, 3]]).unbind(-1)
    code = x.long()
    expected = [colour.log_prob(code[:, 0]), weight, yes_no.log_prob(code[:, 2]), height, shape.log_prob(code[:, 4])]
    torch.testing.assert_close(likelihood.log_prob_entries(x, outputs), torch.stack(expected, -1))
    assert torch.equal(likelihood.mean(outputs)[..., [1, 3]], location)
    assert torch.equal(likelihood.mean(outputs)[..., 0], colour.probs.argmax(-1).float())


def test_discrete_is_what_has_probabilities() -> None:
    """Bits per dimension make sense of levels and of codes, and of a table where every column is a category."""
    discrete = {config.kind for config in PIXELS if config.build(IMAGES).is_discrete}
    assert discrete == {"bernoulli", "discretized_logistic", "categorical"}
    categories = tuple(column for column in TABLE.columns or () if column.categories)
    assert Mixed().build(ExampleSpec((3,), columns=categories)).is_discrete
    assert not Mixed().build(TABLE).is_discrete


# --- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", PIXELS, ids=lambda config: config.kind)
def test_table_is_refused_by_likelihoods_of_pixels(config: LikelihoodConfig) -> None:
    """They say what would work."""
    with pytest.raises(ConfigError) as error:
        config.build(TABLE)
    assert str(error.value) == (
        f"model.likelihood: {config.kind} scores pixels, and the examples are rows of a table with 5 columns; use mixed"
    )


def test_images_are_refused_by_mixed() -> None:
    """It needs columns, and says what takes pixels."""
    with pytest.raises(ConfigError) as error:
        Mixed().build(IMAGES)
    assert str(error.value) == (
        "model.likelihood: mixed scores the columns of a table, and the examples are images of shape (2, 2, 3); use "
        "bernoulli or another likelihood of pixels"
    )


@pytest.mark.parametrize("sigma", ["learned", "per_pixel"])
def test_trained_sigma_below_its_floor_is_refused(sigma: str) -> None:
    """It would be NaN."""
    with pytest.raises(ConfigError) as error:
        Gaussian.model_validate({"sigma": sigma, "initial_sigma": 0.002}).build(IMAGES)
    assert str(error.value) == (
        "model.likelihood.initial_sigma must be above 0.0025, the floor of a trained σ, got 0.002; start higher, or set "
        "sigma to `fixed`"
    )
