"""How configurations, trials and scores are put into words, the same on the page, in the card and in the table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import assert_never

from tuning.frontier import Trial
from vae.config import (  # fmt: skip
    MLP,
    Adversary,
    AutoregressiveCodes,
    Bernoulli,
    Body,
    Capacity,
    Categorical,
    Ciwae,
    ConditionalPrior,
    Constant,
    ContinuousBernoulli,
    ControlVae,
    Conv,
    Cyclical,
    DiagonalGaussian,
    Dip,
    DiscretizedLogistic,
    Elbo,
    FlowPosterior,
    FlowPrior,
    FreeBits,
    Gaussian,
    GaussianMixture,
    Geco,
    HierarchicalPrior,
    Iwae,
    LadderPosterior,
    Laplace,
    Likelihood,
    Missing,
    Mixed,
    Mmd,
    ModelConfig,
    MultiRate,
    ObjectiveConfig,
    Posterior,
    Prior,
    Regularizer,
    StandardNormal,
    StudentTLikelihood,
    StudentTPosterior,
    TableBody,
    TotalCorrelation,
    TrainingConfig,
    UniformCodes,
    Vamp,
    VectorQuantized,
    Warmup,
)
from vae.data.manifest import ImageSpec, Manifest, TableSpec

BETA, ARCHITECTURE = "objective.beta", "model.encoder"
COLUMN_NAMES: Mapping[str, str] = {BETA: "β", ARCHITECTURE: "architecture"}


# --- the configuration ----------------------------------------------------------------------------------------------


def body(config: Body) -> str:
    """An encoder or decoder, such as `MLP 128-64, relu`."""
    match config:
        case MLP():
            extra = ["gated"] if config.gated else []
            return ", ".join([f"MLP {_sizes(config.hidden)}", config.activation, *extra])
        case Conv():
            blocks = config.residual_blocks
            extra = [f"{blocks} residual block{'s' * (blocks > 1)} per stage"] if blocks else []
            hidden = f"{config.hidden} hidden units"
            return ", ".join([f"conv {_sizes(config.channels)}", hidden, config.activation, *extra])
        case TableBody():
            extra = ["told what is missing"] if config.missing_indicators else []
            return ", ".join([f"table MLP {_sizes(config.hidden)}", config.activation, *extra])
        case _:
            assert_never(config)


def _sizes(sizes: Sequence[int]) -> str:
    return "-".join(map(str, sizes))


def posterior(config: Posterior) -> str:
    """What q(z|x) is."""
    match config:
        case DiagonalGaussian():
            return "diagonal Gaussian"
        case StudentTPosterior():
            return "Student t"
        case FlowPosterior():
            return f"Gaussian through {config.transforms} {config.transform.upper()} transforms"
        case LadderPosterior():
            return "ladder of Gaussians"
        case VectorQuantized():
            return f"nearest of {config.codes} codes of {config.code_dim} numbers"
        case _:
            assert_never(config)


def prior(config: Prior) -> str:
    """What p(z) is."""
    match config:
        case StandardNormal():
            return "standard normal"
        case GaussianMixture():
            return f"mixture of {config.components} Gaussians"
        case Vamp():
            return f"VampPrior of {config.components} pseudo-inputs"
        case FlowPrior():
            return f"flow of {config.transforms} {config.transform.upper()} transforms"
        case ConditionalPrior():
            return "Gaussian that depends on the condition"
        case HierarchicalPrior():
            return f"{config.groups} groups of Gaussians from the top down"
        case UniformCodes():
            return "uniform over the codes"
        case AutoregressiveCodes():
            return "autoregressive over the codes"
        case _:
            assert_never(config)


def likelihood(config: Likelihood) -> str:
    """The density over pixels or columns."""
    match config:
        case Bernoulli():
            drawn = {
                "none": "binary pixels",
                "static": "grey pixels binarised once",
                "dynamic": "grey pixels binarised anew at every presentation",
            }
            return f"Bernoulli, {drawn[config.binarization]}"
        case ContinuousBernoulli():
            return "continuous Bernoulli"
        case Gaussian():
            fixed = f"σ = {config.initial_sigma:g}"
            return (
                f"Gaussian, {({'learned': 'one learned σ', 'per_pixel': 'σ of every pixel'}).get(config.sigma, fixed)}"
            )
        case Laplace():
            return "Laplace"
        case StudentTLikelihood():
            return "Student t"
        case DiscretizedLogistic():
            return f"mixture of {config.components} discretised logistics"
        case Categorical():
            return f"categorical over {config.levels} levels"
        case Mixed():
            numeric = {"gaussian": "Gaussian", "laplace": "Laplace", "student_t": "Student t"}[config.numeric]
            return f"{numeric} numbers and categorical categories"
        case _:
            assert_never(config)


def condition(config: ModelConfig) -> str:
    """What encoder and decoder are told, such as `the class and size`; nothing for a model without a condition."""
    *most, last = ["the class" if name == "class" else name for name in config.condition] or [""]
    return " and ".join([*([", ".join(most)] if most else []), last])


def missing(config: Missing) -> str:
    """What was hidden of the data."""
    how = {"mcar": "completely at random", "mar": "at random, of those that can be", "mnar": "not at random"}[
        config.kind
    ]
    return f"{100 * config.share:g} % of entries hidden {how}"


def learning_rate(config: TrainingConfig) -> str:
    """The optimiser's, and how it changes."""
    rising = f"after {config.warmup_steps:,} steps of warm-up" if config.warmup_steps else ""
    falling = "falling to 0 by a cosine" if config.learning_rate_schedule == "cosine" else ""
    return ", ".join(part for part in (f"{config.learning_rate:g}", rising, falling) if part)


def objective(config: ObjectiveConfig) -> str:
    """What is minimised, such as `distortion + 4 · rate, β rising from 0 over 500 steps`."""
    parts = [" + ".join([_bound(config), *map(_regularizer, config.regularizers)])]
    if controller := _controller(config):
        parts.append(controller)
    if config.corruption is not None:
        parts.append(f"the encoder sees {config.corruption.kind.replace('_', ' ')}")
    return ", ".join(parts)


def _bound(config: ObjectiveConfig) -> str:
    bound, rate = config.bound, _rate(config)
    weighted = "" if rate == "rate" else f" with {rate}"
    match bound:
        case Elbo():
            loss = f"distortion + {rate}" + " (the ELBO)" * (rate == "rate")
            return loss if bound.samples == 1 else f"{loss} over {bound.samples} draws"
        case Iwae():
            return f"the importance-weighted bound of {bound.samples} draws{weighted}"
        case Ciwae():
            return f"{bound.mix:g} · ELBO + {1 - bound.mix:g} · IWAE of {bound.samples} draws{weighted}"
        case _:
            assert_never(bound)


def _rate(config: ObjectiveConfig) -> str:
    match config.controller:
        case Geco() | ControlVae() | MultiRate():
            return "β · rate"
        case Capacity():
            return f"{config.beta:g} · |rate − C|"
        case _:
            return "rate" if config.beta == 1 else f"{config.beta:g} · rate"


def _controller(config: ObjectiveConfig) -> str:
    controller = config.controller
    match controller:
        case Constant():
            return ""
        case Warmup():
            return f"β rising from 0 over {controller.steps:,} steps"
        case Cyclical():
            return f"β rising from 0 in {controller.cycles} cycles of {controller.steps:,} steps"
        case Capacity():
            since = f"from step {controller.start:,} to {controller.steps:,}" if controller.start else ""
            return f"C rising to {controller.capacity:g} nats {since or f'over {controller.steps:,} steps'}"
        case FreeBits():
            return f"{controller.nats:g} nats of each dimension free"
        case Geco():
            return f"β moved until the distortion is {controller.distortion:g} nats"
        case ControlVae():
            return f"β moved to hold the rate at {controller.rate:g} nats"
        case MultiRate():
            return f"each example's β between {controller.low:g} and {controller.high:g}"
        case _:
            assert_never(controller)


def _regularizer(config: Regularizer) -> str:
    match config:
        case TotalCorrelation():
            return f"{config.weight:g} · total correlation"
        case Dip():
            return f"DIP-{config.variant.upper()} {config.off_diagonal:g}, {config.diagonal:g}"
        case Mmd():
            return f"{config.weight:g} · MMD"
        case Adversary():
            return f"{config.weight:g} · total correlation as a discriminator sees it"
        case _:
            assert_never(config)


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
