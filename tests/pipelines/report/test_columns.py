"""Numbers in the figures of a table, against rows and draws whose distributions are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from pipelines.report import column_charts, columns
from pipelines.report.evidence import LeftOut
from pipelines.report.theme import LIGHT
from tests.pipelines.report.conftest import TABLE_PARTS, Make
from vae import inference
from vae.data.batches import Batch
from vae.data.schema import Column, Experience
from vae.draws import RowDraws
from vae.metrics.uses import fill_in
from vae.seeds import Stream

SIZE = Column("size", dtype="double")
COUNT = Column("count", dtype="int64")
COLOUR = Column("colour", ("red", "green", "blue"), dtype="string")


KINDS = (SIZE, COUNT, COLOUR)


def compared() -> tuple[np.ndarray, np.ndarray]:
    """Returns even numbers from 0 to 24, counts 0 to 4 and colours in known shares, and the same shifted."""
    size = np.concatenate([np.arange(240) / 10, [np.nan] * 10])
    count = np.arange(250) % 5.0
    data = np.stack([size, count, np.repeat([0.0, 1.0, 2.0], [150, 75, 25])], axis=1)
    model = np.stack([np.append(size[:240] + 1, np.zeros(10)), count, np.repeat([0.0, 1.0], 125)], axis=1)
    return data, model


def test_marginals_count_what_is_observed() -> None:
    """Even numbers have the same share in every bin but the first and last; counts and colours have exact shares."""
    size, count, colour = columns.marginals(KINDS, *compared())
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
    """The eight commonest of twelve categories are named, and the four others add up."""
    many = replace(COLOUR, categories=tuple("abcdefghijkl"))
    codes = np.repeat(np.arange(12.0), np.arange(12, 0, -1))[:, None]
    (drawn,) = columns.marginals((many,), codes, codes)
    assert drawn.names == (*"abcdefgh", "4 others")
    assert drawn.data[-1] == pytest.approx(100 * (4 + 3 + 2 + 1) / 78)


def test_cells_of_a_heat_map_say_their_value() -> None:
    """Values have a sign and two decimals; a value that rounds to nothing is 0."""
    values = (0.054, -1.2, 1.0, -0.004, 10.0, 0.999)
    assert [column_charts.signed(value) for value in values] == ["+.05", "−1.20", "+1.00", "0", "+10.00", "+1.00"]


def test_differences_are_zero_where_the_model_draws_the_data() -> None:
    """A model that draws the rows themselves has no difference; one that shuffles a column loses its correlation."""
    rng = np.random.default_rng(0)
    size = rng.normal(size=500)
    data = np.stack([size, 2 * size, rng.integers(0, 3, 500).astype(float)], axis=1)
    assert np.nanmax(np.abs(columns.association_differences(KINDS, data, data.copy()))) == 0
    shuffled = data.copy()
    shuffled[:, 1] = rng.permutation(shuffled[:, 1])
    lost = columns.association_differences(KINDS, data, shuffled)
    assert lost[1, 0] == pytest.approx(np.corrcoef(shuffled[:, 0], shuffled[:, 1])[0, 1] - 1)


def test_imputation_error_is_that_of_each_hidden_column(make: Make) -> None:
    """The errors of model and baseline equal those computed here from the entries that were hidden."""
    evidence = make(shape=(2,), parts=TABLE_PARTS)
    model = evidence.model
    assert model is not None
    assert evidence.rows is not None
    evidence = replace(evidence, rows=Batch(evidence.rows.values.repeat(10, 1)))
    assert evidence.rows is not None
    model.experience = Experience(missing=True)
    size, colour = columns.gaps(evidence)
    filled = fill_in(model, evidence.rows)
    truth, hidden = filled.truth.double().numpy(), filled.hidden.numpy()
    kept = np.where(hidden | evidence.rows.values.isnan().numpy(), np.nan, truth)
    answer = inference.impute(
        model, model.inputs(evidence.rows.values, draws=RowDraws(0, Stream.EVALUATION))._replace(
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
    better = (size.error < size.simple) + (colour.error < colour.simple)
    assert f"the model is better in {better} of 2" in columns.plan_imputation(evidence).caption


def test_tables_without_draws_or_gaps_say_why(make: Make) -> None:
    """Without rows, or with nothing to hide, there is a reason."""
    table = make(shape=(2,), parts=TABLE_PARTS)
    assert table.model is not None
    for plan in (columns.plan_marginals, columns.plan_associations, columns.plan_imputation):
        with pytest.raises(LeftOut, match="no test rows were given"):
            plan(replace(table, rows=None))
    with pytest.raises(LeftOut, match="trained on complete examples"):
        columns.plan_imputation(table)
    table.model.experience = Experience(missing=True)
    with pytest.raises(LeftOut, match="none of the entries of 4 rows can be hidden"):
        columns.plan_imputation(replace(table, rows=Batch(torch.full((4, 2), torch.nan))))


def test_charts_of_columns_are_drawn_of_little() -> None:
    """One panel, unknown differences, and errors of zero have a chart as well."""
    names = ["$a$", "b" * 50]
    column_charts.marginals(columns.marginals(KINDS, *compared())[:1], LIGHT).draw_without_rendering()
    column_charts.differences(np.full((2, 2), np.nan), names, LIGHT).draw_without_rendering()
    column_charts.imputation([column_charts.Gap("a", True, 0.0, 0.0)], LIGHT).draw_without_rendering()
