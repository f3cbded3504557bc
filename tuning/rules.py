"""Rules that choose the best trial of a search.

A rule is one entry of `RULES`: its name, which way is better, what it shows, what it requires, and how it is measured.
Search spaces, workers, the choice of a trial, the command line and the documentation all read that entry.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from vae.errors import ConfigError
from vae.metrics.catalogue import METRICS, Better

if TYPE_CHECKING:  # the command line lists the rules, and torch takes seconds to import
    from tuning.frontier import Trial
    from tuning.space import SearchConfig
    from vae.config import MetricFamily, RunConfig
    from vae.data.batches import InOrder
    from vae.data.parquet import Dataset
    from vae.model import VAE
    from vae.training.world import World

SEED = "training.seed"
TARGET = re.compile(r"(rate|distortion) *<= *(\d+(?:\.\d+)?)")
"""A bound on the rate or on the distortion in nats per example; the search then minimises the other of the two."""
NUM_SAMPLES = 100
"""Importance samples per example of the validation split."""
BATCH_ROWS = 128
"""Number of rows that are scored at once; a rank scores whole batches."""

Check = Callable[["SearchConfig", "Dataset"], None]
Measurement = Callable[["VAE", "RunConfig", "Dataset", "World"], float]
Comparison = Callable[[Mapping[int, "RunConfig"], Mapping[int, "VAE"], "Dataset"], dict[int, float]]


def _accepts_all(search: SearchConfig, dataset: Dataset) -> None:
    """Accepts any search on any dataset."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A figure that a search may choose its best trial by, with exactly one way to get it."""

    name: str
    better: Better
    """Whether the trial with the higher or with the lower figure is the better one."""
    summary: str
    """Phrase for the documentation."""
    check: Check = _accepts_all
    """Refuses, by a ConfigError, a search or a dataset whose models have no such figure."""
    reported: Callable[[Trial], float | None] | None = None
    """The figure as the epoch reports have it."""
    measure: Measurement | None = None
    """Measures one trained model on the validation split; it may move the model to the CPU."""
    compare: Comparison | None = None
    """Measures the lanes of a stack against each other, once all of them are trained."""
    across: str | None = None
    """Dotted field that a stack needs several choices of; None for a rule that needs none."""

    def __post_init__(self) -> None:
        assert sum(way is not None for way in (self.reported, self.measure, self.compare)) == 1, self.name

    def figure(self, trial: Trial) -> float | None:
        """Returns a trial's figure; None if it has none."""
        return trial.scores.get(self.name) if self.reported is None else self.reported(trial)


# --- what a rule requires -------------------------------------------------------------------------------------------


def check_rule(search: SearchConfig, dataset: Dataset) -> None:
    """Raises if a search cannot be judged on a dataset by its own rules.

    Raises:
        ConfigError: If the dataset or the models lack what `select` or `stop_by` needs; names an alternative.
    """
    if search.select in RULES:
        RULES[search.select].check(search, dataset)
    if search.stop_by == "hypervolume":
        _check_stacked(search, "stop_by: hypervolume")


def _check_factors(search: SearchConfig, dataset: Dataset) -> None:
    factors = [column for column in dataset.manifest.attributes if column.categories is not None]
    if len(factors) < 2:
        raise ConfigError(
            f"select: mig needs 2 categorical attributes or more, and {dataset.uri} has {len(factors)}; choose by "
            "`active_units` or `udr`, which need no labels, or ingest the data with its factors"
        )


def _check_images(search: SearchConfig, dataset: Dataset, instead: str) -> None:
    from vae.data.transforms import transform_of

    transform = transform_of(dataset.manifest.example)
    if "generation" not in transform.families:
        raise ConfigError(
            f"select: {search.select} needs images, and {dataset.uri} holds {transform.noun}; choose by {instead}"
        )


def _check_frechet(search: SearchConfig, dataset: Dataset) -> None:
    from vae.metrics.generation import MIN_SAMPLES

    _check_images(search, dataset, "nll")
    if (classes := len(dataset.manifest.classes or ())) < 2:
        raise ConfigError(
            f"select: frechet needs a classifier of 2 classes or more for its features, and {dataset.uri} has {classes}; "
            "choose by nll, or ingest the data with labels"
        )
    if (rows := dataset.num_rows("validation")) < MIN_SAMPLES:
        raise ConfigError(
            f"select: frechet needs {MIN_SAMPLES:,} validation images or more, and {dataset.uri} has {rows:,}; choose by "
            "nll, or ingest the data with a larger validation split"
        )


def _check_stacked(search: SearchConfig, setting: str) -> None:
    from tuning.stacks import plan_stacks

    if (reason := plan_stacks(search).reason) is not None:
        raise ConfigError(
            f"{setting} compares the lanes of a stack, and these models cannot be stacked: {reason}; use "
            f"`{setting.split()[0]} bound`"
        )


def _check_udr(search: SearchConfig, dataset: Dataset) -> None:
    from tuning.stacks import variants
    from vae.metrics.likelihood import bound_sums
    from vae.training.assembly import build_model, share_of

    _check_stacked(search, "select: udr")
    row = share_of(search.base, dataset, "train").load(0, 1)
    for config in variants(search):
        if bound_sums(build_model(config, dataset), [row], seed=0).bound().kl_per_dimension is None:
            raise ConfigError(
                "select: udr needs the KL of each latent dimension in closed form, which posterior "
                f"{config.model.posterior.kind} and prior {config.model.prior.kind} do not have; choose by bound, or use "
                "diagonal_gaussian with standard_normal"
            )


# --- how a rule is measured -----------------------------------------------------------------------------------------


def measured(rule: str, model: VAE, config: RunConfig, dataset: Dataset, world: World) -> dict[str, float]:
    """Returns a model's score by name; empty for a rule that is not measured on single models.

    Args:
        rule: Name of the rule.
        model: The trained model, on every rank.
        config: Configuration of the model.
        dataset: Dataset that the model was trained on.
        world: The ranks of the training, and this one among them. Only rank 0 has the score of every rule.
    """
    measure = RULES[rule].measure
    return {} if measure is None else {rule: measure(model, config, dataset, world)}


def _nll(model: VAE, config: RunConfig, dataset: Dataset, world: World) -> float:
    """Returns the mean negative log-likelihood; each rank measures a part of the rows."""
    import torch

    from vae.data.batches import InOrder
    from vae.metrics.likelihood import row_likelihoods

    share = _validation(config, dataset, model).share
    own = share.batches_of(world.rank, world.size, BATCH_ROWS)
    rows = row_likelihoods(model, InOrder(own, BATCH_ROWS), num_samples=NUM_SAMPLES, seed=0, first=own.start)
    nats_N = torch.zeros(share.num_rows, dtype=torch.float64)
    nats_N[own.start : own.stop] = rows.nats
    return world.total(nats_N.to(share.device)).mean().item()


def _frechet(model: VAE, config: RunConfig, dataset: Dataset, world: World) -> float:
    from vae.metrics.suite import frechet

    return math.nan if world.rank else frechet(model.cpu(), dataset, split="validation")


def _of_suite(
    family: MetricFamily, metric: str, model: VAE, config: RunConfig, dataset: Dataset, world: World
) -> float:
    from vae.metrics.suite import measure

    if world.rank:
        return math.nan
    return measure(model.cpu(), dataset, [family], split="validation")[metric]


def _of_family(name: str, family: MetricFamily, metric: str, summary: str, check: Check = _accepts_all) -> Rule:
    """Returns a rule by a metric of `vae.metrics.suite`, which states its direction."""
    measure = partial(_of_suite, family, metric)
    return Rule(name=name, better=METRICS[metric].better, summary=summary, check=check, measure=measure)


def _udr(configs: Mapping[int, RunConfig], models: Mapping[int, VAE], dataset: Dataset) -> dict[int, float]:
    """Returns the UDR of each lane that has lanes beside it which differ in their seed alone."""
    from vae.config import override
    from vae.metrics.disentanglement import udr

    groups: dict[RunConfig, list[int]] = {}
    for lane, config in configs.items():
        groups.setdefault(override(config, {SEED: 0}), []).append(lane)
    scores: dict[int, float] = {}
    for lanes in groups.values():
        if len(lanes) > 1:
            batches = _validation(configs[lanes[0]], dataset, models[lanes[0]])
            codes, kls = zip(*(_codes(models[lane], batches) for lane in lanes), strict=True)
            scores |= zip(lanes, udr(codes, kls).tolist(), strict=True)
    return scores


def _codes(model: VAE, batches: InOrder) -> tuple[Any, tuple[float, ...]]:
    """Returns the posterior means [N,L] as an array, and the KL of each dimension in nats."""
    import torch

    from vae import inference
    from vae.draws import RowDraws
    from vae.metrics.likelihood import bound_sums, inputs_of
    from vae.seeds import Stream

    device, means, first = next(model.parameters()).device, [], 0
    for batch in batches:
        draws = RowDraws(0, Stream.EVALUATION, first=first, device=device)
        means.append(inference.encode(model, inputs_of(model, batch, draws)).mean)
        first += len(batch)
    kl = bound_sums(model, batches, seed=0).bound().kl_per_dimension
    assert kl is not None, "check_rule refuses models without it"
    return torch.cat(means).cpu().numpy(), kl


def _validation(config: RunConfig, dataset: Dataset, model: VAE) -> InOrder:
    """Returns the validation split on the model's device."""
    from vae.data.batches import InOrder
    from vae.training.assembly import share_of

    return InOrder(share_of(config, dataset, "validation", device=next(model.parameters()).device))


# --- the rules ------------------------------------------------------------------------------------------------------


def _elbo(trial: Trial) -> float | None:
    return None if trial.distortion is None or trial.rate is None else trial.distortion + trial.rate


RULES: Mapping[str, Rule] = {
    rule.name: rule
    for rule in (
        Rule(
            name="bound",
            better="lower",
            summary="the validation bound that the trial was trained for, at β = 1",
            reported=lambda trial: trial.negative_bound,
        ),
        Rule(name="elbo", better="lower", summary="the validation ELBO at β = 1", reported=_elbo),
        Rule(
            name="active_units",
            better="higher",
            summary="latent dimensions in use",
            reported=lambda trial: trial.active_units,
        ),
        Rule(name="nll", better="lower", summary="importance-sampled likelihood", measure=_nll),
        _of_family("mig", "disentanglement", "mig", "mutual information gap; needs factors", _check_factors),
        Rule(
            name="udr",
            better="higher",
            summary="how well the seeds of a setting agree on the dimensions (Duan et al. 2020); needs no labels",
            check=_check_udr,
            compare=_udr,
            across=SEED,
        ),
        Rule(
            name="frechet",
            better=METRICS["frechet_distance"].better,
            summary="how like the real images the model's own are",
            check=_check_frechet,
            measure=_frechet,
        ),
        _of_family(
            "denoise_psnr",
            "denoising",
            "denoise_psnr_db",
            "PSNR of denoised images",
            partial(_check_images, instead="impute_rmse"),
        ),
        _of_family("impute_rmse", "imputation", "impute_rmse", "error of imputed numbers"),
    )
}
DESCRIPTION = (
    "Rule that chooses the best trial: "
    + "; ".join(f"`{rule.name}` ({rule.summary}; {rule.better} is better)" for rule in RULES.values())
    + ". Or a target in nats: `rate <= 20` for the best reconstruction at no more than that rate, `distortion <= 80` for "
    "the lowest rate. Settings are compared by their means over seeds."
)
"""Documentation of `SearchConfig.select`."""
