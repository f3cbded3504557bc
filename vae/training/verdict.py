"""The verdict on a run: sound, or findings, each with its measured figure and the flags that mend it.

`judge` reads the history of a run, the scale of its data, and the measurements of its model, which may still be training.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from vae.config import RunConfig, TrainingConfig
from vae.config.scale import Scale, scale_of
from vae.config.suiting import facts_of, misfits
from vae.data.parquet import Dataset
from vae.data.plausible import absurd_values
from vae.draws import RowDraws
from vae.metrics.gap import generation_gap, rows_to_measure
from vae.metrics.likelihood import inputs_of
from vae.model import VAE
from vae.parts.controllers.cyclical import Cyclical
from vae.seeds import Stream
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
"""Findings that keep a model from an alias, unless the user accepts them."""

EARLY = 0.1
"""Share of the epochs after which a run that still trains is judged for the first time."""
COLLAPSED_NATS = 0.1
"""Rate in nats below which a latent carries no information."""
LIGHT, HEAVY = 0.8, 1.3
"""Multiples of the critical β above which a run collapses. `LIGHT`: for a run with few active dimensions after a tenth
of its epochs; the limit of any other is 1, whatever its rate by then. `HEAVY`: for a run whose β falls to 0 again and
again; a run whose rate is held at such a β holds dimensions that are worth nothing."""
STRANGE, EARLY_STRANGE, EARLY_STRANGE_HOLLOW = 0.06, 0.12, 0.4
"""Generation gaps from which samples of the prior do not look like the data: at the end of a run; while it still
trains; and while it still trains on data with large holes, whose decoder takes longer to learn where the prior lies."""
NORMAL, HOLLOW, VERY_HOLLOW, HELD = 1.05, 1.25, 1.5, 0.9
"""Limits of the hollowness of data. Up to `NORMAL` data is as good as normal. Above `HOLLOW`, posteriors that are too
narrow leave holes, if as many directions as there are latents hold less than the share `HELD` of the variance. Above
`VERY_HOLLOW` these holes are large."""
EXCESS_NATS = 0.9
"""Nats per dimension by which the expected rate of a run that leaves holes exceeds the logarithm of the number of training
examples. At one nat the posteriors together fill 1/e of the prior in each dimension (Hoffman & Johnson 2016)."""
WORTH = 8.0
"""Worth of all directions of the data, as a multiple of the logarithm of the number of training examples, above which a run
leaves holes."""
LEAST_NOISE = 1e-3
"""Lower limit of a learned noise, as a share of its initial value, in the expected rate."""
USED_CODES = 0.5
"""Minimum share of a codebook in use, by perplexity."""
IMPROVING = 0.01
"""Share of the loss that the last tenth of the epochs may still gain."""
BLOWN_UP = 10.0
"""Multiple of a collapsed model's distortion; weights whose bound at β = 1 is above it have diverged."""
FAST = 5.0
"""Multiple of the default learning rate above which the rate, too, may have collapsed the latent."""
MOST_NAMED = 3
"""Maximum number of absurd values that a finding names."""
GAP = 0.1
"""Share of the training bound by which the validation bound may be worse."""


@dataclass(frozen=True)
class Finding:
    """One problem of a run, with its measured figure and its remedy."""

    name: Name
    figure: float
    """Measured figure, in nats unless `says` has another unit."""
    says: str
    """Measurement in one sentence."""
    advice: str
    """Flags to add to the command `betaline train`."""

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
    """Measurements of a run's data and model."""

    scale: Scale
    """Scale of the training data."""
    num_examples: int
    """Number of examples in the training split."""
    generation_gap: float = 0.0
    """Generation gap of the model; see `vae.metrics.gap`. 0 for a model with a codebook or a single example, NaN for
    weights that have diverged."""
    perplexity: float = math.inf
    """Perplexity of the codebook; infinite for a model without one."""


def measure(config: RunConfig, dataset: Dataset, model: VAE) -> Measured:
    """Measures a run's data and its model, which may still be training."""
    scale, num_examples = scale_of(config, dataset), dataset.num_rows("train")
    if model.has_codes:
        return Measured(scale, num_examples, perplexity=model.posterior.perplexity)
    if num_examples < 2:
        return Measured(scale, num_examples)
    device = next(model.parameters()).device
    num_rows = min(num_examples, rows_to_measure(model))
    rows = share_of(config, dataset, "train", device=device).load(0, num_rows)
    was_training = model.training
    gap = generation_gap(model.eval(), inputs_of(model, rows, RowDraws(0, Stream.EVALUATION, device=device)))
    model.train(was_training)
    return Measured(scale, num_examples, gap)


def judge(config: RunConfig, history: Sequence[EpochReport], measured: Measured) -> tuple[Finding, ...]:
    """Returns the findings of a run, the gravest first; none for a sound one.

    Args:
        config: The run.
        history: The epochs of the run so far, at least one.
        measured: The measurements of its data and its model.
    """
    best, is_over = history[history[-1].best_epoch - 1], history[-1].is_last
    findings = [*_blown_up(config, best, measured.scale)] if is_over else []
    if not config.model.posterior.has_codes:
        findings += _collapsed(config, best, measured.scale, is_over)
        findings += _under_regularised(config, best, measured, is_over)
    elif is_over:
        findings += _dead_codes(config, measured.perplexity)
    if is_over:
        findings += _constraint_not_met(config, best)
        findings += _overfitted(config, best)
        findings += _still_improving(config, history)
    return tuple(findings)


def judge_data(config: RunConfig, dataset: Dataset, model: VAE) -> Iterator[Finding]:
    """Yields findings about the data of a run: absurd values, and a likelihood that does not suit the data."""
    absurd = absurd_values(dataset, model.examples)
    if absurd.count:
        named = "; ".join(
            f"column {one.column!r}, row {one.row} of the {one.split} split (row {one.source_row} of the source) holds "
            f"{one.value}"
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
    """Returns flags that relieve the latent of β, of a discrepancy, or of the learning rate, or that warm β up.

    More epochs are part of each advice.
    """
    epochs = f"--set training.epochs={3 * config.training.epochs} --set training.patience_epochs=null"
    lighter = next(filter(None, (one.lightened(0.1) for one in config.objective.regularizers)), None)
    if _is_scheduled(config) and config.objective.beta > scale.critical_beta / 2:
        return f"--set objective.beta={_rounded(_suiting_beta(scale))} {epochs}"
    if lighter is not None:
        settings = ", ".join(f"{name}: {value}" for name, value in lighter.items())
        return f"--set 'objective.regularizers=[{{{settings}}}]' {epochs}"
    if config.training.learning_rate > FAST * TrainingConfig().learning_rate:
        return f"{slower(config.training)} {epochs}"
    if _is_scheduled(config) and not config.objective.controller.steps_to_settle(1000):
        return f"--set 'objective.controller={{kind: warmup, steps: 0.5}}' {epochs}"
    return epochs


def expected_rate(config: RunConfig, scale: Scale) -> float:
    """Returns the rate of a linear-Gaussian model of the data, in nats: Σ ½ log(critical β / β).

    A learned noise shrinks to what the dimensions leave unexplained, which makes each dimension worth more. An active
    dimension leaves β units of noise.
    """
    beta, total = max(config.objective.beta, 1e-12), scale.total_variance
    critical = scale.critical_betas[: config.model.latent_dim]
    noise = 1.0
    if config.model.likelihood.learns_noise:
        active = [one for one in critical if one > beta]
        unexplained = max(total - sum(active), 0.0) / max(total - beta * len(active), 1e-6)
        noise = min(1.0, max(unexplained, LEAST_NOISE))
    return sum(0.5 * math.log(one / (beta * noise)) for one in critical if one > beta * noise)


def _suiting_beta(scale: Scale) -> float:
    """Returns a β at which latents carry information and samples from the prior look like the data.

    A quarter of the critical β leaves the first dimension ½ log 4 nats. For data with large directions, the geometric
    mean of the critical β and 1 is less.
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
    """Returns why the posteriors of a run that still trains will leave holes in N(0, I); None if they will not.

    They will if the data has holes of its own and varies in more dimensions than the latent has, and if nothing but a β
    that is fixed in advance moves them; and if a rate is held that is worth nothing.
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
    log_examples, rate = math.log(measured.num_examples), expected_rate(config, scale)
    if rate - log_examples <= EXCESS_NATS * latent_dim and scale.worth(objective.beta) <= WORTH * log_examples:
        return None
    return (
        f"the rate will come to {rate:.0f} nats at least, and posteriors as narrow as that leave holes, from which samples "
        "do not look like the data."
    )


def has_blown_up(epoch: EpochReport, scale: Scale) -> bool:
    """Returns whether an epoch's weights have diverged, though every number is still finite."""
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
    """Returns whether β comes to `objective.beta` by schedule, rather than by a constraint."""
    return config.objective.controller.is_scheduled


def _rounded(value: float) -> str:
    """Returns a number with two digits, as a flag takes it."""
    return f"{value:.2g}"
