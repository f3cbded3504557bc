"""How configurations, trials and scores are put into words, the same on the page, in the card and in the table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import assert_never

from tuning.frontier import Trial
from vae.config import MLP, Bernoulli, Body, Constant, Conv, Gaussian, Likelihood, ObjectiveConfig, Warmup
from vae.data.manifest import ImageSpec, Manifest, TableSpec

BETA, ARCHITECTURE = "objective.beta", "model.encoder"
COLUMN_NAMES: Mapping[str, str] = {BETA: "β", ARCHITECTURE: "architecture"}
UNIT = "nats per example"


# --- figures --------------------------------------------------------------------------------------------------------


def nats(value: float | None) -> str:
    """Two decimals and a true minus sign; a dash for what is not known."""
    return "–" if value is None else f"{value:.2f}".replace("-", "−")


def seconds(value: float) -> str:
    """`0.42 s`, `12.3 s`, `4 min 05 s`, `2 h 03 min`."""
    if value < 60:
        return f"{value:.2f} s" if value < 1 else f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def size(num_bytes: int) -> str:
    """Bytes in a unit that suits them."""
    amount = float(num_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def shorten(text: str, most: int) -> str:
    """The text, cut to so many characters."""
    return text if len(text) <= most else text[: most - 1] + "…"


# --- the configuration ----------------------------------------------------------------------------------------------


def body(config: Body) -> str:
    """An encoder or decoder, such as `MLP 128-64, relu`."""
    match config:
        case MLP():
            sizes, extra = config.hidden, ["gated"] if config.gated else []
            return ", ".join([f"MLP {'-'.join(map(str, sizes))}", config.activation, *extra])
        case Conv():
            blocks = config.residual_blocks
            extra = [f"{blocks} residual block{'s' * (blocks > 1)} per stage"] if blocks else []
            widths = "-".join(map(str, config.channels))
            return ", ".join([f"conv {widths}", f"{config.hidden} hidden units", config.activation, *extra])
        case _:
            assert_never(config)


def likelihood(config: Likelihood) -> str:
    """The density over pixels."""
    match config:
        case Bernoulli():
            drawn = {
                "none": "binary pixels",
                "static": "grey pixels binarised once",
                "dynamic": "grey pixels binarised anew at every presentation",
            }
            return f"Bernoulli, {drawn[config.binarization]}"
        case Gaussian(sigma="learned"):
            return "Gaussian, one learned σ"
        case Gaussian():
            return f"Gaussian, σ = {config.initial_sigma:g}"
        case _:
            assert_never(config)


def objective(config: ObjectiveConfig) -> str:
    """What is minimised."""
    loss = f"distortion + {config.beta:g} · rate" if config.beta != 1 else "distortion + rate (the ELBO)"
    match config.controller:
        case Constant():
            return loss
        case Warmup(steps=steps):
            return f"{loss}, β rising from 0 over {steps:,} steps"
        case _:
            assert_never(config.controller)


def shape(manifest: Manifest) -> str:
    """What one example is."""
    match manifest.example:
        case ImageSpec(channels=channels, height=height, width=width):
            colour = {1: "grey", 3: "RGB"}.get(channels, f"{channels}-channel")
            return f"{colour} images of {height} × {width} pixels"
        case TableSpec(columns=columns):
            return f"rows of a table with {len(columns)} columns"
        case _:
            assert_never(manifest.example)


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


def value(parameter: object) -> str:
    """A parameter's value: numbers to four figures."""
    return f"{parameter:.4g}" if isinstance(parameter, float) else str(parameter)
