"""Laws of likelihoods. The oracle is numerical integration over a grid of the values that an entry can take.

Shapes: N values of a grid, S samples, B batch; examples [B,*shape].
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from vae.data.schema import Column, ExampleSpec
from vae.parts.likelihoods.categorical import LevelFamily
from vae.parts.likelihoods.likelihood import Likelihood, LikelihoodPart, PixelLikelihoodPart
from vae.parts.likelihoods.mixed import TableLikelihood
from vae.testing.expecting import expect, expect_close, expect_equal, expect_finite
from vae.testing.models import generator

DRAWS, ROWS, SAMPLES = 20_000, 4, 2
IMAGES = ExampleSpec((2, 3, 2))
RUBBISH = (math.nan, math.inf, 1e9, -1e9)


@dataclass(frozen=True)
class Grid:
    """Values of one entry, and weights that integrate (or sum) over them, [N]."""

    values: Tensor
    weights: Tensor


def points(values: Tensor) -> Grid:
    """Returns single values that count once each."""
    return Grid(values.double(), torch.ones(len(values), dtype=torch.double))


def line() -> Grid:
    """Returns the real line by x = sinh(t)/10, dense around 0 and 1 and far into heavy tails."""
    t = torch.linspace(-13, 13, 20_001, dtype=torch.double)
    return Grid(0.5 + t.sinh() / 10, t.cosh() / 10 * (t[1] - t[0]))


def interval() -> Grid:
    """Returns [0, 1] by the midpoint rule."""
    return Grid((torch.arange(2000, dtype=torch.double) + 0.5) / 2000, torch.full((2000,), 1 / 2000).double())


def grid_of(part: LikelihoodPart) -> Grid:
    """Returns the values that an entry can take, from the part's support; of a table's numbers, the line."""
    match part.support:
        case "binary":
            return points(torch.arange(2))
        case "unit interval":
            return interval()
        case "grey levels":
            family = part.family() if isinstance(part, PixelLikelihoodPart) else None
            return points(family.values_K if isinstance(family, LevelFamily) else torch.arange(256) / 255)
        case "counts":
            return points(torch.arange(500) / 255)
        case _:
            return line()


def codes_of(column: Column, line: Grid) -> Grid:
    """Returns the grid of a column without a curve: the line, or its codes, as many values as the line has."""
    if not column.categories:
        return line
    codes = torch.arange(len(line.values)).double()
    weights = (codes < len(column.categories)).double()
    return Grid(codes * weights, weights)


@dataclass(frozen=True)
class Case:
    """A likelihood, some outputs, and for every entry the values it can take."""

    likelihood: Likelihood
    columns: tuple[Column, ...]
    """Columns of a table; empty for images."""
    outputs: Tensor
    """[S,B,*outputs_shape], float64"""
    grid: Tensor
    """[N,*shape]"""
    weights: Tensor
    """[N,*shape]"""
    unit: Callable[[Tensor], Tensor]
    """Function from x to the unit of means and standard deviations, which is another one where a curve bends a column."""
    is_factorised: bool
    """Whether the entries are independent given the outputs."""

    @property
    def is_category(self) -> Tensor:
        """Mask of the entries that are codes, which have a mode and no mean, bool [*shape]."""
        mask = torch.zeros(self.grid.shape[1:], dtype=torch.bool)
        for number, column in enumerate(self.columns):
            mask[number] = column.categories is not None
        return mask

    @cached_property
    def log_density(self) -> Tensor:
        """Log density at the grid, of each entry given the means of those before it, [S,B,N,*shape]."""
        with torch.no_grad():
            given = self.likelihood.given(self.outputs).flatten(0, 1)
            outputs = given[:, None].expand(-1, len(self.grid), *self.outputs.shape[2:])
            entries = independently(self.likelihood, self.grid, outputs)
        return entries.unflatten(0, self.outputs.shape[:2])

    @cached_property
    def density(self) -> Tensor:
        """Density times its weight, [S,B,N,*shape]."""
        return self.log_density.exp() * self.weights

    def expectation(self, values: Tensor) -> Tensor:
        """Returns E[values | z] of each entry, [S,B,*shape], from values at the grid, [S,B,N,*shape] or [N,*shape]."""
        return (self.density * values).sum(2)

    def examples(self, seed: int = 0) -> Tensor:
        """Returns some examples that are possible, [B,*shape]."""
        with torch.no_grad():
            return self.likelihood.sample(self.outputs[0], generator(seed))

    def distance(self, x: Tensor, mean: Tensor) -> Tensor:
        """Returns X − mean of numbers; of codes 0 where they are equal, else 1."""
        return torch.where(self.is_category, (x != mean).double(), self.unit(x) - self.unit(mean))


def independently(likelihood: Likelihood, x: Tensor, outputs: Tensor) -> Tensor:
    """Returns log p of each value, where what it depends on is in the outputs already."""
    if isinstance(likelihood, TableLikelihood):
        return TableLikelihood.log_prob_entries(likelihood, x, outputs)
    return likelihood.log_prob_entries(x, outputs)


def case_of(
    part: LikelihoodPart,
    examples: ExampleSpec,
    grid_of_column: Callable[[Column, Grid], Grid] = codes_of,
    unit: Callable[[Tensor], Tensor] = torch.clone,
) -> Case:
    """Returns a likelihood of small examples with outputs of a decoder, and the grids of their entries."""
    grid, likelihood = grid_of(part), part.build(examples).double()
    for number, parameter in enumerate(likelihood.parameters() if not part.is_factorised else ()):
        torch.nn.init.normal_(parameter, std=0.1, generator=generator(number))  # some are 0 at the start
    outputs = torch.randn(SAMPLES, ROWS, *likelihood.outputs_shape, generator=generator(1), dtype=torch.double)
    if examples.columns:
        outputs /= 2  # the logit of a share beyond 1 − 1e-16 is past double precision
    everywhere = (-1, *(1 for _ in examples.shape))
    values, weights = (each.view(everywhere).repeat(1, *examples.shape) for each in (grid.values, grid.weights))
    for number, column in enumerate(examples.columns or ()):
        own = grid_of_column(column, grid)
        values[:, number], weights[:, number] = own.values, own.weights
    return Case(likelihood, examples.columns or (), outputs, values, weights, unit, part.is_factorised)


# --- laws -----------------------------------------------------------------------------------------------------------


def the_density_sums_to_one(case: Case) -> None:
    """Checks that the density of every entry integrates (or sums) to 1, at any outputs."""
    total = case.density.sum(2)
    amiss = total.flatten()[(total - 1).abs().argmax()].item()
    expect((total - 1).abs().max() <= 1e-4, "a density that integrates (or sums) to 1", f"{amiss:.4g}")


def mean_and_std_are_those_of_the_density(case: Case) -> None:
    """Checks that `mean` is E[x|z], and of codes the most probable; and that `std` is the root mean square around it."""
    mean, std = case.likelihood.mean(case.outputs), case.likelihood.std(case.outputs)
    mode = case.grid.gather(0, case.density.flatten(0, 1).argmax(1)).view_as(mean)
    expected = torch.where(case.is_category, mode, case.expectation(case.unit(case.grid)))
    spread = case.expectation(case.distance(case.grid, mean[:, :, None]).square()).sqrt()
    # Of columns with curves they are sums over a few nodes.
    rough = torch.zeros_like(case.is_category)
    for number, column in enumerate(case.columns):
        rough[number] = column.curve is not None
    for where, atol, fine in ((~rough, 1e-4, 1e-3), (rough, 0.02, 0.02)):
        means, stds = case.unit(mean)[..., where], std[..., where]
        expect_close("mean(outputs) to be the density's", means, expected[..., where], atol=atol, rtol=0)
        expect_close("std(outputs) to be the density's", stds, spread[..., where], atol=fine, rtol=fine)


def samples_come_from_the_density(case: Case) -> None:
    """Checks the mean, the frequency within one standard deviation and the entropy of many draws."""
    case = replace(case, outputs=case.outputs[:1, :1])
    many = case.outputs.expand(1, DRAWS, *case.outputs.shape[2:])
    with torch.no_grad():
        draws = case.likelihood.sample(many, generator())
        mean, std = case.likelihood.mean(case.outputs), case.likelihood.std(case.outputs)
        surprise = -case.likelihood.log_prob_entries(draws[0], many)
    drawn, on_grid = case.distance(draws, mean), case.distance(case.grid, mean)[:, None]
    for what, statistic, expected in (
        ("mean", drawn, case.expectation(on_grid)),
        (
            "share within one std",
            (drawn.abs() < std).double(),
            case.expectation((on_grid.abs() < std[:, None]).double()),
        ),
        ("mean of −log p", surprise, case.expectation(-case.log_density.clamp_min(-700))),  # far out 0 · −∞ is 0
    ):
        # 1 in 1,000 is for the grid, whose last cell within a standard deviation may lie partly beyond it.
        allowed = 5 * statistic.std(1) / math.sqrt(DRAWS) + 1e-3
        apart = (statistic.mean(1) - expected[0]).abs()
        found = f"{what}s that are {apart.max().item():.3g} apart"
        expect((apart <= allowed).all(), f"{DRAWS:,} samples to have the density's {what}", found)


def samples_depend_on_the_generator_alone(case: Case) -> None:
    """Checks that a seed decides the draw, and that the global generator is left as it was."""
    before = torch.get_rng_state()
    first, same, other = (case.likelihood.sample(case.outputs, generator(seed)) for seed in (1, 1, 2))
    expect(torch.equal(torch.get_rng_state(), before), "the global generator as it was", "another state of it")
    expect_equal("the same samples from the same seed", same, first)
    expect(not torch.equal(first, other), "other samples from another seed", "the same")


def log_prob_is_the_sum_of_its_entries(case: Case) -> None:
    """Checks that log p comes unreduced over samples and batch, [S,B], and is the same alone as in a batch."""
    x = case.examples()
    log_prob = case.likelihood.log_prob(x, case.outputs)
    entries = case.likelihood.log_prob_entries(x, case.outputs)
    shape = (SAMPLES, ROWS, *x.shape[1:])
    expect(entries.shape == shape, f"log p of entries of shape {[*shape]}", [*entries.shape])
    expect_close("log p to be the sum over the entries", log_prob, entries.flatten(2).sum(-1))
    for row in range(ROWS):
        part = slice(row, row + 1)
        alone = case.likelihood.log_prob(x[part], case.outputs[:, part])
        expect_close("log p of a row to be the same alone as in a batch", alone, log_prob[:, part])


def what_lies_under_the_mask_is_nothing(case: Case) -> None:
    """Checks that missing entries count 0 in value and gradient, whatever they hold."""
    x, outputs = case.examples(), case.outputs.clone().requires_grad_()
    observed = torch.rand(x.shape, generator=generator()) < 0.5
    given = case.likelihood.given(outputs, torch.where(observed, x, 0), observed)
    expected = torch.where(observed, independently(case.likelihood, x, given), 0.0).flatten(2).sum(-1)
    (slope,) = torch.autograd.grad(expected.sum(), outputs)
    for rubbish in RUBBISH:
        found = case.likelihood.log_prob(torch.where(observed, x, rubbish), outputs, observed)
        expect_equal(f"log p of the observed entries alone, beside {rubbish} under the mask", found, expected)
        (found_slope,) = torch.autograd.grad(found.sum(), outputs)
        expect_finite(f"the gradient beside {rubbish} under the mask", found_slope)
        expect_close("the gradient of the observed entries alone", found_slope, slope, rtol=1e-7, atol=1e-7)
        nothing = case.likelihood.log_prob(torch.full_like(x, rubbish), outputs, torch.zeros_like(observed))
        expect_equal("log p of 0 where nothing is observed", nothing, torch.zeros_like(expected))


LIKELIHOOD_LAWS: tuple[Callable[[Case], None], ...] = (
    the_density_sums_to_one,
    mean_and_std_are_those_of_the_density,
    samples_depend_on_the_generator_alone,
    log_prob_is_the_sum_of_its_entries,
    what_lies_under_the_mask_is_nothing,
)
FACTORISED_LAWS: tuple[Callable[[Case], None], ...] = (samples_come_from_the_density,)
"""Laws of likelihoods whose entries are independent given the latent."""
