"""All metrics of a model's synthetic rows.

Shapes: N and M rows, D columns.
"""

from __future__ import annotations

import math

import numpy as np

from vae import inference
from vae.data.batches import Batch
from vae.data.schema import Column, without_absurd
from vae.data.transforms import transform_of
from vae.draws import RowDraws
from vae.inference.memory import affordable_rows
from vae.metrics.synthesis.likeness import category_coverage, column_shapes, pair_trends
from vae.metrics.synthesis.privacy import membership_auroc, nearer_to_training, nearest_distances, spreads
from vae.metrics.synthesis.usefulness import downstream
from vae.metrics.tables import Array
from vae.model import VAE
from vae.seeds import Stream, derive

SCORED_ROWS, NUM_SAMPLES = 1_000, 100
"""Rows of either kind whose log p(x) is taken, at most, and importance samples of each."""


def synthesis_suite(model: VAE, train: Batch, held_out: Batch, *, seed: int = 0) -> dict[str, float]:
    """Returns the metrics of as many draws from a model of a table as there are training rows.

    `….real` is the figure of the training rows in their place: the best that can be expected. Figures that the columns do
    not allow are left out, such as `tstr_f1` without categories.

    Args:
        model: A trained model.
        train: Training rows.
        held_out: Rows that the model was not trained on.
        seed: Seed of the draws, and of the choice of pairs of columns.
    """
    columns = model.examples.columns or ()
    real_ND, test_MD = (without_absurd(rows.values.double().cpu().numpy(), columns) for rows in (train, held_out))
    made_ND = draws(model, train, seed)
    both = slice(min(len(train), len(held_out)))
    figures: dict[str, float] = {}
    for suffix, rows_ND in (("", made_ND), (".real", real_ND)):
        rng = np.random.default_rng(derive(seed, Stream.EVALUATION, 4))
        figures[f"column_shapes{suffix}"] = column_shapes(test_MD[both], rows_ND[both], columns)
        figures[f"pair_trends{suffix}"] = pair_trends(test_MD[both], rows_ND[both], columns, rng)
        figures[f"category_coverage{suffix}"] = category_coverage(test_MD[both], rows_ND[both], columns)
    figures["nearer_to_training"] = nearer_to_training(made_ND, real_ND[both], test_MD[both], columns)
    near = (-nearest_distances(rows, made_ND, columns, spreads(real_ND)) for rows in (real_ND[both], test_MD[both]))
    figures["membership_by_distance"] = membership_auroc(*near)
    figures["membership_by_score"] = membership_auroc(*(_scores(model, rows, seed) for rows in (train, held_out)))
    figures |= _usefulness(model, [made_ND, real_ND, test_MD], train, held_out)
    return {name: figure for name, figure in figures.items() if not math.isnan(figure)}


def draws(model: VAE, rows: Batch, seed: int) -> Array:
    """Returns a draw from the model of a table under the condition of each row, in the columns' units, [N,D]."""
    condition_NF = model.condition(rows.labels, rows.attributes)
    x = inference.generate(model, len(rows), condition_NF, seed=seed, output="sample")
    return transform_of(model.examples).restore(x).astype(np.float64)


def _usefulness(model: VAE, tables: list[Array], train: Batch, held_out: Batch) -> dict[str, float]:
    """Returns the scores of draws, training and held-out rows; of their class, where the draws have one."""
    columns, target = model.examples.columns or (), None
    if "class" in model.config.condition and train.labels is not None and held_out.labels is not None:
        labels = (train.labels, train.labels, held_out.labels)
        tables = [np.column_stack([rows, own.cpu().numpy()]) for rows, own in zip(tables, labels, strict=True)]
        columns, target = (*columns, Column("class", model.examples.classes)), len(columns)
    made_ND, real_ND, test_MD = tables
    return downstream(made_ND, real_ND, test_MD, columns, target)


def _scores(model: VAE, rows: Batch, seed: int) -> Array:
    """Returns log p(x) of the first rows in nats."""
    few = rows.take(slice(affordable_rows(model, 2 * NUM_SAMPLES, SCORED_ROWS)))
    draws = RowDraws(seed, Stream.EVALUATION, 5)
    inputs = model.inputs(few.values, few.labels, few.attributes, few.observed, draws=draws)
    return inference.score(model, inputs, num_samples=NUM_SAMPLES, seed=seed).double().cpu().numpy()
