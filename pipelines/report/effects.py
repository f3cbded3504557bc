"""Effects of the latent dimensions on the columns of a table.

Shapes: N rows, L dimensions, D columns.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipelines.report import column_charts
from pipelines.report.evidence import Evidence
from pipelines.report.theme import Plan
from pipelines.report.walks import active, bound_of, set_to
from vae.metrics.likelihood import Bound

# Reach of a dimension, rows that the change is averaged over, and columns shown.
EFFECT_EXTENT, EFFECT_ROWS, MOST_COLUMNS = 2.0, 200, 24


def plan_effects(evidence: Evidence) -> Plan:
    """Plans what each latent dimension does to the columns of a table."""
    bound = bound_of(evidence)
    effect_LD, dimensions, columns = effects(evidence, bound)
    total = evidence.manifest.example.num_values
    few = f" Only the first {len(columns)} of {total} columns." if len(columns) < total else ""
    measure = "change of the column (standard deviations)"
    return Plan(
        lambda theme: column_charts.heat_map(effect_LD, dimensions, columns, measure, theme),
        f"Heat map of what each of {len(dimensions)} latent dimensions does to {len(columns)} columns.",
        f"How much each column changes while one latent dimension goes from −{EFFECT_EXTENT:g} to {EFFECT_EXTENT:g} "
        "standard deviations of N(0, 1) and the others stay at the posterior's mean; the mean over "
        f"{min(EFFECT_ROWS, evidence.num_rows)} {evidence.split} rows. Changes of numbers are in standard "
        "deviations of the training split; for categories, the change is the share of rows whose most probable category "
        f"changes. The dimensions are sorted by the information that they carry; inactive ones are left out.{few}",
    )


def effects(evidence: Evidence, bound: Bound) -> tuple[NDArray[np.float64], list[str], list[str]]:
    """Returns how each latent dimension changes each column [L,D], most informative first, and the names of both."""
    model = evidence.runnable()
    columns = (model.examples.columns or ())[:MOST_COLUMNS]
    order = active(bound)
    answer, _ = set_to(evidence, model, slice(EFFECT_ROWS), order, EFFECT_EXTENT, 2)
    low_NLD, high_NLD = answer.astype(np.float64)[..., : len(columns)].transpose(2, 0, 1, 3)
    is_category = np.array([column.categories is not None for column in columns])
    change_LD = np.where(is_category, low_NLD != high_NLD, high_NLD - low_NLD).mean(0)
    return change_LD, [f"z{dimension}" for dimension in order], [column.name for column in columns]
