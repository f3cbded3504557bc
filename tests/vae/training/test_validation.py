"""The measurements at the end of an epoch: the bound on clean examples, and the loss as it is trained."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from vae.config import RunConfig, override
from vae.data.batches import Batch
from vae.data.parquet import Dataset
from vae.seeds import Stream, derive
from vae.training.assembly import build_model, share_of
from vae.training.step import Step
from vae.training.validation import Validated, draw_validation, validated, validation_vector

BETA, CAPACITY, SEED = torch.tensor(3.0), torch.tensor(1.5), 7
CODES = {"kind": "vector_quantized", "codes": 8, "code_dim": 2}


def step_of(dataset: Dataset, **changes: Any) -> tuple[Step, list[Batch]]:
    """A step of an untrained model, and two batches of 30 and of 10 validation examples."""
    base = {
        "model.latent_dim": 4,
        "model.encoder": {"kind": "mlp", "hidden": [16]},
        "model.likelihood": {"kind": "gaussian"},
    }
    config = override(RunConfig(), {**base, **changes})
    rows = share_of(config, dataset, "validation").load(0, 40)
    return Step(build_model(config, dataset), config.objective, 1400), [rows.take(slice(30)), rows.take(slice(30, 40))]


def validate(step: Step, batches: list[Batch]) -> Validated:
    return validated(validation_vector(step, batches, SEED, 0, BETA, CAPACITY))


@torch.no_grad()
def by_hand(step: Step, batches: list[Batch]) -> tuple[float, float]:
    """Means over the examples of a training step's loss, and of the distortion of the clean examples."""
    losses: list[Tensor] = []
    distortions: list[Tensor] = []
    generator = torch.Generator()
    for number, batch in enumerate(batches):
        generator.manual_seed(derive(SEED, Stream.VALIDATION, 0, number))
        clean, draws = draw_validation(step.model, step.objective, batch, generator)
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


def test_every_batch_has_noise_of_its_own(digits: Dataset) -> None:
    """The same examples in two batches are seen through two draws; the same batches through the same."""
    step, (batch, _) = step_of(digits)
    once, twice = validate(step, [batch]).bound, validate(step, [batch, batch]).bound
    assert once.distortion != twice.distortion
    assert once == validate(step, [batch]).bound
