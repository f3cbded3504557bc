"""The verdict on a run: sound, or findings, each with its measured figure and the flags that mend it.

`judge` looks at the history of a run, at the scale of its data, and at what `measure` finds of its model, which may still
be training.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from vae.config import RunConfig, TrainingConfig
from vae.config.suiting import facts_of, misfits
from vae.data.parquet import Dataset
from vae.data.plausible import absurd_values
from vae.data.scale import Scale, scale_of
from vae.metrics.gap import generation_gap, rows_within_budget
from vae.metrics.likelihood import inputs_of
from vae.model import VAE
from vae.parts.controllers.cyclical import Cyclical
from vae.parts.regularizers.mmd import Mmd
from vae.training.assembly import share_of
from vae.training.guard import slower
from vae.training.hooks import EpochReport

Name = Literal[
    "collapsed",
    "under_regularised",
    "constraint_not_met",
    "dead_codes",
    "still_improving",
    "overfitted",
    "diverged",
    "absurd_values",
    "unsuited",
]
BLOCKING: tuple[Name, ...] = ("collapsed", "diverged")
"""Findings with which a model takes no alias, unless that is asked for."""

EARLY = 0.1
"""Share of the epochs after which a run that still trains is judged for the first time."""
COLLAPSED_NATS = 0.1
"""Rate below which a latent tells nothing."""
LIGHT, HEAVY = 0.8, 1.3
"""Multiples of the critical β: above the first a run collapses that has few active dimensions after a tenth of its epochs,
above 1 any other, however much its latents tell by then; above the second also one whose β falls to 0 again and again, and
one whose rate is held all the same holds what is worth nothing."""
STRANGE, EARLY_STRANGE, EARLY_STRANGE_HOLLOW = 0.06, 0.12, 0.4
"""Generation gap from which on samples of the prior are not of the data: at the end; while a run still trains; and while
one still trains on data with large holes, whose decoder takes longer to learn where the prior lies."""
NORMAL, HOLLOW, VERY_HOLLOW, HELD = 1.05, 1.25, 1.5, 0.9
"""Hollowness up to which data is as good as normal; above which, with less than that share of the variance in as many
directions as there are latents, posteriors that are too narrow leave holes; and above which these are large."""
EXCESS_NATS = 0.9
"""Nats for each dimension by which the expected rate then exceeds the logarithm of the number of training examples. At one
nat the posteriors together fill 1/e of what the prior covers in each dimension (Hoffman & Johnson 2016)."""
WORTH = 8.0
"""Multiple of that logarithm that all directions of the data are then worth, with as many latents: few fold around them."""
LEAST_NOISE = 1e-3
"""Share of its first noise down to which a likelihood that learns it is followed."""
USED_CODES = 0.5
"""Share of a codebook that is in use at least, by perplexity."""
IMPROVING = 0.01
"""Part of the loss by which the last tenth of the epochs may still lower it."""
BLOWN_UP = 10.0
"""Multiple of a collapsed model's distortion above which a bound at β = 1 is that of weights that have run away."""
FAST = 5.0
"""Multiple of the default learning rate above which it, too, may be why a latent tells nothing."""
MOST_NAMED = 3
"""Absurd values that a finding names; the dataset may have more."""
GAP = 0.1
"""Part of the training bound by which the validation bound may be worse."""


@dataclass(frozen=True)
class Finding:
    """Something about a run that its user should know."""

    name: Name
    figure: float
    """The measured figure; nats unless `says` has another unit."""
    says: str
    """What was measured, in one sentence."""
    advice: str
    """Flags of `betaline train` that mend it, to be pasted behind the command."""

    def __str__(self) -> str:
        return f"{self.name.replace('_', '-')}: {self.says} Try: {self.advice}"


def early_epoch(config: RunConfig) -> int:
    """Returns the epoch after which a run that still trains is judged for the first time, counted from 1."""
    return math.ceil(EARLY * config.training.epochs)


def words(findings: Sequence[Finding]) -> str:
    """Returns the verdict in words: `sound`, or the names of the findings."""
    return ", ".join(dict.fromkeys(finding.name.replace("_", "-") for finding in findings)) or "sound"


@dataclass(frozen=True)
class Measured:
    """What is known of a run beside its history."""

    scale: Scale
    """The scale of its training data."""
    num_examples: int
    """The number of examples in the training split."""
    generation_gap: float = 0.0
    """The gap of the model as it is: see `vae.metrics.gap`. 0 for a model with a codebook or a single example, NaN for
    weights that have run away."""
    perplexity: float = math.inf
    """The perplexity of the codebook, where the model has one."""


def measure(config: RunConfig, dataset: Dataset, model: VAE) -> Measured:
    """Measures a run's data, and its model: that which ships, or that of now while it trains."""
    scale, num_examples = scale_of(config, dataset), dataset.num_rows("train")
    if model.has_codes:
        return Measured(scale, num_examples, perplexity=model.posterior.perplexity)
    if num_examples < 2:
        return Measured(scale, num_examples)
    device = next(model.parameters()).device
    num_rows = min(num_examples, rows_within_budget(model.examples.num_values))
    rows = share_of(config, dataset, "train", device=device).load(0, num_rows)
    was_training = model.training
    gap = generation_gap(model.eval(), inputs_of(model, rows, torch.Generator(device).manual_seed(0)))
    model.train(was_training)
    return Measured(scale, num_examples, gap)


def judge(config: RunConfig, history: Sequence[EpochReport], measured: Measured) -> tuple[Finding, ...]:
    """Returns the findings of a run, the gravest first; none for a sound one.

    Args:
        config: The run.
        history: Its epochs so far, at least one.
        measured: Its data and its model.
    """
    best, is_over = history[history[-1].best_epoch - 1], history[-1].is_last
    found = [*_blown_up(config, best, measured.scale)] if is_over else []
    if not config.model.posterior.has_codes:
        found += _collapsed(config, best, measured.scale, is_over)
        found += _under_regularised(config, best, measured, is_over)
    elif is_over:
        found += _dead_codes(config, measured.perplexity)
    if is_over:
        found += _constraint_not_met(config, best)
        found += _overfitted(config, best)
        found += _still_improving(config, history)
    return tuple(found)


def judge_data(config: RunConfig, dataset: Dataset, model: VAE) -> Iterator[Finding]:
    """Yields the findings about the data of a run: values that were left out, and a likelihood that does not suit it."""
    absurd = absurd_values(dataset, model.examples)
    if absurd.count:
        named = "; ".join(
            f"column {one.column!r}, row {one.row} of the {one.split} split (row {one.source_row} of the source) holds "
            f"{one.value:g}"
            for one in absurd.named[:MOST_NAMED]
        )
        more = f"; and {absurd.count - MOST_NAMED} more" if absurd.count > MOST_NAMED else ""
        says = f"{absurd.count} absurd values count as missing: {named}{more}."
        advice = "nothing if they are errors; else mend them in the source and ingest it again"
        yield Finding("absurd_values", absurd.count, says, advice)
    if (misfit := misfits(config, facts := facts_of(dataset))) is not None:
        yield Finding("unsuited", facts.shades or 0.0, *misfit)


def _collapsed(config: RunConfig, best: EpochReport, scale: Scale, is_over: bool) -> Iterator[Finding]:
    beta, critical = config.objective.beta, scale.critical_beta
    has_few_active = best.active_units <= config.model.latent_dim / 4
    is_silent = best.validation_rate < COLLAPSED_NATS
    if is_over:
        is_collapsed = not best.active_units or (is_silent and has_few_active)
    else:
        bar = LIGHT if has_few_active else 1.0
        bar = HEAVY if isinstance(config.objective.controller, Cyclical) else bar
        is_collapsed = _is_scheduled(config) and beta > bar * critical
    if not is_collapsed:
        return
    says = f"every latent dimension has collapsed onto the prior: the rate is {best.validation_rate:.2f} nats."
    if not (is_silent or is_over):
        says = (
            f"every latent dimension will collapse onto the prior; the rate is {best.validation_rate:.2f} nats so far."
        )
    if _is_scheduled(config) and beta > critical / 2:
        says += f" On this data β = {beta:g} is too heavy: above {critical:.2g} no dimension is worth its rate."
    yield Finding("collapsed", best.validation_rate, says, _advice_on_collapse(config, scale))


def _advice_on_collapse(config: RunConfig, scale: Scale) -> str:
    """Returns flags that lighten what presses the latent most: β, a discrepancy, the learning rate, or else the start; and
    more epochs.
    """
    epochs = f"--set training.epochs={3 * config.training.epochs} --set training.patience_epochs=null"
    discrepancy = next((one for one in config.objective.regularizers if isinstance(one, Mmd)), None)
    if _is_scheduled(config) and config.objective.beta > scale.critical_beta / 2:
        return f"--set objective.beta={_rounded(_suiting_beta(scale))} {epochs}"
    if discrepancy is not None:
        lighter = f"{{kind: mmd, weight: {_rounded(discrepancy.weight / 10)}, kernel: {discrepancy.kernel}}}"
        return f"--set 'objective.regularizers=[{lighter}]' {epochs}"
    if config.training.learning_rate > FAST * TrainingConfig().learning_rate:
        return f"{slower(config.training)} {epochs}"
    if _is_scheduled(config) and not config.objective.controller.steps_to_settle(1000):
        return f"--set 'objective.controller={{kind: warmup, steps: 0.5}}' {epochs}"
    return epochs


def expected_rate(config: RunConfig, scale: Scale) -> float:
    """Returns the rate that a linear-Gaussian model of the data comes to, in nats: Σ ½ log(critical β / β).

    A noise that is learned shrinks to what the dimensions leave unexplained, and each of them is then worth more. An active
    one leaves β units of noise.
    """
    beta, total = max(config.objective.beta, 1e-12), scale.total_variance
    critical = scale.critical_betas[: config.model.latent_dim]
    noise = 1.0
    if _learns_noise(config):
        active = [one for one in critical if one > beta]
        unexplained = max(total - sum(active), 0.0) / max(total - beta * len(active), 1e-6)
        noise = min(1.0, max(unexplained, LEAST_NOISE))
    return sum(0.5 * math.log(one / (beta * noise)) for one in critical if one > beta * noise)


def _learns_noise(config: RunConfig) -> bool:
    """Whether the likelihood's noise shrinks as the latent explains more: not that of a fixed σ, nor of probabilities."""
    return config.model.likelihood.learns_noise


def _suiting_beta(scale: Scale) -> float:
    """Returns a β at which latents tell something and samples from the prior are of the data.

    A quarter of the critical β leaves the first dimension ½ log 4 nats. Where the data has large directions, the geometric
    mean of that β and 1 is less.
    """
    return min(scale.critical_beta / 4, max(scale.critical_beta, 1.0) ** 0.5)


def _under_regularised(config: RunConfig, best: EpochReport, measured: Measured, is_over: bool) -> Iterator[Finding]:
    gap = measured.generation_gap
    foreseen = None if is_over else _foreseen_holes(config, measured)
    early = EARLY_STRANGE_HOLLOW if measured.scale.hollowness > VERY_HOLLOW else EARLY_STRANGE
    is_strange = gap >= (STRANGE if is_over else early)
    if not is_strange and foreseen is None:
        return
    says = foreseen or (
        f"samples from the prior lie {gap:.2f} farther from the data than reconstructions do, in units of the data's mean "
        f"distance; the aggregate posterior is {best.aggregate_std:.1f} σ wide."
    )
    scale, beta = measured.scale, config.objective.beta
    suiting = max(_suiting_beta(scale), min(2 * beta, scale.critical_beta / 2))
    advice = f"--set objective.beta={_rounded(suiting)}"
    if not _is_scheduled(config):
        gates = " --set model.beta_gates=false" if config.model.beta_gates else ""
        advice += f" --set 'objective.controller={{kind: constant}}'{gates}"
    yield Finding("under_regularised", gap, says, advice)


def _foreseen_holes(config: RunConfig, measured: Measured) -> str | None:
    """Returns why the posteriors of a run that still trains will leave holes in N(0, I), in one sentence; None if not.

    They will be too narrow to fill it where the data has holes of its own and varies in more dimensions than the latent
    has, and nothing but a β that is known moves them; and where a rate is held that is worth nothing.
    """
    objective, scale, latent_dim = config.objective, measured.scale, config.model.latent_dim
    if objective.bound.kind != "elbo" or config.model.prior.kind != "standard_normal":
        return None
    if objective.controller.moves_beta:
        return None
    if any(one.compares_with_prior for one in objective.regularizers):
        return None
    held = objective.controller.held_rate
    if held is not None and objective.beta > HEAVY * scale.critical_beta:
        if scale.hollowness < NORMAL:
            return None
        return (
            f"a rate of {held:g} nats is held, of which none is worth its price at "
            f"β = {objective.beta:g}, so that latents tell what is not of the data, and samples show it."
        )
    if scale.hollowness < HOLLOW or scale.held_by(latent_dim) > HELD:
        return None
    known, rate = math.log(measured.num_examples), expected_rate(config, scale)
    if rate - known <= EXCESS_NATS * latent_dim and scale.worth(objective.beta) <= WORTH * known:
        return None
    return (
        f"the rate will come to {rate:.0f} nats at least, and posteriors as narrow as that leave holes, from which samples "
        "do not look like the data."
    )


def has_blown_up(epoch: EpochReport, scale: Scale) -> bool:
    """Whether an epoch's weights have run away, though every number is still finite."""
    return epoch.validation_negative_elbo > BLOWN_UP * max(abs(scale.marginal_nats), 10.0)


def _blown_up(config: RunConfig, best: EpochReport, scale: Scale) -> Iterator[Finding]:
    if not has_blown_up(best, scale):
        return
    says = (
        f"the bound at β = 1 of the best epoch is {best.validation_negative_elbo:.4g} nats, where a model that ignores its "
        f"latent has {scale.marginal_nats:.1f}."
    )
    yield Finding("diverged", best.validation_negative_elbo, says, slower(config.training))


def _dead_codes(config: RunConfig, used: float) -> Iterator[Finding]:
    posterior = config.model.posterior
    fewer = posterior.fewer_codes(used)
    if fewer is None or posterior.num_codes is None or used >= USED_CODES * posterior.num_codes:
        return
    says = f"the codebook's perplexity is {used:.1f} of {posterior.num_codes} codes."
    advice = f"{fewer} --set training.epochs={2 * config.training.epochs}"
    yield Finding("dead_codes", used, says, advice)


def _constraint_not_met(config: RunConfig, best: EpochReport) -> Iterator[Finding]:
    if not best.constraint_gap:
        return
    says = (
        f"no epoch held the constraint: the nearest, epoch {best.epoch}, misses it by {best.constraint_gap:.2f} nats (rate "
        f"{best.validation_rate:.2f}, distortion {best.validation_distortion:.2f})."
    )
    yield Finding(
        "constraint_not_met", best.constraint_gap, says, f"--set training.epochs={2 * config.training.epochs}"
    )


def _overfitted(config: RunConfig, best: EpochReport) -> Iterator[Finding]:
    train = best.train_distortion + best.train_rate
    gap = best.validation_negative_elbo - train
    if gap <= GAP * max(abs(train), 1.0):
        return
    says = (
        f"the validation bound at β = 1 is {gap:.2f} nats worse than that of training ({best.validation_negative_elbo:.2f} "
        f"against {train:.2f})."
    )
    yield Finding("overfitted", gap, says, "--set training.weight_decay=0.1 --set training.ema_decay=0.99")


def _still_improving(config: RunConfig, history: Sequence[EpochReport]) -> Iterator[Finding]:
    last = history[-1]
    before = history[-1 - max(1, len(history) // 10)] if len(history) > 1 else None
    if before is None or config.objective.controller.holds_constraint or last.epoch < config.training.epochs:
        return
    gain = before.best_objective - last.best_objective
    if last.best_epoch <= before.epoch or gain <= IMPROVING * max(abs(last.best_objective), 1.0):
        return
    says = f"the last {last.epoch - before.epoch} epochs still lowered the validation loss by {gain:.2f} nats."
    yield Finding("still_improving", gain, says, f"--set training.epochs={2 * config.training.epochs}")


def _is_scheduled(config: RunConfig) -> bool:
    """Whether β comes to `objective.beta` by schedule, rather than by a constraint."""
    return config.objective.controller.is_scheduled


def _rounded(value: float) -> str:
    """Returns a number with two digits, as a flag takes it."""
    return f"{value:.2g}"
