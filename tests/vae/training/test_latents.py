"""What is learned from a trained model's latents and stored with it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import get_args

import pytest
import torch

from tests.workers import Apart
from vae import inference
from vae.config import RunConfig, override, parse
from vae.data.parquet import Dataset
from vae.draws import RowDraws
from vae.inference import memory
from vae.metrics.likelihood import inputs_of
from vae.model import VAE
from vae.parts.directions import Method
from vae.seeds import Stream
from vae.training import latents
from vae.training.assembly import build_model, share_of
from vae.training.latents import EFFECT_ROWS, fit_latents
from vae.training.state import MODEL, load_model, save_model
from vae.training.world import World

CONFIG = parse(
    RunConfig,
    {"model": {"latent_dim": 3, "encoder": {"kind": "mlp", "hidden": [16]}, "likelihood": {"kind": "gaussian"}}},
)


def fitted(dataset: Dataset) -> VAE:
    model = build_model(CONFIG, dataset).eval()
    fit_latents(model, CONFIG, dataset)
    return model


@pytest.mark.parametrize("scale", [1e9, math.inf])
def test_latents_that_nothing_can_be_fitted_to_are_no_error(scale: float, digits: Dataset) -> None:
    """Means of a run that diverged, enormous and along one line, or infinite: the model goes without a mixture."""
    model = build_model(CONFIG, digits).eval()
    with torch.no_grad():
        model.posterior.head.weight[: CONFIG.model.latent_dim] = scale  # every dimension the same
    fit_latents(model, CONFIG, digits)
    assert model.aggregate is None


def test_effects_are_those_of_edits(digits: Dataset) -> None:
    """The stored effect of each direction is the root mean square change of edited digits, for both methods."""
    model = fitted(digits)
    rows = share_of(CONFIG, digits, "train").load(0, EFFECT_ROWS)
    inputs = inputs_of(model, rows, RowDraws(0, Stream.EVALUATION))
    before = inference.reconstruct(model, inputs)
    directions = inference.directions_of(model)
    assert directions.effects is not None
    assert set(directions.effects) == set(get_args(Method))
    for method, effects in directions.effects.items():
        for name, effect in zip(directions.names, effects, strict=True):
            change = inference.edit(model, inputs, name, 1.0, method) - before
            assert effect == pytest.approx(change.square().mean().sqrt().item(), rel=1e-4)


def test_effects_are_saved_and_may_be_missing(digits: Dataset, tmp_path: Path) -> None:
    """A saved model reads back with its effects; one of a version that did not measure them reads back without."""
    model = fitted(digits)
    assert model.directions is not None
    assert model.directions.effects is not None
    save_model(model, str(tmp_path))
    loaded = load_model(str(tmp_path)).directions
    assert loaded is not None
    assert loaded.effects == {method: list(values) for method, values in model.directions.effects.items()}
    facts = json.loads((tmp_path / MODEL).read_text())
    del facts["direction_effects"]
    (tmp_path / MODEL).write_text(json.dumps(facts))
    earlier = load_model(str(tmp_path)).directions
    assert earlier is not None
    assert earlier.effects is None


def test_latents_are_fitted_within_the_budget(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """A budget of few rows bounds what the encoder and the decoder see at once, and gives the same directions."""
    whole = fitted(digits)
    model = build_model(CONFIG, digits).eval()
    row_bytes = (1 << 30) // memory.rows_within(model, 1 << 30)
    monkeypatch.setattr(memory, "BUDGET_BYTES", 50 * row_bytes)
    seen: list[int] = []
    for part in (model.encoder, model.decoder):
        part.register_forward_pre_hook(lambda _, arguments: seen.append(len(arguments[0])))
    fit_latents(model, CONFIG, digits)
    assert 40 <= max(seen) <= 60
    assert model.directions is not None
    assert whole.directions is not None
    torch.testing.assert_close(model.directions.means, whole.directions.means, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("size", [2, 3, 7])
def test_latents_are_the_same_for_any_number_of_ranks(
    size: int, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parts that the ranks encode add up to what one rank encodes, to the bit; rank 0 alone fits."""
    monkeypatch.setattr(latents, "ROWS_AT_ONCE", 40)
    model = build_model(CONFIG, digits).eval()
    alone = latents._encode(model, CONFIG, digits, World())
    parts = [latents._encode(model, CONFIG, digits, Apart(rank, size)) for rank in range(size)]
    for field, whole in alone._asdict().items():
        if whole is not None:
            assert torch.equal(sum(getattr(part, field) for part in parts), whole), field
    fit_latents(model, CONFIG, digits, Apart(1, 2))
    assert model.aggregate is None
    assert model.directions is None


def test_mixture_is_fitted_to_draws_and_not_to_means(digits: Dataset) -> None:
    """Where every posterior is N(μ, ½²), so is their mixture: its spread is that of the draws, the means have none."""
    mean = torch.tensor([1.0, -2.0, 0.5])
    config = override(CONFIG, {"training.aggregate_components": 1})
    model = build_model(config, digits).eval()
    with torch.no_grad():
        model.posterior.head.weight.zero_()
        model.posterior.head.bias.copy_(torch.cat([mean, torch.full((3,), math.log(0.5))]))
    fit_latents(model, config, digits)
    assert model.aggregate is not None
    torch.testing.assert_close(model.aggregate.means[0], mean, atol=0.05, rtol=0)
    torch.testing.assert_close(model.aggregate.factors[0], 0.5 * torch.eye(3), atol=0.05, rtol=0)
