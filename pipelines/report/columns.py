"""A table's columns: the test rows beside as many rows that the model draws.

Shapes: N rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.report.evidence import Evidence
from vae import inference
from vae.data.manifest import Column, TableSpec
from vae.likelihoods import restore

SEED = 0


@dataclass(frozen=True)
class ColumnSummary:
    """One column, in words. Numbers as mean ± standard deviation in their own unit, categories as the most frequent."""

    name: str
    kind: str
    missing: str
    """Share of the test rows, with what was hidden from the model."""
    data: str
    """Of the test rows."""
    model: str
    """Of draws from the model, each told what its test row is; a dash where there is no model."""


def columns(evidence: Evidence) -> list[ColumnSummary]:
    """Of every column; none for images, or without test rows."""
    example = evidence.dataset.example
    if not isinstance(example, TableSpec) or evidence.rows is None or not evidence.num_rows:
        return []
    data_ND = evidence.rows.values.cpu().numpy()
    model_ND = _draws(evidence)
    return [
        ColumnSummary(
            name=column.name,
            kind="numbers" if column.categories is None else f"{len(column.categories)} categories",
            missing=f"{100 * np.isnan(data_ND[:, number]).mean():.0f} %",
            data=_in_words(data_ND[:, number], column),
            model="–" if model_ND is None else _in_words(model_ND[:, number], column),
        )
        for number, column in enumerate(example.columns)
    ]


def _draws(evidence: Evidence) -> NDArray[np.float32] | None:
    if evidence.cannot_run or evidence.model is None:
        return None
    condition_NK = evidence.inputs(evidence.num_rows).condition
    x = inference.generate(evidence.model, evidence.num_rows, condition_NK, seed=SEED, output="sample")
    return restore(x, evidence.model.examples).cpu().numpy()


def _in_words(values_N: NDArray[np.float32], column: Column) -> str:
    there = values_N[~np.isnan(values_N)].astype(np.float64)
    if not len(there):
        return "–"
    if column.categories is None:
        return f"{there.mean():.4g} ± {there.std():.4g}".replace("-", "−")
    counts = np.bincount(there.astype(int), minlength=len(column.categories))
    return f"{column.categories[counts.argmax()]} ({100 * counts.max() / counts.sum():.0f} %)"
