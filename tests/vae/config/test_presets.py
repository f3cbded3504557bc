"""Presets: each is a configuration that trains, resumes bit-equal, is saved and generates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from vae import inference
from vae.config import RunConfig, override
from vae.config.presets import PRESETS, preset
from vae.data.parquet import Dataset
from vae.errors import ConfigError
from vae.training.latents import fit_latents
from vae.training.loop import Training
from vae.training.state import load_model, save_model

EVERY_PRESET = pytest.mark.parametrize("name", PRESETS)
TABLES = {"miwae", "table_vae"}
# Three steps of 32 examples; what a preset sizes for real data is made small.
SMALL: dict[str, Any] = {
    "training.batch_size": 32,
    "training.epochs": 1,
    "training.patience_epochs": None,
    "training.checkpoint_steps": 2,
}
SMALLER: dict[str, dict[str, Any]] = {
    "annealed_vae": {"objective.controller.steps": 2},
    "factor_vae": {"objective.regularizers": [{"kind": "adversary", "hidden": [16]}]},
    "vamp_vae": {"model.prior.components": 20},
    "vq_vae": {"model.latent_dim": 8, "model.posterior.codes": 8},
}


def small(name: str, **changes: Any) -> RunConfig:
    return override(preset(name), {**SMALL, **SMALLER.get(name, {}), **changes})


class Stopped(Exception):  # noqa: N818  stands for a signal
    """Stands for the end of a process."""


def stop_after(training: Training, steps: int) -> None:
    """Lets a run end as if it were killed."""
    advance = training.optimizer.advance

    def counted(learning_rates: Sequence[float]) -> None:
        if training.steps_done == steps:
            raise Stopped
        advance(learning_rates)

    training.optimizer.advance = counted


@EVERY_PRESET
def test_preset_resumes_bit_equal(name: str, digits: Dataset, people: Dataset, tmp_path: Path) -> None:
    """Killed in its third step and resumed from the second, a run ends with the weights of an unbroken one."""
    config, dataset = small(name), people if name in TABLES else digits
    unbroken = Training(config, dataset).run()
    killed = Training(config, dataset, checkpoints=str(tmp_path))
    stop_after(killed, 2)
    with pytest.raises(Stopped):
        killed.run()
    resumed = Training(config, dataset, checkpoints=str(tmp_path)).run()
    assert resumed.resumed_from_step == 2
    for key, value in unbroken.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[key], value), key


@EVERY_PRESET
def test_preset_is_saved_and_generates(name: str, digits: Dataset, people: Dataset, tmp_path: Path) -> None:
    """A trained preset is saved with its sampler, loaded, and generates the same bits as before."""
    training = Training(small(name), people if name in TABLES else digits)
    model = training.run().model
    fit_latents(training.model, training.config, training.dataset)
    save_model(model, str(tmp_path))
    loaded = load_model(str(tmp_path))
    condition = model.condition(torch.zeros(4, dtype=torch.int64)) if model.conditions else None
    samplers: list[inference.Sampler] = ["prior"] if name == "vq_vae" else ["prior", "aggregate"]
    for sampler in samplers:
        images = inference.generate(model, 4, condition, sampler=sampler)
        assert images.shape == (4, *model.examples.shape)
        assert images.isfinite().all()
        assert torch.equal(inference.generate(loaded, 4, condition, sampler=sampler), images)


def test_unknown_preset_is_refused_with_the_nearest() -> None:
    """A name that is no preset is refused with the one that it is nearest to."""
    with pytest.raises(ConfigError, match=r"^unknown preset 'beta-vae' \(did you mean `beta_vae`\?\): there are vae, "):
        preset("beta-vae")


@EVERY_PRESET
def test_preset_is_short_and_has_a_reference(name: str) -> None:
    """A preset is at most twenty fields, each of them different from the default, and names its source."""
    found = PRESETS[name]
    assert len(found.changes) <= 20
    assert found.summary
    assert any(character.isdigit() for character in found.reference)
    for key in found.changes:
        assert _field(found.config(), key) != _field(RunConfig(), key), f"{key} is the default"


def _field(config: RunConfig, key: str) -> Any:
    value: Any = config.model_dump()
    for part in key.split("."):
        value = value[part]
    return value
