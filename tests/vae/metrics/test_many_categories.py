"""Columns of thousands of categories: nothing has a size of the square of their number, and figures bound their work."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from tests.vae.conftest import Publish
from vae.config import RunConfig
from vae.config.scale import scale_of
from vae.data.batches import Batch
from vae.data.schema import Column, ExampleSpec, Experience
from vae.data.statistics import example_spec
from vae.data.transforms import transform_of
from vae.data.transforms.columns import recoded
from vae.data.transforms.tables import MOST_ONE_HOT
from vae.inference.memory import MOST_PROBABILITIES, affordable_rows
from vae.metrics.tables import associations
from vae.metrics.uses import NUM_SAMPLES, fill_in
from vae.model import VAE
from vae.parts.directions import MOST_CATEGORIES, fit_directions

MANY, HUGE = 5_000, 300_000
NAMES = tuple(f"n{code}" for code in range(MANY))
COLUMNS = (Column("x", dtype="double"), Column("name", NAMES, dtype="string"), Column("other", NAMES, dtype="string"))
CONFIG = RunConfig.model_validate(
    {"model": {"encoder": {"kind": "table", "hidden": [8]}, "likelihood": {"kind": "mixed"}, "latent_dim": 2}}
)
RNG = np.random.default_rng(0)


def model() -> VAE:
    made = VAE(CONFIG.model, ExampleSpec.of_table(COLUMNS)).eval()
    made.experience = Experience(missing=True)
    return made


def test_categories_as_numbers_have_a_bounded_width() -> None:
    """The columns of zeros and ones of 5,000 categories are 256, with one 1 in each row; of few categories each has one."""
    x = torch.tensor([[0.5, 4_999, 7], [0.5, 255, 4_000]])
    transform = transform_of(ExampleSpec.of_table(COLUMNS))
    values, observed = transform.as_numbers(x, None)
    assert values.shape == observed.shape == (2, 1 + 2 * MOST_ONE_HOT)
    assert len(transform.is_number()) == values.shape[1]
    assert values[:, 1:].sum(1).tolist() == [2, 2]


def test_distortion_of_a_collapsed_model_counts_every_category(publish_table: Publish, tmp_path: Path) -> None:
    """Although categories share columns, the nats of a model without a latent are the entropy of the codes."""
    codes = np.arange(2_010) % 1_000
    table = pa.table({"x": RNG.normal(size=2_010), "name": pa.array(np.array(NAMES)[codes])})
    columns = [COLUMNS[0], Column("name", NAMES, dtype="string")]
    dataset = publish_table(tmp_path, table, columns, None, {"train": 2_000, "validation": 10})
    gaussian = 0.5 * math.log(2 * math.pi * math.e)
    assert scale_of(CONFIG, dataset).marginal_nats == pytest.approx(gaussian + math.log(1_000), rel=0.01)
    assert len(example_spec(dataset).columns[1].categories or ()) == MANY  # pyright: ignore[reportOptionalSubscript]


def test_directions_are_of_the_most_frequent_categories() -> None:
    """Of 5,000 categories the 64 most frequent get a direction; the fit is no larger."""
    codes = np.concatenate([np.repeat(np.arange(100, 164), 5), np.arange(1_000)])
    found = fit_directions(
        RNG.normal(size=(len(codes), 3)).astype(np.float32), [Column("name", NAMES)],
        codes[:, None].astype(np.float32), np.ones(3, np.float32),
    )  # fmt: skip
    assert found.names == tuple(f"name=n{code}" for code in range(100, 100 + MOST_CATEGORIES))
    assert found.means.shape == (MOST_CATEGORIES, 3)


def test_associations_of_huge_columns_count_the_pairs_that_occur() -> None:
    """Two columns of 300,000 categories, whose table of counts would take 720 GB: equal ones have a Cramér's V of 1."""
    codes = RNG.integers(0, HUGE, 500).astype(float)
    rows = np.stack([codes, codes, np.resize([0.0, 1.0], 500)], axis=1)
    found = associations(rows, [HUGE, HUGE, 2])
    assert found[1, 0] == pytest.approx(1)
    assert np.isfinite(found).all()


def test_codes_of_huge_columns_are_recoded() -> None:
    """Codes of 300,000 names become those of the same names in another order; a lookup takes no pass over the others."""
    names = tuple(map(str, range(HUGE)))
    found = recoded(np.array([0.0, HUGE - 1, np.nan]), names, names[::-1])
    np.testing.assert_array_equal(found, [HUGE - 1, 0, np.nan])


def test_imputation_is_measured_on_as_many_rows_as_are_affordable() -> None:
    """Rows times draws times categories stay within the budget; models without categories keep all rows."""
    made = model()
    values = np.stack([RNG.normal(size=400), *RNG.integers(0, MANY, (2, 400))], axis=1)
    filled = fill_in(made, Batch(torch.from_numpy(values)))
    assert (
        len(filled.truth) == affordable_rows(made, NUM_SAMPLES, 400) == MOST_PROBABILITIES // (NUM_SAMPLES * 2 * MANY)
    )
    numbers = VAE(CONFIG.model, ExampleSpec.of_table(COLUMNS[:1])).eval()
    assert affordable_rows(numbers, NUM_SAMPLES, 400) == 400
