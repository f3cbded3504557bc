"""Images of traversals and interpolations, against the decoder's answers at the same latents."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from pipelines.report import columns, walks
from pipelines.report.evidence import LeftOut
from tests.pipelines.report.conftest import TABLE_PARTS, Make
from vae import inference
from vae.metrics.likelihood import Bound


def bound(kl: tuple[float, ...] | None, variance: tuple[float, ...]) -> Bound:
    return Bound(30, 20.0, 6.0, 26.0, kl, variance, (1.0,) * len(variance))


def test_traversals_are_sorted_by_kl_of_the_split(make: Make) -> None:
    """Rows are the active dimensions in the order of the split's KL, and each image is the decoder's answer."""
    measured = bound((0.5, 3.0, 0.0, 1.5), (1.0, 1.0, 0.0, 1.0))
    evidence = make(latent_dim=4, bound=measured)
    grid = walks.traversals(evidence, measured)
    assert list(grid.row_names) == ["z1  3.00 nats", "z3  1.50 nats", "z0  0.50 nats"]
    assert list(grid.column_names[0]) == ["−3", "−2", "−1", "0", "+1", "+2", "+3"]
    assert evidence.model is not None
    mean_L = inference.encode(evidence.model, evidence.inputs(slice(1))).mean[0]
    for row, dimension in enumerate((1, 3, 0)):
        z_NL = mean_L.repeat(7, 1)
        z_NL[:, dimension] = torch.linspace(-3, 3, 7)
        expected = inference.decode(evidence.model, z_NL).numpy()
        np.testing.assert_allclose(grid.images[row], expected, atol=1e-6)


def test_traversals_without_a_kl_go_by_variance(make: Make) -> None:
    """Without a KL in closed form, the order is that of the posterior mean's variance, which has no unit."""
    measured = bound(None, (0.2, 0.9, 0.4))
    grid = walks.traversals(make(bound=measured), measured)
    assert list(grid.row_names) == ["z1  0.90", "z2  0.40", "z0  0.20"]
    caption = walks.plan_traversals(make(bound=measured)).caption
    assert "variance of the posterior mean over the test split." in caption


@pytest.mark.parametrize("condition", ["none", "class"])
def test_interpolations_go_from_row_to_row(make: Make, condition: Any) -> None:
    """A strip starts and ends with the data; the two reconstructions stand next to it."""
    evidence = make(condition)
    model = evidence.model
    assert model is not None
    images = walks.interpolations(evidence).images
    pairs = len(images)
    assert images.shape == (pairs, 10, 1, 8, 8)
    rows = evidence.inputs(slice(2 * pairs))
    again = inference.reconstruct(model, rows).numpy()
    np.testing.assert_allclose(images[:, 0], rows.x[0::2].numpy())
    np.testing.assert_allclose(images[:, -1], rows.x[1::2].numpy())
    np.testing.assert_allclose(images[:, 1], again[0::2], atol=1e-6)
    np.testing.assert_allclose(images[:, -2], again[1::2], atol=1e-6)


def test_traversals_of_a_table_are_the_change_of_each_column(make: Make) -> None:
    """Numbers change by the mean difference of the decoder's answers at both ends, categories by the share that changes."""
    measured = bound((0.1, 2.0, 0.0), (1.0, 1.0, 0.0))
    evidence = make(shape=(2,), parts=TABLE_PARTS, bound=measured)
    model = evidence.model
    assert model is not None
    found, dimensions, names = columns.effects(evidence, measured)
    assert (dimensions, names) == (["z1", "z0"], ["size", "colour"])
    mean_NL = inference.encode(model, evidence.inputs(slice(None))).mean
    for row, dimension in enumerate((1, 0)):
        ends = []
        for value in (-2.0, 2.0):
            z_NL = mean_NL.clone()
            z_NL[:, dimension] = value
            ends.append(inference.decode(model, z_NL).double().numpy())
        low, high = ends
        assert found[row, 0] == pytest.approx((high - low)[:, 0].mean(), abs=1e-6)
        assert found[row, 1] == pytest.approx((high != low)[:, 1].mean())
    assert "2 columns" in columns.plan_effects(evidence).alt


def test_walks_say_why_they_are_left_out(make: Make) -> None:
    """Codes have nothing between them, one row has no other, and dimensions are sorted by a bound."""
    codes = {"posterior": {"kind": "vector_quantized", "code_dim": 1}, "prior": {"kind": "uniform_codes"}}
    evidence = make()
    assert evidence.rows is not None
    one_row = make(rows=evidence.rows.take(slice(1)))
    for plan, lacking, reason in (
        (walks.plan_traversals, make(parts=codes), "made of codes"),
        (walks.plan_interpolations, one_row, "two rows"),
        (walks.plan_traversals, make(bound=None), "KL of the dimensions was not measured"),
    ):
        with pytest.raises(LeftOut, match=reason):
            plan(lacking)
