"""The scale of a dataset, and what presets derive from it."""

from __future__ import annotations

import pytest

from vae.config import override
from vae.data.parquet import Dataset
from vae.presets import preset
from vae.scale import Scale, scale_of
from vae.suiting import fitted
from vae.verdict import expected_rate


@pytest.mark.parametrize("rate", [0.1, 1.0, 2.0, 30.0])
def test_beta_at_a_rate_has_that_rate(rate: float) -> None:
    """At the β for a rate, a linear model of the data has the rate: of one dimension at high β, of all at a low one."""
    scale = Scale((8.0, 3.0, 2.9, 0.5, 0.0), 10.0)
    config = override(preset("vae"), {"objective.beta": scale.beta_at(rate, latent_dim=10)}, "a test's")
    assert expected_rate(config, scale) == pytest.approx(rate)


def test_beta_at_a_rate_looks_at_the_dimensions_of_the_latent_alone() -> None:
    """A latent of one dimension needs a smaller β for the same rate; data without structure has none."""
    scale = Scale((8.0, 8.0), 10.0)
    assert scale.beta_at(1.0, latent_dim=1) == pytest.approx(8.0 / 2.718281828**2)
    assert scale.beta_at(1.0, latent_dim=2) == pytest.approx(8.0 / 2.718281828)
    assert Scale((0.0,), 0.0).beta_at(1.0, latent_dim=2) == 0.0


def test_derived_beta_leaves_something_to_tell(digits: Dataset) -> None:
    """The β that `beta_vae` derives from digits is above 1, and a linear model keeps 2 nats at it."""
    config = fitted("beta_vae", digits).config()
    assert 1 < config.objective.beta < 4
    assert expected_rate(config, scale_of(config, digits)) == pytest.approx(2.0, abs=0.05)
