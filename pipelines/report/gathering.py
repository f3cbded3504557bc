"""Gathering of evidence from a trained model and its dataset: what is worth knowing, the verdict, and figures."""

from __future__ import annotations

from dataclasses import replace

from pipelines.report.evidence import Evidence
from vae import progress
from vae.data.batches import Batch, InOrder, Share
from vae.data.fitting import worth_knowing
from vae.data.parquet import Dataset
from vae.metrics.likelihood import bound_sums
from vae.model import VAE
from vae.training.hooks import EpochReport
from vae.training.verdict import judge, judge_data, measure

MOST_ROWS, MOST_BOUND_ROWS = 1_000, 2_000
"""Largest numbers of rows of a split, which ingest has shuffled: for the pictures, and for a training's figures."""


def noted(known: Evidence, dataset: Dataset) -> Evidence:
    """Returns the evidence with what is worth knowing about the data, which the job's log says too."""
    likelihood, transform = known.config.model.likelihood, known.config.data.transform
    densities = likelihood.scores_by_densities and transform == "standard"
    notes = list(worth_knowing(dataset, densities=densities))
    for note in notes:
        print(f"worth knowing: {note}", flush=True)
    return replace(known, notes=notes)


def judged(known: Evidence, dataset: Dataset, model: VAE) -> Evidence:
    """Returns the evidence with the verdict on the run that trained a model."""
    config, history = known.config, [EpochReport(**epoch) for epoch in known.history]
    if not history:
        return known
    progress.report("judging the run")
    findings = judge(config, history, measure(config, dataset, model))
    return replace(known, findings=[*known.findings, *findings, *judge_data(config, dataset, model)])


def seen(known: Evidence, model: VAE, dataset: Dataset) -> Evidence:
    """Returns the evidence with a model and its figures on the first rows of the split."""
    config = known.config
    share = Share.of(
        dataset, known.split, binarization=config.model.likelihood.binarization_policy, missing=config.data.missing
    )
    few = replace(share, stop=min(share.stop, MOST_BOUND_ROWS))
    bound = bound_sums(model, InOrder(few), seed=0).bound()
    return replace(known, model=model, rows=fixed_rows(share), bound=bound)


def fixed_rows(share: Share) -> Batch:
    """Returns the first rows of a split with pixels as stored: the same rows in every report on a dataset."""
    return replace(share, binarization=None).load(0, min(MOST_ROWS, share.num_rows))
