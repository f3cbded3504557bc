"""Walks through the latent, as grids: one dimension after the other, and from one row to another.

Shapes: D dimensions, T points of a walk, P pairs of rows.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from pipelines.report import column_charts
from pipelines.report.evidence import Evidence
from pipelines.report.pictures import EDGE_INCHES, MOST_INCHES, Grid, gutter, num_columns
from pipelines.report.plan import Plan
from pipelines.report.theme import WIDTH_INCHES
from pipelines.report.wording import nats
from vae import inference
from vae.inference.answering import abilities
from vae.metrics.likelihood import Bound

MOST_DIMENSIONS, NUM_POINTS = 10, 7
EXTENT = 3.0
"""Of a traversal, in standard deviations of N(0, 1)."""
MOST_PAIRS = 6
# Of a table: how far a dimension is moved, what the change is a mean over, and what is shown of it.
EFFECT_EXTENT, EFFECT_ROWS, MOST_COLUMNS = 2.0, 200, 24


def plan_traversals(evidence: Evidence) -> Plan | str | None:
    """What each latent dimension does: to one fixed image, or to the columns of a table."""
    if reason := _cannot_walk(evidence, "traverse"):
        return reason
    if (bound := evidence.bound) is None:
        return "the KL of the dimensions was not measured"
    if evidence.is_table:
        return _plan_effects(evidence, bound)
    grid = traversals(evidence, bound)
    shown, total = len(grid.images), evidence.config.model.latent_dim
    measure = "KL to the prior" if bound.kl_per_dimension else "variance of the posterior mean"
    unit = ", in nats per example" if bound.kl_per_dimension else ""
    rest = f" The other {total - shown} carry less, and are not shown." if shown < total else ""
    return Plan(
        grid.draw,
        f"One {evidence.split} row while each of {shown} latent dimensions is set to values from −3 to 3.",
        f"The first {evidence.split} row, decoded while one latent dimension is set to values from −3 to 3 standard "
        "deviations of N(0, 1) and the others stay at the posterior's mean. The dimensions are sorted by their mean "
        f"{measure} over the {evidence.split} split{unit}.{rest}",
        photographic=True,
    )


def _plan_effects(evidence: Evidence, bound: Bound) -> Plan:
    effect_LD, dimensions, columns = effects(evidence, bound)
    rows = min(EFFECT_ROWS, evidence.num_rows)
    total = evidence.manifest.example.num_values
    most = f" The first {len(columns)} of {total} columns." if len(columns) < total else ""
    return Plan(
        lambda: column_charts.effects(effect_LD, dimensions, columns),
        f"Heat map of what each of {len(dimensions)} latent dimensions does to {len(columns)} columns.",
        f"How much each column changes while one latent dimension goes from −{EFFECT_EXTENT:g} to {EFFECT_EXTENT:g} "
        "standard deviations of N(0, 1) and the others stay at the posterior's mean; the mean over "
        f"{rows} {evidence.split} rows. Numbers are in standard deviations of the training split; of categories it is the "
        "share of rows whose most probable one changes. The dimensions are sorted by what they carry, those that carry "
        f"nothing are left out.{most}",
    )


def effects(evidence: Evidence, bound: Bound) -> tuple[NDArray[np.float64], list[str], list[str]]:
    """What each dimension of the latent does to each column of a table [L,D], the most informative first, and the names of
    both.
    """
    model = evidence.model
    assert model is not None, "callers ask first"
    known = (model.examples.columns or ())[:MOST_COLUMNS]
    order = bound.informative_dimensions[: max(1, min(MOST_DIMENSIONS, bound.active_units))]
    inputs = evidence.inputs(slice(EFFECT_ROWS))
    found = inference.traverse(model, inputs, dimensions=tuple(order), extent=EFFECT_EXTENT, num_points=2)
    places = [found.dimensions.tolist().index(dimension) for dimension in order]
    low_NLD, high_NLD = found.examples[:, places].double().cpu().numpy()[..., : len(known)].transpose(2, 0, 1, 3)
    is_category = np.array([column.categories is not None for column in known])
    change_LD = np.where(is_category, low_NLD != high_NLD, high_NLD - low_NLD).mean(0)
    return change_LD, [f"z{dimension}" for dimension in order], [column.name for column in known]


def traversals(evidence: Evidence, bound: Bound) -> Grid:
    """The first row with one dimension of its latent changed in each row of the grid, the most informative first; those
    that carry nothing are left out.
    """
    model = evidence.model
    assert model is not None, "callers ask first"
    _, height, width = model.examples.shape
    carried_L = bound.kl_per_dimension or bound.mean_variance_per_dimension
    unit = " nats" if bound.kl_per_dimension else ""
    names = {dimension: f"z{dimension}  {nats(carried_L[dimension])}{unit}" for dimension in range(len(carried_L))}
    cell = (WIDTH_INCHES - gutter([*names.values()]) - EDGE_INCHES) / NUM_POINTS
    most = max(1, min(MOST_DIMENSIONS, bound.active_units, int(MOST_INCHES / (cell * height / width))))
    order = [int(dimension) for dimension in bound.informative_dimensions[:most]]
    found = inference.traverse(
        model, evidence.inputs(slice(1)), dimensions=tuple(order), extent=EXTENT, num_points=NUM_POINTS
    )
    # `traverse` sorts by what the given rows tell, which is one of them here; the page by the whole split.
    places = [found.dimensions.tolist().index(dimension) for dimension in order]
    images_DTCHW = found.examples[0, places].cpu().numpy()
    titles = [f"{value:+g}".replace("-", "−") if value else "0" for value in found.values.tolist()]
    return Grid(images_DTCHW, [names[dimension] for dimension in order], [titles, *[()] * (len(order) - 1)])


def plan_interpolations(evidence: Evidence) -> Plan | str | None:
    """Strips between fixed rows."""
    if evidence.is_table:
        return None
    if reason := _cannot_walk(evidence, "interpolate"):
        return reason
    if evidence.num_rows < 2:
        return "it takes two rows"
    grid = interpolations(evidence)
    told = ", while what the model is told changes as evenly" if evidence.config.model.condition else ""
    return Plan(
        grid.draw,
        f"{len(grid.images)} strips, each from one {evidence.split} row to the next.",
        f"Each strip goes from one {evidence.split} row (data, left) to the next one (data, right): between them the "
        f"decoder's mean at latents that lie evenly on a straight line between the two posterior means{told}.",
        photographic=True,
    )


def interpolations(evidence: Evidence) -> Grid:
    """Rows 0 to 1, 2 to 3 and so on, [P,T+2,C,H,W]: the first row as it is, the walk, and the second row."""
    model = evidence.model
    assert model is not None, "callers ask first"
    _, height, width = model.examples.shape
    columns = num_columns(height)
    cell = (WIDTH_INCHES - EDGE_INCHES) / columns
    most = max(1, min(MOST_PAIRS, int(MOST_INCHES / (cell * height / width))))
    stop = 2 * min(most, evidence.num_rows // 2)
    first, second = (evidence.inputs(slice(start, stop, 2)) for start in (0, 1))
    walk_PTCHW = inference.interpolate(model, first, second, num_points=columns - 2)
    whole = torch.cat([first.x[:, None], walk_PTCHW, second.x[:, None]], dim=1)
    titles = ["data", "start", *[""] * (columns - 4), "end", "data"]
    return Grid(whole.cpu().numpy(), (), [titles, *[()] * (len(whole) - 1)])


def _cannot_walk(evidence: Evidence, task: str) -> str | None:
    if reason := evidence.cannot_run:
        return reason
    assert evidence.model is not None, "it can run"
    return abilities(evidence.model)[task]
