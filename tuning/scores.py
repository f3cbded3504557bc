"""What a search may choose by, beside what every epoch reports: measured once, of each trial's best model."""

from __future__ import annotations

from vae.assembly import share_of
from vae.config import MetricFamily, RunConfig
from vae.data.batches import InOrder
from vae.data.manifest import ImageSpec
from vae.data.parquet import Dataset
from vae.errors import ConfigError
from vae.metrics.likelihood import negative_log_likelihood
from vae.metrics.suite import measure
from vae.model import VAE

NUM_SAMPLES = 100
"""Importance samples for each example of the validation split."""
MEASURED: dict[str, tuple[MetricFamily, str]] = {
    "mig": ("disentanglement", "mig"),
    "denoise_psnr": ("denoising", "denoise_psnr_db"),
    "impute_rmse": ("imputation", "impute_rmse"),
}
"""Of each rule the family, and the metric's name in it."""


def check_rule(rule: str, dataset: Dataset) -> None:
    """Refuses a rule that this dataset's models have no figure for.

    Raises:
        ConfigError: Says what the dataset lacks.
    """
    manifest = dataset.manifest
    factors = [column.name for column in manifest.attributes if column.categories is not None]
    if rule == "mig" and len(factors) < 2:
        raise ConfigError(
            f"select: mig is measured against 2 categorical attributes or more, and {dataset.uri} has {len(factors)}; "
            "choose by `active_units`, which needs no labels, or ingest the data with its factors"
        )
    if rule == "denoise_psnr" and not isinstance(manifest.example, ImageSpec):
        raise ConfigError(f"select: denoise_psnr is of images, and {dataset.uri} holds a table; choose by impute_rmse")


def scores_of(model: VAE, rule: str, config: RunConfig, dataset: Dataset) -> dict[str, float]:
    """What a rule needs of a trained model, on the validation split; nothing where an epoch's report has it."""
    if rule == "nll":
        batches = InOrder(share_of(config, dataset, "validation"))
        return {"nll": negative_log_likelihood(model, batches, num_samples=NUM_SAMPLES, seed=0).nats}
    if rule not in MEASURED:
        return {}
    family, name = MEASURED[rule]
    return {rule: measure(model, dataset, [family], split="validation")[name]}
