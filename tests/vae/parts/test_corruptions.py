"""Corruption: noise on images, and entries that are hidden by chance, by others, or by themselves."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vae.data.missing import (
    Logistic,
    MissingAtRandom,
    MissingCompletelyAtRandom,
    MissingConfig,
    MissingNotAtRandom,
    fit_logistic,
    hide,
)
from vae.data.parquet import Dataset
from vae.data.schema import Column
from vae.draws import RowDraws
from vae.errors import ConfigError
from vae.parts.corruptions.block_mask import BlockMask
from vae.parts.corruptions.blur import Blur
from vae.parts.corruptions.gaussian_noise import GaussianNoise
from vae.parts.corruptions.salt_and_pepper import SaltAndPepper
from vae.seeds import Stream

MCAR, MAR, MNAR = MissingCompletelyAtRandom, MissingAtRandom, MissingNotAtRandom
ROWS, COLUMNS = 6000, 5


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def table(publish_table, tmp_path_factory) -> Dataset:
    """Five columns that go together, of very different scales and one of them skewed."""
    import pyarrow as pa

    rng = np.random.default_rng(0)
    common = rng.normal(size=ROWS)
    values = {f"c{i}": (common + rng.normal(size=ROWS)) * 10.0**i for i in range(COLUMNS)}
    values["c1"] = np.exp(values["c1"] / 10)
    columns = [Column(name, dtype="double") for name in values]
    return publish_table(tmp_path_factory.mktemp("table"), pa.table(values), columns, None, {"train": ROWS}, 512)


def mask(table: Dataset, config: MissingConfig, values: np.ndarray | None = None, first_row: int = 0) -> np.ndarray:
    """What is there of the training split's values, or of others in their place."""
    values = table.read_rows("train", 0, ROWS).values if values is None else values
    return hide(values, config, split="train", first_row=first_row, logistic=fit_logistic(table, config))


# --- noise on images --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [GaussianNoise(), SaltAndPepper(), BlockMask(), Blur()], ids=lambda c: c.kind)
def test_corrupt_depends_on_its_generator_alone(config) -> None:
    """The same seed gives the same images, of the same shape and type; the clean ones are left as they are."""
    x = torch.rand(5, 3, 12, 9, generator=generator())
    before = x.clone()
    first = config.corrupt(x, RowDraws(1, Stream.STEP))
    assert torch.equal(first, config.corrupt(x, RowDraws(1, Stream.STEP)))
    assert (first.shape, first.dtype) == (x.shape, x.dtype)
    assert torch.equal(x, before)
    assert not torch.equal(first, x)
    if config.kind != "blur":
        assert not torch.equal(first, config.corrupt(x, RowDraws(2, Stream.STEP)))


def test_gaussian_noise_has_its_sigma() -> None:
    """What is added has mean 0 and the standard deviation asked for, and is not clipped."""
    noise = GaussianNoise(sigma=0.3).corrupt(torch.zeros(100, 1, 20, 20), RowDraws(0, Stream.STEP))
    assert abs(noise.mean().item()) < 5 * 0.3 / 200
    assert noise.std().item() == pytest.approx(0.3, rel=0.02)


def test_salt_and_pepper_share_is_half_black_half_white() -> None:
    """A quarter of grey pixels changes: half of those to 1, half to 0, each within 5 standard errors."""
    x = SaltAndPepper(share=0.25).corrupt(torch.full((100, 1, 20, 20), 0.5), RowDraws(0, Stream.STEP))
    error = 5 * (0.125 * 0.875 / x.numel()) ** 0.5
    assert (x == 1).float().mean().item() == pytest.approx(0.125, abs=error)
    assert (x == 0).float().mean().item() == pytest.approx(0.125, abs=error)
    assert set(x.unique().tolist()) == {0.0, 0.5, 1.0}


def test_block_mask_is_one_square_anywhere() -> None:
    """Each image loses one square of the side asked for, in all channels, and squares reach every edge."""
    x = 1 - BlockMask(side=0.5).corrupt(torch.ones(400, 2, 10, 8), RowDraws(0, Stream.STEP))
    assert torch.equal(x[:, 0], x[:, 1])
    assert (x[:, 0].sum((1, 2)) == 16).all()
    assert set(x[:, 0].sum(1).flatten().tolist()) == set(x[:, 0].sum(2).flatten().tolist()) == {0.0, 4.0}
    for edge in (x[:, 0, 0], x[:, 0, -1], x[:, 0, :, 0], x[:, 0, :, -1]):
        assert edge.any()
    assert not BlockMask(side=1.0).corrupt(torch.ones(3, 1, 5, 5), RowDraws(0, Stream.STEP)).any()


def test_blur_is_scipys() -> None:
    """The blur is scipy's Gaussian filter with the border's pixels repeated."""
    from scipy.ndimage import gaussian_filter

    x = torch.rand(2, 3, 9, 14, generator=generator(), dtype=torch.float64)
    for sigma in (0.7, 1.0, 4.0):
        expected = gaussian_filter(x.numpy(), sigma, axes=(2, 3), mode="nearest", radius=int(np.ceil(3 * sigma)))
        np.testing.assert_allclose(Blur(sigma=sigma).corrupt(x, RowDraws(0, Stream.STEP)), expected, rtol=1e-9)


# --- hidden entries ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [MCAR(share=0.3), MAR(share=0.3), MNAR(share=0.3)], ids=lambda c: c.kind)
def test_hide_depends_on_split_and_row_alone(table: Dataset, config: MissingConfig) -> None:
    """A row loses the same entries in every range that it is read in; another split, others."""
    values, logistic = table.read_rows("train", 0, ROWS).values, fit_logistic(table, config)
    whole = mask(table, config)
    for start, stop in [(0, 1), (17, 4000), (999, 1001), (5999, 6000)]:
        np.testing.assert_array_equal(mask(table, config, values[start:stop], start), whole[start:stop])
    other = hide(values, config, split="validation", first_row=0, logistic=logistic)
    assert not np.array_equal(other, whole)


@pytest.mark.parametrize("num_values", [1, 3, 4, 785])
def test_hide_mcar_share_is_right_for_every_column(num_values: int) -> None:
    """Each entry of an image is missing as often as asked for, within 5 standard errors, and unlike its neighbours."""
    observed = hide(np.zeros((20_000, num_values), np.uint8), MCAR(share=0.3), split="test", first_row=5)
    error = 5 * (0.3 * 0.7 / 20_000) ** 0.5
    assert (abs(1 - observed.mean(0) - 0.3) < error).all()
    if num_values > 1:
        assert abs(np.corrcoef(observed[:, 0], observed[:, 1])[0, 1]) < 5 / 20_000**0.5
    assert abs(np.corrcoef(observed[:-1, 0], observed[1:, 0])[0, 1]) < 5 / 20_000**0.5


@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
def test_hide_share_of_a_table_is_right_on_average(table: Dataset, share: float) -> None:
    """At random, half the columns stay and the others lose the share; not at random, all lose it; also skewed ones."""
    error = 5 * (share * (1 - share) / ROWS) ** 0.5
    for config, losing in ((MCAR(share=share), 5), (MAR(share=share), 2), (MNAR(share=share), 5)):
        missing = 1 - mask(table, config).mean(0)
        assert (missing > 0).sum() == losing
        assert (abs(missing[missing > 0] - share) < error).all(), config.kind


def test_hide_mcar_ignores_the_values(table: Dataset) -> None:
    """Completely at random, other values have the same holes."""
    values = table.read_rows("train", 0, ROWS).values
    np.testing.assert_array_equal(mask(table, MCAR(), values), mask(table, MCAR(), -values))


def test_hide_mar_is_decided_by_what_is_there(table: Dataset) -> None:
    """Other values in the columns that can be missing change no hole; other values in the others do."""
    values = table.read_rows("train", 0, ROWS).values
    whole = mask(table, MAR())
    losing = ~whole.all(0)
    changed = np.where(losing, values[::-1], values)
    np.testing.assert_array_equal(mask(table, MAR(), changed), whole)
    changed = np.where(losing, values, values[::-1])
    assert not np.array_equal(mask(table, MAR(), changed), whole)
    scores = values[:, ~losing]
    correlations = [abs(np.corrcoef(scores[:, i], whole[:, j])[0, 1]) for i in range(3) for j in np.flatnonzero(losing)]
    assert max(correlations) > 0.2


def test_hide_mnar_takes_the_larger_values(table: Dataset) -> None:
    """What is hidden is larger than what is left, in every column, and a column's holes follow its values alone."""
    values = table.read_rows("train", 0, ROWS).values
    whole = mask(table, MNAR())
    for column in range(COLUMNS):
        there = whole[:, column]
        assert values[~there, column].mean() > values[there, column].mean() + 0.3 * values[:, column].std()
    changed = values.copy()
    changed[:, 0] = changed[::-1, 0]
    after = mask(table, MNAR(), changed)
    assert not np.array_equal(after[:, 0], whole[:, 0])
    np.testing.assert_array_equal(after[:, 1:], whole[:, 1:])


@pytest.mark.parametrize("config", [MCAR(), MAR(), MNAR()], ids=lambda c: c.kind)
def test_hide_comes_on_top_of_what_is_missing(people: Dataset, config: MissingConfig) -> None:
    """What is missing already stays missing, and decides nothing that is not a number."""
    values = people.read_rows("train", 0, 900).values
    logistic = fit_logistic(people, config)
    observed = hide(values, config, split="train", first_row=0, logistic=logistic)
    assert not observed[np.isnan(values)].any()
    if logistic is not None:
        assert isinstance(logistic, Logistic)
        assert np.isfinite(logistic.probability(values)).all()


def test_images_are_hidden_completely_at_random_only(digits: Dataset, publish_table, tmp_path) -> None:
    """MAR and MNAR are refused for images, and MAR for a single column, with why."""
    assert fit_logistic(digits, MCAR()) is None
    with pytest.raises(
        ConfigError, match=r"data.missing: mnar is decided by the columns of a table, and .* images; use"
    ):
        fit_logistic(digits, MNAR())
    import pyarrow as pa

    column = Column("a", dtype="double")
    single = publish_table(tmp_path, pa.table({"a": np.arange(9.0)}), [column], None, {"train": 9})
    with pytest.raises(ConfigError, match=r"data.missing: mar needs a column that is always there"):
        fit_logistic(single, MAR())
    assert fit_logistic(single, MNAR()) is not None
