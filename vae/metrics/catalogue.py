"""The metrics of `vae.metrics.suite`: title, unit and direction of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

Better = Literal["higher", "lower"]


class Metric(NamedTuple):
    """A metric as reports and searches present it; see `vae.metrics.suite` for the protocols."""

    title: str
    unit: str
    better: Better
    says: str = ""
    """Sentence on what the figure means; empty for a title that says it."""


FEW = "The mean over the first 2,000 rows of the split, or all if there are fewer."

METRICS: Mapping[str, Metric] = {
    "psnr_db": Metric("Reconstruction, PSNR", "dB", "higher", FEW),
    "ssim": Metric("Reconstruction, SSIM", "of 1", "higher", FEW),
    "denoise_psnr_db": Metric("Denoising, PSNR", "dB", "higher"),
    "impute_rmse": Metric("Imputation of numbers, RMSE", "standard deviations", "lower"),
    "impute_few_draws": Metric("Imputed rows with fewer than 10 effective draws", "of 1", "lower"),
    "impute_accuracy": Metric("Imputation of categories, accuracy", "of 1", "higher"),
    "mutual_information_nats": Metric("Mutual information of example and latent", "nats", "higher"),
    "frechet_distance": Metric("Generation, Fréchet distance", "squared feature units", "lower"),
    "precision": Metric("Generation, precision", "of 1", "higher"),
    "recall": Metric("Generation, recall", "of 1", "higher"),
    "density": Metric("Generation, density", "1 is expected", "higher"),
    "coverage": Metric("Generation, coverage", "of 1", "higher"),
    "column_shapes": Metric("Column shapes", "of 1", "higher", "Agreement of each column's values with held-out rows."),
    "pair_trends": Metric("Pair trends", "of 1", "higher", "Agreement of columns' dependence with held-out rows."),
    "category_coverage": Metric(
        "Coverage of categories", "of 1", "higher", "Share of held-out rows' categories among as many synthetic rows."
    ),
    "tstr_f1": Metric("F1, trained on synthetic rows", "of 1", "higher", "Of classifiers, on held-out rows."),
    "tstr_auroc": Metric("AUROC, trained on synthetic rows", "of 1", "higher", "Of classifiers, on held-out rows."),
    "tstr_r2": Metric("R², trained on synthetic rows", "of 1", "higher", "Of regressions, on held-out rows."),
    "nearer_to_training": Metric(
        "Synthetic rows nearer to training",
        "of 1",
        "lower",
        "Than to as many held-out rows; 0.5 is ideal, 1 means copies.",
    ),
    "membership_by_distance": Metric(
        "Membership by distance, AUROC",
        "of 1",
        "lower",
        "Training rows told by the nearest synthetic row; 0.5 is ideal.",
    ),
    "membership_by_score": Metric(
        "Membership by log p(x), AUROC", "of 1", "lower", "Training rows told by the model's score; 0.5 is ideal."
    ),
    "beta_vae": Metric("Disentanglement, β-VAE score", "of 1", "higher"),
    "factor_vae": Metric("Disentanglement, FactorVAE score", "of 1", "higher"),
    "mig": Metric("Disentanglement, MIG", "of 1", "higher"),
    "sap": Metric("Disentanglement, SAP", "of 1", "higher"),
    "modularity": Metric("Disentanglement, modularity", "of 1", "higher"),
    "dci_disentanglement": Metric("Disentanglement, DCI", "of 1", "higher"),
    "dci_completeness": Metric("Disentanglement, DCI completeness", "of 1", "higher"),
    "dci_informativeness": Metric("Disentanglement, DCI informativeness", "of 1", "higher"),
}
"""Metrics by name, without the suffix of a baseline or of a feature space."""
COUNTS = ("num_train", "num_test")
"""Rows that metrics were measured on, reported beside them."""
