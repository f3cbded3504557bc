"""What every likelihood must obey. A new one is one line in `LIKELIHOODS` of `tests/laws/parts.py`.

Shapes: N values of a grid, S samples, B batch; examples [B,*shape]. The oracle is numerical integration over the grid.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap

from tests.laws.parts import IMAGE_LIKELIHOODS, LIKELIHOODS
from vae.data.schema import Column, ColumnType, ExampleSpec
from vae.data.transforms.curves import CurveChoice, QuantileCurves, ShiftCurves, Values, curves_of, fit_curve
from vae.parts.likelihoods import LikelihoodConfig
from vae.parts.likelihoods.categorical import LevelFamily
from vae.parts.likelihoods.likelihood import Likelihood, LikelihoodPart, PixelLikelihoodPart
from vae.parts.likelihoods.mixed import TableLikelihood

IMAGES = ExampleSpec((2, 3, 2))
ENTRIES = np.random.default_rng(0).normal(size=400)
RANDOM = np.random.default_rng(1)


def typed(name: str, values: Values, kind: ColumnType, choice: CurveChoice = "auto") -> Column:
    """A column with the curve that its type gets."""
    extremes = {"smallest": values.min(), "largest": values.max()}
    column = Column(name, mean=values.mean(), std=values.std(), type=kind, **extremes)
    return replace(column, curve=fit_curve(values, column, choice))


COLUMNS = (
    *(Column(f"c{index}", tuple(map(str, range(size))) or None) for index, size in enumerate((3, 0, 2, 0, 3, 1, 0))),
    Column("ordered", ("low", "middle", "high", "highest"), type="ordered"),
    typed("quantile", ENTRIES + 2 * ENTRIES**2, "real"),
    typed("log", np.exp(0.5 * ENTRIES), "positive", "parametric"),
    typed("logit", 100 / (1 + np.exp(-ENTRIES)), "share", "parametric"),
    typed("inflated", np.where(ENTRIES < -0.5, 0, np.exp(0.5 * ENTRIES)), "money"),
    typed("count", RANDOM.poisson(3, 400).astype(float), "count", "parametric"),
    typed("truth", RANDOM.integers(2, size=400).astype(float), "boolean"),
)
TABLE = ExampleSpec((len(COLUMNS),), columns=COLUMNS)
DRAWS, ROWS, SAMPLES = 20_000, 4, 2


@dataclass(frozen=True)
class Grid:
    """Values of one entry, and weights that integrate (or sum) over them, [N]."""

    values: Tensor
    weights: Tensor


def points(values: Tensor) -> Grid:
    return Grid(values.double(), torch.ones(len(values), dtype=torch.double))


def line() -> Grid:
    """The real line by x = sinh(t)/10, dense around 0 and 1 and far into heavy tails."""
    t = torch.linspace(-13, 13, 20_001, dtype=torch.double)
    return Grid(0.5 + t.sinh() / 10, t.cosh() / 10 * (t[1] - t[0]))


def interval() -> Grid:
    """[0, 1] by the midpoint rule."""
    return Grid((torch.arange(2000, dtype=torch.double) + 0.5) / 2000, torch.full((2000,), 1 / 2000).double())


def grid_of(part: LikelihoodPart) -> Grid:
    """Returns the values that an entry can take, from the part's support; of a table's numbers, the line."""
    match part.support:
        case "binary":
            return points(torch.arange(2))
        case "unit interval":
            return interval()
        case "grey levels":
            assert isinstance(part, PixelLikelihoodPart)
            family = part.family()
            return points(family.values_K if isinstance(family, LevelFamily) else torch.arange(256) / 255)
        case "counts":
            return points(torch.arange(500) / 255)
        case _:
            return line()


@dataclass(frozen=True)
class Case:
    """A likelihood, some outputs, and for every entry the values it can take."""

    likelihood: Likelihood
    outputs: Tensor
    """[S,B,*outputs_shape], float64"""
    grid: Tensor
    """[N,*shape]"""
    weights: Tensor
    """[N,*shape]"""
    is_category: Tensor
    """bool [*shape]: entries that are codes, which have a mode and no mean."""
    unit: Callable[[Tensor], Tensor]
    """From x to the unit of means and standard deviations, which is another one where a curve bends a column."""
    is_factorised: bool
    """Whether the entries are independent given the outputs."""

    @cached_property
    def log_density(self) -> Tensor:
        """At the grid, of each entry given the means of those before it, [S,B,N,*shape]."""
        with torch.no_grad():
            given = self.likelihood.given(self.outputs).flatten(0, 1)
            outputs = given[:, None].expand(-1, len(self.grid), *self.outputs.shape[2:])
            entries = independently(self.likelihood, self.grid, outputs)
        return entries.unflatten(0, self.outputs.shape[:2])

    @cached_property
    def density(self) -> Tensor:
        """Times its weight, [S,B,N,*shape]."""
        return self.log_density.exp() * self.weights

    def expectation(self, values: Tensor) -> Tensor:
        """E[values | z] of each entry, [S,B,*shape], from values at the grid, [S,B,N,*shape] or [N,*shape]."""
        return (self.density * values).sum(2)

    def examples(self, seed: int = 0) -> Tensor:
        """Some that are possible, [B,*shape]."""
        with torch.no_grad():
            return self.likelihood.sample(self.outputs[0], generator(seed))

    def distance(self, x: Tensor, mean: Tensor) -> Tensor:
        """X − mean of numbers; of codes 0 where they are equal, else 1."""
        return torch.where(self.is_category, (x != mean).double(), self.unit(x) - self.unit(mean))


def independently(likelihood: Likelihood, x: Tensor, outputs: Tensor) -> Tensor:
    """Returns log p of each value, where what it depends on is in the outputs already."""
    if isinstance(likelihood, TableLikelihood):
        return TableLikelihood.log_prob_entries(likelihood, x, outputs)
    return likelihood.log_prob_entries(x, outputs)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def build(name: str) -> Case:
    part: LikelihoodPart = TypeAdapter(LikelihoodConfig).validate_python(LIKELIHOODS[name])
    spec, grid = (TABLE if part.data_kind == "table" else IMAGES), grid_of(part)
    likelihood = part.build(spec).double()
    for number, parameter in enumerate(likelihood.parameters() if not part.is_factorised else ()):
        torch.nn.init.normal_(parameter, std=0.1, generator=generator(number))  # some are 0 at the start
    outputs = torch.randn(SAMPLES, ROWS, *likelihood.outputs_shape, generator=generator(1), dtype=torch.double)
    if spec is TABLE:
        outputs /= 2  # the logit of a share beyond 1 − 1e-16 is past double precision
    everywhere = (-1, *(1 for _ in spec.shape))
    values, weights = (each.view(everywhere).repeat(1, *spec.shape) for each in (grid.values, grid.weights))
    is_category = torch.zeros(spec.shape, dtype=torch.bool)
    for number, column in enumerate(spec.columns or ()):
        is_category[number] = column.categories is not None
        own = column_grid(column, grid, is_typed=getattr(part, "numeric", "") in ("auto", "mixture"))
        values[:, number], weights[:, number] = own.values, own.weights
    to_unit = unit if spec is TABLE else torch.clone
    return Case(likelihood, outputs, values, weights, is_category, to_unit, part.is_factorised)


def column_grid(column: Column, line: Grid, *, is_typed: bool) -> Grid:
    """Returns the values of a column, as many as the line has, and weights in its standard deviations."""
    values, weights = line.values.clone(), line.weights.clone()
    codes = torch.arange(len(values)).double()
    if column.categories:
        weights = (codes < len(column.categories)).double()
        return Grid(codes * weights, weights)
    if column.curve is None:
        return line
    if column.curve.kind == "shift" and is_typed:
        weights = (codes < (2 if column.type == "boolean" else 500)).double()
        return Grid(codes * weights / column.std, weights / column.std)
    ((_, curves),) = curves_of([column])
    edges = torch.linspace(-9, 9, len(values)).double().sinh() / 9
    if isinstance(curves, QuantileCurves):  # no cell has a knot in it
        knots = curves.start_G + curves.step_G * torch.arange(len(column.curve.numbers) - 1)
        edges = torch.cat([edges[: -len(knots)], knots])
    edges = edges.sort().values
    middle = (edges[1:] + edges[:-1]) / 2
    values[1:], weights[1:] = middle, curves.inverse(edges[:, None])[:, 0].diff()
    values[0], weights[0] = 0, 0
    if column.curve.mass is not None:
        values[0], weights[0] = column.curve.mass[1], 1
    return Grid(values, weights)


def unit(x: Tensor) -> Tensor:
    """Returns numbers of a table, with its curves undone and within the data."""
    u = x.clone()
    for members, curves in curves_of(COLUMNS):
        if not isinstance(curves, ShiftCurves):
            u[..., members] = curves.inverse(x[..., members])
    for number, column in enumerate(COLUMNS):
        if column.curve and column.curve.kind != "shift":
            low, high = ((bound - column.mean) / column.std for bound in (column.smallest or 0, column.largest or 0))
            u[..., number].clamp_(low, high)
        if column.curve and column.curve.mass:
            value, at = column.curve.mass
            u[..., number][x[..., number] == at] = (value - column.mean) / column.std
    return u


@pytest.fixture(params=LIKELIHOODS)
def case(request: pytest.FixtureRequest) -> Case:
    return build(request.param)


@pytest.fixture
def factorised(case: Case) -> Case:
    return case if case.is_factorised else pytest.skip("entries depend on each other")


def test_likelihood_sums_to_one(case: Case) -> None:
    """The density of every entry integrates (or sums) to 1, at any outputs."""
    total = case.density.sum(2)
    torch.testing.assert_close(total, torch.ones_like(total), atol=1e-4, rtol=0)


def test_mean_and_std_are_the_densitys(case: Case) -> None:
    """`mean` is E[x|z], and of codes the most probable; `std` is the root mean square of the distance from it."""
    mean, std = case.likelihood.mean(case.outputs), case.likelihood.std(case.outputs)
    mode = case.grid.gather(0, case.density.flatten(0, 1).argmax(1)).view_as(mean)
    expected = torch.where(case.is_category, mode, case.expectation(case.unit(case.grid)))
    square = case.distance(case.grid, mean[:, :, None]).square()
    spread = case.expectation(square).sqrt()
    # Of columns with curves they are sums over a few nodes.
    rough = torch.tensor([column.curve is not None for column in COLUMNS]) if case.unit is unit else torch.tensor(False)
    torch.testing.assert_close(
        case.unit(mean)[..., ~rough], expected[..., ~rough], atol=1e-4, rtol=0, check_dtype=False
    )
    torch.testing.assert_close(std[..., ~rough], spread[..., ~rough], atol=1e-3, rtol=1e-3, check_dtype=False)
    torch.testing.assert_close(case.unit(mean)[..., rough], expected[..., rough], atol=0.02, rtol=0, check_dtype=False)
    torch.testing.assert_close(std[..., rough], spread[..., rough], atol=0.02, rtol=0.02, check_dtype=False)


def test_samples_come_from_the_density(factorised: Case) -> None:
    """Over many draws the mean, the frequency within one standard deviation and the entropy are those of the density."""
    case = replace(factorised, outputs=factorised.outputs[:1, :1])
    many = case.outputs.expand(1, DRAWS, *case.outputs.shape[2:])
    with torch.no_grad():
        draws = case.likelihood.sample(many, generator())
        mean, std = case.likelihood.mean(case.outputs), case.likelihood.std(case.outputs)
        surprise = -case.likelihood.log_prob_entries(draws[0], many)
    drawn, on_grid = case.distance(draws, mean), case.distance(case.grid, mean)[:, None]
    for statistic, expected in (
        (drawn, case.expectation(on_grid)),
        ((drawn.abs() < std).double(), case.expectation((on_grid.abs() < std[:, None]).double())),
        (surprise, case.expectation(-case.log_density.clamp_min(-700))),  # far out 0 · −∞ is 0
    ):
        standard_error = statistic.std(1) / math.sqrt(DRAWS)
        # 1 in 1,000 is for the grid, whose last cell within a standard deviation may lie partly beyond it.
        assert ((statistic.mean(1) - expected[0]).abs() <= 5 * standard_error + 1e-3).all()


def test_samples_depend_on_the_generator_alone(case: Case) -> None:
    """The same seed gives the same draw, another one another, and the global generator is left as it was."""
    before = torch.get_rng_state()
    first, same, other = (case.likelihood.sample(case.outputs, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_log_prob_is_the_sum_of_its_entries(case: Case) -> None:
    """[S,B], unreduced over samples and batch, and the same alone as in a batch."""
    x = case.examples()
    log_prob = case.likelihood.log_prob(x, case.outputs)
    entries = case.likelihood.log_prob_entries(x, case.outputs)
    assert entries.shape == (SAMPLES, ROWS, *x.shape[1:])
    torch.testing.assert_close(log_prob, entries.flatten(2).sum(-1))
    for row in range(ROWS):
        part = slice(row, row + 1)
        torch.testing.assert_close(case.likelihood.log_prob(x[part], case.outputs[:, part]), log_prob[:, part])


def test_gradient_is_that_of_finite_differences(case: Case) -> None:
    """Outputs and the likelihood's own parameters, in float64, where some entries are missing and where none is."""
    x, observed = case.examples()[:1], torch.rand(1, *case.grid.shape[1:], generator=generator()) < 0.5
    outputs = case.outputs[:1, :1, ...].clone().requires_grad_()
    inputs = (outputs, *case.likelihood.parameters())
    for mask in (None, observed):
        assert torch.autograd.gradcheck(
            lambda outputs, *_, mask=mask: case.likelihood.log_prob(x, outputs, mask),
            inputs,
            fast_mode=not case.is_factorised,
        )


@pytest.mark.parametrize("rubbish", [math.nan, math.inf, 1e9, -1e9])
def test_what_lies_under_the_mask_is_nothing(case: Case, rubbish: float) -> None:
    """Missing entries count 0: neither they nor their outputs change value or gradient; without any, log p is 0."""
    x, outputs = case.examples(), case.outputs.clone().requires_grad_()
    observed = torch.rand(x.shape, generator=generator()) < 0.5
    given = case.likelihood.given(outputs, torch.where(observed, x, 0), observed)
    expected = torch.where(observed, independently(case.likelihood, x, given), 0.0).flatten(2).sum(-1)
    (slope,) = torch.autograd.grad(expected.sum(), outputs)
    found = case.likelihood.log_prob(torch.where(observed, x, rubbish), outputs, observed)
    assert torch.equal(found, expected)
    (found_slope,) = torch.autograd.grad(found.sum(), outputs)
    assert found_slope.isfinite().all()
    torch.testing.assert_close(found_slope, slope)
    nothing = case.likelihood.log_prob(torch.full_like(x, rubbish), outputs, torch.zeros_like(observed))
    assert torch.equal(nothing, torch.zeros_like(expected))


def test_disjoint_masks_add_up(factorised: Case) -> None:
    """Log p of some entries and of the others sum to log p of all, so that nothing is averaged over the entries."""
    case, x, outputs = factorised, factorised.examples(), factorised.outputs
    observed = torch.rand(x.shape, generator=generator()) < 0.5
    parts = case.likelihood.log_prob(x, outputs, observed) + case.likelihood.log_prob(x, outputs, ~observed)
    torch.testing.assert_close(parts, case.likelihood.log_prob(x, outputs))


@pytest.mark.parametrize("name", IMAGE_LIKELIHOODS)
def test_twice_the_area_is_twice_the_distortion(name: str) -> None:
    """At equal error per pixel log p grows with the image, so that β keeps its meaning in nats."""
    case = build(name)
    x, outputs = case.examples(), case.outputs
    twice = case.likelihood.log_prob(x.tile(1, 1, 2, 1), outputs.tile(1, 1, 1, 2, 1))
    torch.testing.assert_close(twice, 2 * case.likelihood.log_prob(x, outputs))


def test_densities_are_float32_from_half_precision(case: Case) -> None:
    """Of a bfloat16 network, densities and what is decoded are float32, and those of the same numbers in float32."""
    likelihood, x = copy.deepcopy(case.likelihood).float(), case.examples().float()
    half = case.outputs.bfloat16()
    for mask in (None, torch.rand(x.shape, generator=generator()) < 0.5):
        log_prob = likelihood.log_prob(x, half, mask)
        assert log_prob.dtype == torch.float32
        assert torch.equal(log_prob, likelihood.log_prob(x, half.float(), mask))
    decoded = likelihood.mean(half), likelihood.std(half), likelihood.sample(half, generator())
    assert {each.dtype for each in decoded} == {torch.float32}


def test_float32_agrees_with_float64(case: Case) -> None:
    """The precision of training costs under a thousandth of a nat, for large outputs too, whose gradients are finite."""
    likelihood, x = copy.deepcopy(case.likelihood).float(), case.examples()
    outputs = (4 * case.outputs).float().requires_grad_()
    found, expected = likelihood.log_prob(x.float(), outputs), case.likelihood.log_prob(x, outputs.double())
    torch.testing.assert_close(found.double(), expected, atol=1e-3, rtol=1e-4)
    (slope,) = torch.autograd.grad(found.sum(), outputs)
    assert slope.isfinite().all()


def test_autocast_changes_nothing(case: Case) -> None:
    """Under autocast no part of a density falls to bfloat16."""
    likelihood, x, outputs = copy.deepcopy(case.likelihood).float(), case.examples().float(), case.outputs.float()
    with torch.autocast("cpu", torch.bfloat16):
        found = likelihood.log_prob(x, outputs), likelihood.mean(outputs), likelihood.std(outputs)
    expected = likelihood.log_prob(x, outputs), likelihood.mean(outputs), likelihood.std(outputs)
    torch.testing.assert_close(found, expected)


def test_stacks_of_models_score_as_each_alone(case: Case) -> None:
    """Under `vmap`, over stacked parameters and buffers: values and gradients of every model of the stack."""
    models = [copy.deepcopy(case.likelihood) for _ in range(3)]
    for number, model in enumerate(models):
        for parameter in model.parameters():
            torch.nn.init.constant_(parameter, 0.5 * number)
    state = stack_module_state(models)
    x = torch.stack([case.examples(seed) for seed in range(3)])
    outputs = torch.stack([case.outputs, -case.outputs, case.outputs.flip(0)]).requires_grad_()
    observed = torch.rand(x.shape, generator=generator()) < 0.5

    def score(state: Any, *inputs: Tensor) -> Tensor:
        named = {f"likelihood.{k}": v for part in state for k, v in part.items()}
        return functional_call(Score(models[0]), named, inputs)

    for inputs in ((x, outputs), (x, outputs, observed)):
        stacked = vmap(score)(state, *inputs)
        alone = torch.stack([model.log_prob(*each) for model, *each in zip(models, *inputs, strict=True)])
        torch.testing.assert_close(stacked, alone)
        torch.testing.assert_close(*(torch.autograd.grad(scores.sum(), outputs) for scores in (stacked, alone)))


class Score(torch.nn.Module):
    """`functional_call` calls a module's forward."""

    def __init__(self, likelihood: Likelihood) -> None:
        super().__init__()
        self.likelihood = likelihood

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.likelihood.log_prob(*inputs)
