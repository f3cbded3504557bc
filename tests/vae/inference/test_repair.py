"""Imputation by weighted draws, some at a time."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from tests.vae.inference.test_inference import gappy
from vae import inference
from vae.inference import repair
from vae.inference.importance import weighted_draws


def test_imputations_do_not_depend_on_how_many_draws_come_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """One draw at a time, each stays in place of the earlier ones with the chance of its weight among them: standardised
    by the exact conditional moments, the imputations have mean 0 and variance 1, where the proposal has variance 2.
    """
    torch.manual_seed(0)
    made, inputs, mean, std = gappy(256)
    monkeypatch.setattr(repair, "weighted_draws", partial(weighted_draws, max_rows=256))
    many = inference.impute_many(made.model, inputs, 20, num_samples=200).values
    hidden = ~inputs.observed[:, None].expand_as(many)  # pyright: ignore[reportOptionalSubscript]
    noise = (many[hidden].view(256, 20, 3) - mean[:, None]) / std[:, None]
    assert noise.mean().abs() < 0.05
    assert noise.var().item() == pytest.approx(1, abs=0.1)
