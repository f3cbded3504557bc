"""A table's figures: what they count is what is there."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from pipelines.report import column_charts, columns
from pipelines.report.columns import Comparison
from pipelines.report.plan import Plan
from pipelines.report.theme import paint
from tests.pipelines.report.conftest import TABLE_PARTS, Make
from vae import inference
from vae.data.batches import Batch
from vae.data.manifest import Column
from vae.data.schema import Experience
from vae.metrics.uses import fill_in

SIZE = Column(name="size", kind="numeric", dtype="double")
COUNT = Column(name="count", kind="numeric", dtype="int64")
COLOUR = Column(name="colour", kind="categorical", dtype="string", categories=("red", "green", "blue"))


def compared() -> Comparison:
    """Known columns: even numbers from 0 to 24, counts 0 to 4, and colours in known shares, against the same shifted."""
    size = np.concatenate([np.arange(240) / 10, [np.nan] * 10])
    count = np.arange(250) % 5.0
    colour = np.repeat([0.0, 1.0, 2.0], [150, 75, 25])
    data = np.stack([size, count, colour], axis=1)
    model = np.stack([np.concatenate([size[:240] + 1, np.zeros(10)]), count, np.roll(colour, 1)], axis=1)
    model[:, 2] = np.repeat([0.0, 1.0, 2.0], [125, 125, 0])
    return Comparison((SIZE, COUNT, COLOUR), data, model)


def test_marginals_count_what_is_there() -> None:
    """Of even numbers every bin has the same share but for the cut ends; of counts and colours the shares are exact."""
    size, count, colour = columns.marginals(compared())
    assert size.edges is not None
    assert size.data.sum() == size.model.sum() == pytest.approx(100)
    assert size.data[1:-1] == pytest.approx(np.full(22, 100 / 24), abs=0.5)
    assert count.edges is not None
    assert count.edges.tolist() == [-0.5, 0.5, 1.5, 2.5, 3.5, 4.5]
    assert count.data.tolist() == count.model.tolist() == [20] * 5
    assert colour.names == ("red", "green", "blue")
    assert colour.data == pytest.approx([60, 30, 10])
    assert colour.model == pytest.approx([50, 50, 0])
    assert (count.distance, colour.distance) == pytest.approx((0, 0.2))


def test_rare_categories_stand_together() -> None:
    """Of twelve categories the eight commonest are named, and the four others add up."""
    many = COLOUR.model_copy(update={"categories": tuple("abcdefghijkl")})
    codes = np.repeat(np.arange(12.0), np.arange(12, 0, -1))[:, None]
    (drawn,) = columns.marginals(Comparison((many,), codes, codes))
    assert drawn.names == (*"abcdefgh", "4 others")
    assert drawn.data[-1] == pytest.approx(100 * (4 + 3 + 2 + 1) / 78)


def test_cells_of_a_heat_map_say_their_value() -> None:
    """With a sign and two decimals; what rounds to nothing is 0, and a whole number is not."""
    values = (0.054, -1.2, 1.0, -0.004, 10.0, 0.999)
    assert [column_charts._signed(value) for value in values] == ["+.05", "−1.20", "+1.00", "0", "+10.00", "+1.00"]


def test_differences_are_zero_where_the_model_draws_the_data() -> None:
    """A model that draws the rows themselves has no difference; one that shuffles a column loses its correlation."""
    rng = np.random.default_rng(0)
    size = rng.normal(size=500)
    data = np.stack([size, 2 * size, rng.integers(0, 3, 500)], axis=1)
    kinds = (SIZE, COUNT, COLOUR)
    same, names = columns.association_differences(Comparison(kinds, data, data.copy()))
    assert names == ["size", "count", "colour"]
    assert np.nanmax(np.abs(same)) == 0
    shuffled = data.copy()
    shuffled[:, 1] = rng.permutation(shuffled[:, 1])
    lost, _ = columns.association_differences(Comparison(kinds, data, shuffled))
    assert lost[1, 0] == pytest.approx(np.corrcoef(shuffled[:, 0], shuffled[:, 1])[0, 1] - 1)


def test_imputation_error_is_that_of_each_hidden_column(make: Make) -> None:
    """Each column's error equals one that is computed here from what was hidden, and the baseline that of the means."""
    evidence = make(shape=(2,), parts=TABLE_PARTS)
    model = evidence.model
    assert model is not None
    assert evidence.rows is not None
    evidence = dataclasses.replace(evidence, rows=Batch(evidence.rows.values.repeat(10, 1)))
    assert evidence.rows is not None
    model.experience = Experience(missing=True)
    size, colour = columns.gaps(evidence)
    filled = fill_in(model, evidence.rows)
    truth, hidden = filled.truth.double().numpy(), filled.hidden.numpy()
    kept = np.where(hidden | evidence.rows.values.isnan().numpy(), np.nan, truth)
    answer = inference.impute(
        model, model.inputs(evidence.rows.values, generator=torch.Generator())._replace(
            observed=torch.from_numpy(~np.isnan(kept))
        ), num_samples=100,
    ).mean.double().numpy()  # fmt: skip
    of_size, of_colour = hidden[:, 0], hidden[:, 1]
    assert size.error == pytest.approx(np.sqrt(np.mean((answer - truth)[of_size, 0] ** 2)), rel=1e-5)
    assert size.simple == pytest.approx(np.sqrt(np.mean((np.nanmean(kept[:, 0]) - truth[of_size, 0]) ** 2)), rel=1e-5)
    assert colour.error == pytest.approx(np.mean((answer != truth)[of_colour, 1]))
    commonest = np.bincount(kept[~np.isnan(kept[:, 1]), 1].astype(int)).argmax()
    assert colour.simple == pytest.approx(np.mean(truth[of_colour, 1] != commonest))
    assert (size.is_category, colour.is_category) == (False, True)
    planned = columns.plan_imputation(evidence)
    assert isinstance(planned, Plan)
    assert (
        f"the model is better in {(size.error < size.simple) + (colour.error < colour.simple)} of 2" in planned.caption
    )


def test_tables_without_draws_or_gaps_say_why(make: Make) -> None:
    """Images have none of these figures; without rows, or with nothing to hide, there is a reason."""
    assert (
        columns.plan_marginals(make()) is columns.plan_associations(make()) is columns.plan_imputation(make()) is None
    )
    table = make(shape=(2,), parts=TABLE_PARTS)
    assert "trained on complete examples" in str(columns.plan_imputation(table))
    assert columns.plan_marginals(dataclasses.replace(table, rows=None)) == "no test rows were given"
    assert table.model is not None
    table.model.experience = Experience(missing=True)
    empty = dataclasses.replace(table, rows=Batch(torch.full((4, 2), torch.nan)))
    assert "none to hide" in str(columns.plan_imputation(empty))


def test_charts_of_columns_are_drawn_of_little() -> None:
    """Also of a column that has nothing in common with its draws, of one panel and of unknown differences."""
    found = compared()
    for figure in (
        column_charts.marginals(columns.marginals(found)),
        column_charts.marginals(columns.marginals(found)[:1]),
        column_charts.differences(*columns.association_differences(found)),
        column_charts.differences(np.full((2, 2), np.nan), ["$a$", "b" * 50]),
        column_charts.imputation([column_charts.Gap("a", True, 0.0, 0.0)]),
    ):
        assert all(len(image.getcolors(1 << 24) or []) > 10 for image in paint(figure))
