"""Drift is found where there is some, and only there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipelines.models import drift
from tests.vae.conftest import _publish, _publish_table
from vae.config import ModelConfig, parse
from vae.data.parquet import Dataset
from vae.data.schema import Column
from vae.data.statistics import example_spec
from vae.errors import DataError
from vae.model import VAE

SPLITS = {"train": 900, "test": 300}


def level(mean: float, std: float = 10.0) -> drift.Level:
    return drift.Level(mean=mean, std=std)


def profile(nll: float = 100.0, error: float = 0.2, outside: float = 0.02, count: int = 1000) -> drift.Profile:
    return drift.Profile(num_examples=count, nll=level(nll), error=level(error, 0.05), outside=outside)


@pytest.mark.parametrize(
    ("fresh", "drifted"),
    [
        (profile(), []),
        (profile(nll=101.0), []),  # within a tenth of a standard deviation and what chance does
        (profile(nll=103.0), ["negative log-likelihood"]),
        (profile(nll=97.0), ["negative log-likelihood"]),  # blank images are likelier than digits
        (profile(nll=103.0, count=20), []),  # as far, but of few rows
        (profile(error=0.23), ["reconstruction error"]),
        (profile(outside=0.08), ["outside the training range"]),
        (profile(outside=0.0), []),
    ],
)
def test_compare_tells_what_moved_from_chance(fresh: drift.Profile, drifted: list[str]) -> None:
    """By the means' standard errors and by how large an effect is, each from closed forms."""
    found = drift.compare(profile(), fresh)
    assert [finding.what for finding in found if finding.drifted] == drifted


def images(folder: Path, seed: int, brightest: int = 200) -> Dataset:
    """Noise of 4×4 pixels up to a brightness."""
    pixels = np.random.default_rng(seed).integers(0, brightest, (1200, 1, 4, 4)).astype(np.uint8)
    folder.mkdir()
    return _publish(folder, pixels, None, SPLITS)


def table(
    folder: Path,
    seed: int,
    colours: tuple[str, ...] = ("blue", "red"),
    shift: float = 0.0,
    absurd: tuple[int, ...] = (),
) -> Dataset:
    """A normal column with holes and perhaps 1e12 in some rows, and a colour."""
    rng = np.random.default_rng(seed)
    ages_N = rng.normal(shift, 1, 1200)
    ages_N[list(absurd)] = 1e12
    age = pa.array(ages_N, mask=(rng.random(1200) < 0.1) & (ages_N < 1e12))
    rows = pa.table({"age": age, "colour": np.array(colours)[rng.integers(len(colours), size=1200)]})
    columns = [
        Column("age", dtype="double"),
        Column("colour", colours, dtype="string"),
    ]
    folder.mkdir()
    return _publish_table(folder, rows, columns, None, SPLITS)


def reference_of(model: VAE, data: Dataset) -> drift.Reference:
    """The reference, with the training split in two parts."""
    columns = model.examples.columns or ()
    parts = [drift.extremes_of(data, columns, *part) for part in ((0, 500), (500, SPLITS["train"]))]
    return drift.reference_of(model, data, drift.ranges_of(parts, columns))


def moved(model: VAE, was: Dataset, now: Dataset) -> set[str]:
    """Which figures have."""
    known = drift.Reference.model_validate_json(reference_of(model, was).model_dump_json())
    assert known.profile.num_samples == drift.NUM_SAMPLES
    found = drift.compare(known.profile, drift.profile_of(model, now, known.ranges))
    return {finding.what for finding in found if finding.drifted}


def test_images_drift_with_their_brightness(tmp_path: Path) -> None:
    """Other images of the same kind have not drifted; brighter ones are outside, and are missed by more."""
    was = images(tmp_path / "was", 0)
    model = VAE(ModelConfig(latent_dim=2), example_spec(was), seed=0).eval()
    assert moved(model, was, images(tmp_path / "same", 1)) == set()
    brighter = moved(model, was, images(tmp_path / "brighter", 1, 256))
    assert {"reconstruction error", "outside the training range"} <= brighter


def test_table_drifts_with_its_numbers_and_categories(tmp_path: Path) -> None:
    """A table with a missing category is fine; one with a new category is scored, its strange rows counted."""
    was = table(tmp_path / "was", 0)
    config = parse(ModelConfig, {"latent_dim": 2, "encoder": {"kind": "table"}, "likelihood": {"kind": "mixed"}})
    model = VAE(config, example_spec(was), seed=0).eval()
    assert moved(model, was, table(tmp_path / "same", 1)) == set()
    assert "outside the training range" not in moved(model, was, table(tmp_path / "one", 2, ("blue",)))
    assert "outside the training range" in moved(model, was, table(tmp_path / "new", 3, ("blue", "green", "red")))
    assert "negative log-likelihood" in moved(model, was, table(tmp_path / "shifted", 4, shift=2.0))


def test_absurd_values_are_outside_and_move_nothing_else(tmp_path: Path) -> None:
    """One in the training split does not widen its range; some in fresh data count as outside and as missing."""
    was = table(tmp_path / "was", 0, absurd=(5,))
    config = parse(ModelConfig, {"latent_dim": 2, "encoder": {"kind": "table"}, "likelihood": {"kind": "mixed"}})
    model = VAE(config, example_spec(was), seed=0).eval()
    assert reference_of(model, was).ranges[0].high < 10
    assert moved(model, was, table(tmp_path / "same", 1)) == set()
    found = moved(model, was, table(tmp_path / "absurd", 1, absurd=tuple(range(0, 1200, 10))))
    assert found == {"outside the training range"}


def test_data_of_another_kind_is_refused(tmp_path: Path) -> None:
    """That is a mistake and no drift."""
    was = images(tmp_path / "was", 0)
    model = VAE(ModelConfig(latent_dim=2), example_spec(was), seed=0).eval()
    with pytest.raises(DataError, match=r"expected images of shape \(1, 4, 4\), found a table \(2,\)"):
        drift.profile_of(model, table(tmp_path / "table", 0), ())
