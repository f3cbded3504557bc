"""What a search may choose by, beside what every epoch reports: measured once, of each trial's best model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray

from tuning.frontier import SEED
from tuning.space import SearchConfig
from tuning.stacks import split, variants
from vae import inference
from vae.config import MetricFamily, RunConfig, override
from vae.data.batches import InOrder
from vae.data.parquet import Dataset
from vae.errors import ConfigError
from vae.metrics.disentanglement import udr
from vae.metrics.generation import MIN_SAMPLES
from vae.metrics.likelihood import bound_sums, inputs_of, negative_log_likelihood
from vae.metrics.suite import frechet, measure
from vae.model import VAE
from vae.seeds import Stream, derive
from vae.training.assembly import build_model, share_of

NUM_SAMPLES = 100
"""Importance samples for each example of the validation split."""
NUM_REFERENCE_BATCHES = 4
"""Of 1,024 examples, for `reference_nats`."""
MEASURED: dict[str, tuple[MetricFamily, str]] = {
    "mig": ("disentanglement", "mig"),
    "denoise_psnr": ("denoising", "denoise_psnr_db"),
    "impute_rmse": ("imputation", "impute_rmse"),
}
"""Of each rule the family, and the metric's name in it."""


def check_rule(search: SearchConfig, dataset: Dataset) -> None:
    """Refuses a rule that this dataset's models have no figure for, or this space's.

    Raises:
        ConfigError: Says what the dataset or the models lack, and what to choose by instead.
    """
    manifest, rule = dataset.manifest, search.select
    factors = [column.name for column in manifest.attributes if column.categories is not None]
    if rule == "mig" and len(factors) < 2:
        raise ConfigError(
            f"select: mig is measured against 2 categorical attributes or more, and {dataset.uri} has {len(factors)}; "
            "choose by `active_units` or `udr`, which need no labels, or ingest the data with its factors"
        )
    if rule == "denoise_psnr" and manifest.example.columns is not None:
        raise ConfigError(f"select: denoise_psnr is of images, and {dataset.uri} holds a table; choose by impute_rmse")
    if rule == "frechet":
        _check_frechet(dataset)
    if rule == "udr":
        _check_stacked(search, "select: udr")
        _check_udr(search, dataset)
    if search.stop_by == "hypervolume":
        _check_stacked(search, "stop_by: hypervolume")


def _check_frechet(dataset: Dataset) -> None:
    rows, classes = dataset.num_rows("validation"), len(dataset.manifest.classes or ())
    if dataset.manifest.example.columns is not None:
        raise ConfigError(f"select: frechet is of images, and {dataset.uri} holds a table; choose by nll")
    if classes < 2:
        raise ConfigError(
            "select: frechet is measured in the features of a classifier, which learns 2 classes or more, and "
            f"{dataset.uri} has {classes}; choose by nll, or ingest the data with labels"
        )
    if rows < MIN_SAMPLES:
        raise ConfigError(
            f"select: frechet compares {MIN_SAMPLES:,} validation images or more, and {dataset.uri} has {rows:,}; choose "
            "by nll, or ingest the data with a larger validation split"
        )


def _check_stacked(search: SearchConfig, asked: str) -> None:
    if (reason := split(search).reason) is not None:
        raise ConfigError(
            f"{asked} compares the lanes of a stack, and these models have none: {reason}; use `{asked.split()[0]} bound`"
        )


def _check_udr(search: SearchConfig, dataset: Dataset) -> None:
    row = share_of(search.base, dataset, "train").load(0, 1)
    for config in variants(search):
        if bound_sums(build_model(config, dataset), [row], seed=0).bound().kl_per_dimension is None:
            raise ConfigError(
                "select: udr compares the dimensions whose KL says that they are used, which posterior "
                f"{config.model.posterior.kind} and prior {config.model.prior.kind} do not have in closed form; choose by "
                "bound, or use diagonal_gaussian with standard_normal"
            )


def scores_of(model: VAE, rule: str, config: RunConfig, dataset: Dataset) -> dict[str, float]:
    """What a rule needs of a trained model, on the validation split; nothing where an epoch's report has it.

    Some rules move the model to the CPU.
    """
    if rule == "nll":
        batches = _validation(config, dataset, model)
        return {"nll": negative_log_likelihood(model, batches, num_samples=NUM_SAMPLES, seed=0).nats}
    if rule == "frechet":
        return {"frechet": frechet(model.cpu(), dataset, split="validation")}
    if rule not in MEASURED:
        return {}
    family, name = MEASURED[rule]
    return {rule: measure(model.cpu(), dataset, [family], split="validation")[name]}


def rankings(
    configs: Mapping[int, RunConfig], models: Mapping[int, VAE], dataset: Dataset
) -> dict[int, dict[str, float]]:
    """UDR of each lane among those that differ from it in their seed alone, on the validation split.

    Args:
        configs: Of the lanes that came to their end.
        models: Of the same lanes.
        dataset: What they were trained on.

    Returns:
        A score for each lane that has another one to be compared with.
    """
    groups: dict[str, list[int]] = {}
    for lane, config in configs.items():
        setting = override(config, {SEED: 0}).model_dump(mode="json")
        groups.setdefault(json.dumps(setting, sort_keys=True), []).append(lane)
    scores: dict[int, dict[str, float]] = {}
    for lanes in groups.values():
        if len(lanes) > 1:
            batches = _validation(configs[lanes[0]], dataset, models[lanes[0]])
            codes, kls = zip(*(_codes(models[lane], batches) for lane in lanes), strict=True)
            scores |= {lane: {"udr": float(score)} for lane, score in zip(lanes, udr(codes, kls), strict=True)}
    return scores


def _codes(model: VAE, batches: InOrder) -> tuple[NDArray[np.float32], tuple[float, ...]]:
    """Posterior means [N,L], and the KL of each dimension in nats."""
    generator = torch.Generator(next(model.parameters()).device).manual_seed(derive(0, Stream.EVALUATION))
    means = [inference.encode(model, inputs_of(model, batch, generator)).mean for batch in batches]
    kl = bound_sums(model, batches, seed=0).bound().kl_per_dimension
    assert kl is not None, "check_rule refuses models without it"
    return torch.cat(means).cpu().numpy(), kl


def _validation(config: RunConfig, dataset: Dataset, model: VAE) -> InOrder:
    """The validation split, where the model is."""
    return InOrder(share_of(config, dataset, "validation", device=next(model.parameters()).device))


def reference_nats(config: RunConfig, dataset: Dataset) -> float:
    """The negative ELBO of a model before it is trained, on some validation examples, without its sign; at least a nat for
    each value of an example.

    A front that is worth anything stays below it on both axes, and it is the same wherever it is computed. A density's
    negative ELBO may be near 0 by chance, where rates are not: hence the least.
    """
    model = build_model(config, dataset)
    batches = islice(InOrder(share_of(config, dataset, "validation")), NUM_REFERENCE_BATCHES)
    bound = bound_sums(model, batches, seed=config.training.seed).bound()
    return max(float(model.examples.num_values), abs(bound.negative_elbo))
