"""The generation gap: energy distances by hand, and a linear model whose posteriors fill its prior, or do not."""

from __future__ import annotations

import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from vae.config import RunConfig, override
from vae.data.schema import Column, ExampleSpec
from vae.metrics.gap import energy_distance, generation_gap, mean_distance, numbers, rows_within_budget
from vae.model import VAE
from vae.parts.terms import Inputs

STD = 0.1
ROWS = (0.5 + STD * torch.randn(400, 1, 1, 2, generator=torch.Generator().manual_seed(0))).clamp(0, 1)


class _Flat(nn.Module):
    """An encoder that passes standardised pixels on."""

    def forward(self, x: Tensor, observed: Tensor | None, context: object) -> Tensor:
        return (x.flatten(1) - 0.5) / STD


class _Unflat(nn.Module):
    """A decoder whose mean is the latent over a factor, in pixels; the likelihood takes its logit."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, z_BL: Tensor, context: object) -> Tensor:
        return (0.5 + STD * z_BL / self.factor).clamp(1e-3, 1 - 1e-3).logit().view(-1, 1, 1, 2)


def linear_model(factor: float) -> VAE:
    """A model that codes two pixels as a factor times them, exactly, and decodes them back."""
    changes = {"model.latent_dim": 2, "model.likelihood": {"kind": "gaussian", "sigma": "fixed"}}
    model = VAE(override(RunConfig(), changes).model, ExampleSpec((1, 1, 2))).eval()
    model.encoder, model.decoder = _Flat(), _Unflat(factor)
    model.posterior.head = nn.Linear(2, 4)
    with torch.no_grad():
        model.posterior.head.weight.copy_(torch.cat([factor * torch.eye(2), torch.zeros(2, 2)]))
        model.posterior.head.bias.copy_(torch.tensor([0.0, 0.0, -9.0, -9.0]))
    return model


def test_energy_distance_agrees_with_scipy() -> None:
    """In one dimension it is the square of SciPy's, but for the bias of pairs of a row with itself."""
    a, b = torch.randn(50, 1, generator=torch.Generator().manual_seed(1)), torch.rand(40, 1)
    biased = stats.energy_distance(a[:, 0].numpy(), b[:, 0].numpy()) ** 2
    bias = mean_distance(a) / 50 + mean_distance(b) / 40
    assert energy_distance(a, b) == pytest.approx(biased - bias, abs=1e-5)


def test_mean_distance_leaves_a_row_and_itself_out() -> None:
    """Of points at 0, 1 and 3 the distances are 1, 2 and 3."""
    assert mean_distance(torch.tensor([[0.0], [1.0], [3.0]])) == pytest.approx(2.0)


def test_gap_is_none_where_posteriors_fill_the_prior() -> None:
    """Latents that are distributed as N(0, I) leave samples no farther from the rows than reconstructions are."""
    assert abs(generation_gap(linear_model(1.0), Inputs(ROWS))) < 0.03


@pytest.mark.parametrize("factor", [0.5, 5.0])
def test_gap_is_the_distance_of_samples_where_posteriors_lie_elsewhere(factor: float) -> None:
    """Of an aggregate posterior half or five times as wide as the prior, samples are twice as wide, or a fifth."""
    samples = 0.5 + STD / factor * torch.randn(4000, 2, generator=torch.Generator().manual_seed(2))
    rows = ROWS.flatten(1)
    expected = energy_distance(samples, rows) / mean_distance(rows)
    assert expected > 0.1
    assert generation_gap(linear_model(factor), Inputs(ROWS)) == pytest.approx(expected, abs=0.03)


def test_gap_does_not_blame_samples_for_a_blurred_decoder() -> None:
    """Where all is decoded a fifth as wide, samples lie no farther from the rows than reconstructions do."""
    model = linear_model(1.0)
    model.decoder = _Unflat(5.0)
    assert abs(generation_gap(model, Inputs(ROWS))) < 0.03


def test_gap_repeats_with_its_seed() -> None:
    """The seed alone decides the draws."""
    model = linear_model(1.0)
    assert generation_gap(model, Inputs(ROWS)) == generation_gap(model, Inputs(ROWS))
    assert generation_gap(model, Inputs(ROWS), seed=1) != generation_gap(model, Inputs(ROWS))


def test_large_examples_are_fewer() -> None:
    """Photographs of 256×256 take a byte budget, not 500 rows; a row of any size has another to be compared with."""
    assert rows_within_budget(64) == 500
    assert rows_within_budget(3 * 256 * 256) == 21
    assert rows_within_budget(10**9) == 2


def test_numbers_of_a_table_count_each_category() -> None:
    """A category is a column of zeros and ones for each of its values, and what is missing is 0."""
    columns = (Column("size"), Column("kind", ("low", "high")))
    changes = {"model.encoder": {"kind": "table"}, "model.likelihood": {"kind": "mixed"}}
    model = VAE(override(RunConfig(), changes).model, ExampleSpec((2,), columns=columns))
    x, observed = torch.tensor([[0.5, 1.0], [2.0, 0.0]]), torch.tensor([[True, True], [False, False]])
    assert numbers(model, x).tolist() == [[0.5, 0.0, 1.0], [2.0, 1.0, 0.0]]
    assert numbers(model, x, observed).tolist() == [[0.5, 0.0, 1.0], [0.0, 0.0, 0.0]]
