"""Checks of the likelihood whose columns depend on those before them, beside the laws.

Shapes: S samples, B batch, D columns, N combinations of values.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from vae.data.schema import Column, ExampleSpec
from vae.data.transforms import transform_of
from vae.data.transforms.curves import fit_curve
from vae.errors import ConfigError
from vae.parts.likelihoods.autoregressive import MOST_CATEGORIES, MOST_COLUMNS, Autoregressive
from vae.parts.likelihoods.likelihood import Likelihood
from vae.parts.likelihoods.mixed import Mixed

CODES = ExampleSpec.of_table(
    [Column("a", ("x", "y", "z")), Column("b", ("x", "y")), Column("c", ("low", "middle", "high"), type="ordered")]
)
AGES = np.random.default_rng(0).poisson(4, 500).astype(float)
AGE = Column("age", None, AGES.mean(), AGES.std(), "int64", smallest=AGES.min(), largest=AGES.max())
MIXED = ExampleSpec.of_table(
    [Column("a", ("x", "y", "z")), Column("n"), replace(AGE, curve=fit_curve(AGES, AGE, "auto"))]
)
DRAWS = 40_000


def build(examples: ExampleSpec) -> tuple[Likelihood, Tensor]:
    """A likelihood with strong dependence between columns, and outputs [1,1,O] of a decoder."""
    likelihood = Autoregressive(hidden=24).build(examples).double()
    for number, parameter in enumerate(likelihood.parameters()):
        torch.nn.init.normal_(parameter, std=0.4, generator=torch.Generator().manual_seed(number))
    generator = torch.Generator().manual_seed(9)
    return likelihood, torch.randn(1, 1, *likelihood.outputs_shape, generator=generator, dtype=torch.double)


def combinations(examples: ExampleSpec) -> Tensor:
    """Every row of codes, [N,D]."""
    sizes = [range(len(column.categories or ())) for column in examples.columns or ()]
    return torch.tensor([*itertools.product(*sizes)]).double()


@torch.no_grad()
def test_rows_sum_to_one_and_are_drawn_as_often_as_they_are_probable() -> None:
    """The joint distribution of three columns, over every row of codes."""
    likelihood, outputs = build(CODES)
    rows_ND = combinations(CODES)
    chance_N = likelihood.log_prob(rows_ND, outputs.expand(1, len(rows_ND), -1))[0].exp()
    assert chance_N.sum().item() == pytest.approx(1)
    drawn = likelihood.sample(outputs[0].expand(DRAWS, -1), torch.Generator().manual_seed(0))
    share_N = (drawn[:, None] == rows_ND).all(-1).double().mean(0)
    assert ((share_N - chance_N).abs() <= 5 * (chance_N * (1 - chance_N) / DRAWS).sqrt()).all()


@torch.no_grad()
def test_missing_entries_are_drawn_given_all_others_before() -> None:
    """Given its first column, a row's others have the shares of the conditional distribution; the given stays."""
    likelihood, outputs = build(CODES)
    rows_ND = combinations(CODES)
    chance_N = likelihood.log_prob(rows_ND, outputs.expand(1, len(rows_ND), -1))[0].exp() * (rows_ND[:, 0] == 1)
    chance_N /= chance_N.sum()
    x, observed = torch.ones(DRAWS, 3).double(), torch.tensor([True, False, False]).expand(DRAWS, 3)
    drawn = likelihood.complete(outputs[0].expand(DRAWS, -1), x, observed, torch.Generator().manual_seed(0))
    share_N = (drawn[:, None] == rows_ND).all(-1).double().mean(0)
    assert ((share_N - chance_N).abs() <= 5 * (chance_N * (1 - chance_N) / DRAWS).sqrt()).all()


@torch.no_grad()
@pytest.mark.parametrize("changed", range(3))
def test_column_depends_on_the_columns_before_it_alone(changed: int) -> None:
    """Another value of a column changes its own score and those after it, and none before."""
    likelihood, outputs = build(MIXED)
    rows = torch.zeros(2, 3).double()
    rows[1, changed] = 1
    one, other = likelihood.log_prob_entries(rows, outputs.expand(1, 2, -1))[0]
    assert ((one - other).abs() > 1e-9).tolist() == [index >= changed for index in range(3)]


@torch.no_grad()
def test_first_columns_alone_score_as_in_the_whole_row() -> None:
    """Where later columns are missing, those before count as if they were there; all missing counts 0."""
    likelihood, outputs = build(MIXED)
    x = torch.tensor([[2.0, -0.3, 0.5]]).double()
    entries = likelihood.log_prob_entries(x, outputs)[0, 0]
    for number in range(4):
        observed = (torch.arange(3) < number)[None]
        assert likelihood.log_prob(x, outputs, observed).item() == pytest.approx(entries[:number].sum().item())


@torch.no_grad()
def test_missing_column_is_not_a_column_of_its_placeholder() -> None:
    """A later column depends on whether an earlier number is missing, and not only on the 0 in its place."""
    likelihood, outputs = build(MIXED)
    x, observed = torch.zeros(1, 3).double(), torch.tensor([[True, False, True]])
    whole = likelihood.log_prob_entries(x, outputs)[0, 0]
    assert likelihood.log_prob(x, outputs, observed).item() != pytest.approx((whole[0] + whole[2]).item())


@torch.no_grad()
def test_untrained_model_is_that_of_independent_columns() -> None:
    """The network between columns starts by adding nothing."""
    both = [part.build(MIXED) for part in (Autoregressive(), Mixed(numeric="mixture"))]
    outputs = torch.randn(2, 4, *both[0].outputs_shape, generator=torch.Generator().manual_seed(0))
    x = both[1].sample(outputs[0], torch.Generator().manual_seed(1))
    assert torch.equal(both[0].log_prob(x, outputs), both[1].log_prob(x, outputs))


@torch.no_grad()
def test_whole_numbers_share_one_and_are_drawn_as_such() -> None:
    """The probabilities of a mixture's whole numbers sum to 1, and its draws are whole in the column's unit."""
    examples = ExampleSpec.of_table((MIXED.columns or ())[2:])
    likelihood = Mixed(numeric="mixture").build(examples).double()
    outputs = torch.randn(1, 1, *likelihood.outputs_shape, generator=torch.Generator().manual_seed(0)).double()
    numbers = torch.arange(-200, 400)[:, None].double()
    x, _ = transform_of(examples).prepare(numbers.clone())
    density = likelihood.log_prob(x.double(), outputs.expand(1, len(x), -1)).exp()
    assert density.sum().item() / AGE.std == pytest.approx(1, abs=1e-4)
    drawn = transform_of(examples).in_units(likelihood.sample(outputs[0].expand(1000, -1), torch.Generator()))
    torch.testing.assert_close(drawn, drawn.round(), atol=1e-3, rtol=0)
    assert math.isfinite(likelihood.std(outputs).item())


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ([Column(str(number)) for number in range(MOST_COLUMNS + 1)], "501 columns, more than 500"),
        ([Column("key", tuple(map(str, range(MOST_CATEGORIES + 1))))], "10,001 categories, more than 10,000"),
    ],
    ids=["columns", "categories"],
)
def test_table_of_too_much_is_refused(columns: list[Column], words: str) -> None:
    """Its weights would grow beyond use; the message names a likelihood that takes them."""
    with pytest.raises(ConfigError, match=rf"the table has {words}; use .* mixed"):
        Autoregressive(hidden=24).build(ExampleSpec.of_table(columns))
