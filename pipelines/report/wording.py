"""How configurations, trials and scores are put into words, the same on the page, in the card and in the table."""

from __future__ import annotations

from collections.abc import Mapping

from tuning.frontier import Trial
from tuning.table import ARCHITECTURE, BETA
from vae.config import ModelConfig, TrainingConfig
from vae.data.manifest import Manifest

COLUMN_NAMES: Mapping[str, str] = {BETA: "β", ARCHITECTURE: "architecture"}


# --- the configuration ----------------------------------------------------------------------------------------------


def condition(config: ModelConfig) -> str:
    """What encoder and decoder are told, such as `the class and size`; nothing for a model without a condition."""
    *most, last = ["the class" if name == "class" else name for name in config.condition] or [""]
    return " and ".join([*([", ".join(most)] if most else []), last])


def learning_rate(config: TrainingConfig) -> str:
    """The optimiser's, and how it changes."""
    rising = f"after {config.warmup_steps:,} steps of warm-up" if config.warmup_steps else ""
    falling = "falling to 0 by a cosine" if config.learning_rate_schedule == "cosine" else ""
    return ", ".join(part for part in (f"{config.learning_rate:g}", rising, falling) if part)


def shape(manifest: Manifest) -> str:
    """What one example is."""
    if manifest.example.columns is not None:
        return f"rows of a table with {len(manifest.example.columns)} columns"
    channels, height, width = manifest.example.shape
    colour = {1: "grey", 3: "RGB"}.get(channels, f"{channels}-channel")
    return f"{colour} images of {height} × {width} pixels"


# --- trials ---------------------------------------------------------------------------------------------------------


def beta_of(trial: Trial) -> float | None:
    """The trial's β, where the search varied it."""
    value = trial.parameters.get(BETA)
    return float(value) if isinstance(value, int | float) else None


def architecture_of(trial: Trial) -> str:
    """The trial's architecture, where the search varied it."""
    return str(trial.parameters.get(ARCHITECTURE, ""))


def column_name(parameter: str) -> str:
    """A parameter as the heading of a column."""
    return COLUMN_NAMES.get(parameter, parameter.rpartition(".")[2])
