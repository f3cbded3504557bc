"""How configurations, trials and scores are put into words, the same on the page, in the card and in the table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from tuning.frontier import Trial
from vae.config import ModelConfig, TrainingConfig
from vae.data.manifest import Manifest

BETA, ARCHITECTURE = "objective.beta", "model.encoder"
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


def is_scored(trial: Trial) -> bool:
    """Whether the trial came to a rate and a distortion."""
    return trial.rate is not None and trial.distortion is not None and math.isfinite(trial.rate + trial.distortion)


def beta_of(trial: Trial) -> float | None:
    """The trial's β, where the search varied it."""
    value = trial.parameters.get(BETA)
    return float(value) if isinstance(value, int | float) else None


def architecture_of(trial: Trial) -> str:
    """The trial's architecture, where the search varied it."""
    return str(trial.parameters.get(ARCHITECTURE, ""))


def parameter_names(trials: Sequence[Trial]) -> list[str]:
    """What the search varied: β and the architecture first."""
    names = {name for trial in trials for name in trial.parameters}
    return [name for name in (ARCHITECTURE, BETA) if name in names] + sorted(names - {ARCHITECTURE, BETA})


def column_name(parameter: str) -> str:
    """A parameter as the heading of a column."""
    return COLUMN_NAMES.get(parameter, parameter.rpartition(".")[2])


def in_order(trials: Sequence[Trial]) -> list[Trial]:
    """Trials by architecture, then β, then the rest."""
    names = parameter_names(trials)

    def key(trial: Trial) -> list[tuple[int, float, str]]:
        values = [trial.parameters.get(name) for name in names]
        return [(0, float(v), "") if isinstance(v, int | float) else (1, 0.0, str(v)) for v in values]

    return sorted(trials, key=key)
