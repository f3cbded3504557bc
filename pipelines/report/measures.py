"""Metrics of a model's uses, each beside the simplest answers to the same question."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from pipelines.report.formats import minus

# Metric without suffix: its name on the page, its unit, and which way is better. `vae.metrics.suite` has the protocols.
METRICS: Mapping[str, tuple[str, str, Literal["higher", "lower"]]] = {
    "psnr_db": ("Reconstruction, PSNR", "dB", "higher"),
    "ssim": ("Reconstruction, SSIM", "of 1", "higher"),
    "denoise_psnr_db": ("Denoising, PSNR", "dB", "higher"),
    "impute_rmse": ("Imputation of numbers, RMSE", "standard deviations", "lower"),
    "impute_few_draws": ("Imputed rows with fewer than 10 effective draws", "of 1", "lower"),
    "impute_accuracy": ("Imputation of categories, accuracy", "of 1", "higher"),
    "mutual_information_nats": ("Mutual information of example and latent", "nats", "higher"),
    "frechet_distance": ("Generation, Fréchet distance", "squared feature units", "lower"),
    "precision": ("Generation, precision", "of 1", "higher"),
    "recall": ("Generation, recall", "of 1", "higher"),
    "density": ("Generation, density", "1 is expected", "higher"),
    "coverage": ("Generation, coverage", "of 1", "higher"),
    "beta_vae": ("Disentanglement, β-VAE score", "of 1", "higher"),
    "factor_vae": ("Disentanglement, FactorVAE score", "of 1", "higher"),
    "mig": ("Disentanglement, MIG", "of 1", "higher"),
    "sap": ("Disentanglement, SAP", "of 1", "higher"),
    "modularity": ("Disentanglement, modularity", "of 1", "higher"),
    "dci_disentanglement": ("Disentanglement, DCI", "of 1", "higher"),
    "dci_completeness": ("Disentanglement, DCI completeness", "of 1", "higher"),
    "dci_informativeness": ("Disentanglement, DCI informativeness", "of 1", "higher"),
}
# Suffixes of the simplest answers; any other suffix names the features in which a metric was measured.
BASELINES: Mapping[str, str] = {
    "noisy": "the noisy images",
    "median": "3×3 median filter",
    "simple": "each column's mean or commonest category",
}
PIXEL_BASELINES: Mapping[str, str] = {**BASELINES, "simple": "each pixel's mean"}
PIXEL_UNITS: Mapping[str, str] = {"standard deviations": "of the pixels' range"}
COUNTS = ("num_train", "num_test")
"""Numbers of rows that a metric was measured on; they are no metrics themselves."""


class Measure(NamedTuple):
    """One metric of the model, and the same metric of the simplest answers."""

    name: str
    value: str
    unit: str
    better: Literal["higher", "lower", ""]
    baselines: tuple[tuple[str, str], ...]
    """Name and value of each simple answer; empty if there is only chance to compare with."""
    beats: bool | None
    """True if the model is better than all simple answers; None without any."""


def measures(metrics: Mapping[str, float], *, is_table: bool) -> list[Measure]:
    """Returns the metrics of `vae.metrics.suite` by name, each with its baselines."""
    named, units = (BASELINES, {}) if is_table else (PIXEL_BASELINES, PIXEL_UNITS)
    rows = []
    for metric, value in metrics.items():
        base, _, suffix = metric.partition(".")
        if suffix in BASELINES or base in COUNTS:
            continue
        name, unit, better = METRICS.get(base, (metric, "", ""))
        name = f"{name} ({suffix})" if suffix and base in METRICS else name
        simple = {named[end]: metrics[f"{metric}.{end}"] for end in BASELINES if f"{metric}.{end}" in metrics}
        baselines = tuple((answer, _written(reached)) for answer, reached in simple.items())
        beats = None
        if simple and better:
            beats = value > max(simple.values()) if better == "higher" else value < min(simple.values())
        rows.append(Measure(name, _written(value), units.get(unit, unit), better, baselines, beats))
    return rows


def _written(value: float) -> str:
    return minus(f"{value:.2f}" if abs(value) >= 10 else f"{value:.3f}")
