"""The measurements at the end of an epoch: the bound on clean examples, and the loss as it is trained."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from vae.config import RunConfig, override
from vae.data.batches import InOrder
from vae.data.parquet import Dataset
from vae.draws import RowDraws
from vae.seeds import Stream
from vae.training.assembly import build_model, share_of
from vae.training.step import Step
from vae.training.validation import Validated, draw_validation, validated, validation_vector

BETA, CAPACITY, SEED = torch.tensor(3.0), torch.tensor(1.5), 7
CODES = {"kind": "vector_quantized", "codes": 8, "code_dim": 2}


def step_of(dataset: Dataset, **changes: Any) -> tuple[Step, InOrder]:
    """A step of an untrained model, and two batches of 30 and of 10 validation examples."""
    base = {
        "model.latent_dim": 4,
        "model.encoder": {"kind": "mlp", "hidden": [16]},
        "model.likelihood": {"kind": "gaussian"},
    }
    config = override(RunConfig(), {**base, **changes})
    rows = replace(share_of(config, dataset, "validation"), stop=40)
    return Step(build_model(config, dataset), config.objective, 1400), InOrder(rows, 30)


def validate(step: Step, batches: InOrder) -> Validated:
    return validated(validation_vector(step, batches, SEED, BETA, CAPACITY))


@torch.no_grad()
def by_hand(step: Step, batches: InOrder) -> tuple[float, float]:
    """Means over the examples of a training step's loss, and of the distortion of the clean examples."""
    losses: list[Tensor] = []
    distortions: list[Tensor] = []
    for number, batch in enumerate(batches):
        source = RowDraws(SEED, Stream.VALIDATION, first=30 * number)
        clean, draws = draw_validation(step.model, step.objective, batch, source)
        losses += [step(draws, BETA, CAPACITY).loss] * len(batch)
        distortions.append(step.model(clean, draws.noise).distortion.mean(0))
    return torch.stack(losses).mean().item(), torch.cat(distortions).mean().item()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"objective.corruption": {"kind": "gaussian_noise", "sigma": 0.5}},
        {"objective.bound": {"kind": "iwae", "samples": 3}},
        {"objective.regularizers": [{"kind": "mmd", "weight": 50.0}]},
        {"objective.controller": {"kind": "capacity", "capacity": 5.0}},
        {"objective.controller": {"kind": "multi_rate"}, "model.beta_gates": True},
    ],
)
def test_objective_is_the_loss_as_it_is_trained(digits: Dataset, changes: dict[str, Any]) -> None:
    """It is the mean of a training step's loss over all examples, whatever the batches; the distortion is of clean ones."""
    step, batches = step_of(digits, **changes)
    found, (loss, distortion) = validate(step, batches), by_hand(step, batches)
    assert found.objective == pytest.approx(loss, rel=1e-5)
    assert found.bound.distortion == pytest.approx(distortion, rel=1e-5)
    assert found.bound.num_examples == 40


def test_objective_of_codes_leaves_out_their_rate(digits: Dataset) -> None:
    """The prior of codes moves neither encoder nor decoder: what is left is distortion and commitment."""
    prior = {"kind": "autoregressive_codes", "hidden": 8}
    step, batches = step_of(digits, **{"model.posterior": CODES, "model.prior": prior})
    found, (loss, distortion) = validate(step, batches), by_hand(step, batches)
    assert found.objective == pytest.approx(loss - BETA.item() * found.bound.rate, rel=1e-5)
    assert found.objective > distortion


@torch.no_grad()
def test_every_row_has_noise_of_its_own(digits: Dataset) -> None:
    """An example is seen through a draw of its own, in whatever batch it is; each validation sees the same."""
    step, batches = step_of(digits)
    draws = [RowDraws(SEED, Stream.VALIDATION, first=first) for first in (0, 0, 20)]
    rows = next(iter(batches))
    whole, again, last = (
        draw_validation(step.model, step.objective, part, source)[1].noise
        for part, source in zip((rows, rows, rows.take(slice(20, 30))), draws, strict=True)
    )
    assert torch.equal(whole, again)
    assert torch.equal(whole[:, 20:], last)
    assert len(whole.unique()) == whole.numel()


def test_validation_does_not_depend_on_the_ranks(digits: Dataset) -> None:
    """Ranks take whole batches: their sums come to those of one rank."""
    step, _ = step_of(digits, **{"objective.regularizers": [{"kind": "mmd", "weight": 50.0}]})
    share = share_of(RunConfig(), digits, "validation")
    parts = [InOrder(share.batches_of(rank, 3, 30), 30) for rank in range(3)]
    total = sum(validation_vector(step, part, SEED, BETA, CAPACITY) for part in parts)
    assert isinstance(total, Tensor)
    torch.testing.assert_close(total, validation_vector(step, InOrder(share, 30), SEED, BETA, CAPACITY))
