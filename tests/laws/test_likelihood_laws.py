"""What every likelihood must obey. A new one is one line in `LIKELIHOODS` of `tests/laws/parts.py`.

Shapes: N values of a grid, S samples, B batch; examples [B,*shape]. The oracle is numerical integration over the grid.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import partial
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
from vae.parts.likelihoods.likelihood import Likelihood, LikelihoodPart
from vae.testing.checking import named
from vae.testing.likelihoods import (
    IMAGES,
    LIKELIHOOD_LAWS,
    Case,
    Grid,
    case_of,
    codes_of,
    samples_come_from_the_density,
)
from vae.testing.models import generator

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


def build(name: str) -> Case:
    part: LikelihoodPart = TypeAdapter(LikelihoodConfig).validate_python(LIKELIHOODS[name])
    if part.data_kind == "image":
        return case_of(part, IMAGES)
    is_typed = getattr(part, "numeric", "") in ("auto", "mixture")
    return case_of(part, TABLE, partial(column_grid, is_typed=is_typed), unit)


def column_grid(column: Column, line: Grid, *, is_typed: bool) -> Grid:
    """Returns the values of a column, as many as the line has, and weights in its standard deviations."""
    if column.categories or column.curve is None:
        return codes_of(column, line)
    values, weights, codes = line.values.clone(), line.weights.clone(), torch.arange(len(line.values)).double()
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


@pytest.mark.parametrize("law", LIKELIHOOD_LAWS, ids=named)
def test_every_likelihood_obeys_every_law(case: Case, law: Callable[[Case], None]) -> None:
    """Those that `vae.testing.check_part` holds a user's own likelihoods to."""
    law(case)


def test_samples_come_from_the_density(factorised: Case) -> None:
    """Over many draws the mean, the frequency within one standard deviation and the entropy are those of the density."""
    samples_come_from_the_density(factorised)


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
