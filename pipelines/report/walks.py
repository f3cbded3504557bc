"""Walks through the latent space, as grids: along one dimension after the other, and from one row to another.

Shapes: L dimensions, D columns of a table, T points of a walk, P pairs of rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from pipelines.report.evidence import Evidence, LeftOut
from pipelines.report.formats import minus, nats
from pipelines.report.pictures import Grid, num_columns, rows_that_fit
from pipelines.report.theme import Plan
from vae import inference
from vae.inference.answering import abilities
from vae.metrics.likelihood import Bound
from vae.model import VAE

MOST_DIMENSIONS, NUM_POINTS = 10, 7
EXTENT = 3.0
"""Reach of a traversal, in standard deviations of N(0, 1)."""
MOST_PAIRS = 6


# --- traversals -----------------------------------------------------------------------------------------------------


def plan_traversals(evidence: Evidence) -> Plan:
    """Plans what each latent dimension does to one fixed image."""
    bound = bound_of(evidence)
    grid = traversals(evidence, bound)
    shown, total = len(grid.images), evidence.config.model.latent_dim
    measure = "KL to the prior" if bound.kl_per_dimension else "variance of the posterior mean"
    unit = ", in nats per example" if bound.kl_per_dimension else ""
    rest = f" The other {total - shown} carry less and are not shown." if shown < total else ""
    return Plan(
        grid.draw,
        f"One {evidence.split} row while each of {shown} latent dimensions is set to values from −3 to 3.",
        f"The first {evidence.split} row, decoded while one latent dimension is set to values from −3 to 3 standard "
        "deviations of N(0, 1) and the others stay at the posterior's mean. The dimensions are sorted by their mean "
        f"{measure} over the {evidence.split} split{unit}.{rest}",
        photographic=True,
    )


def traversals(evidence: Evidence, bound: Bound) -> Grid:
    """Returns the first row while one latent dimension changes in each row of the grid, the most informative first."""
    model = evidence.runnable()
    carried_L = bound.kl_per_dimension or bound.mean_variance_per_dimension
    unit = " nats" if bound.kl_per_dimension else ""
    names = [f"z{dimension}  {nats(carried)}{unit}" for dimension, carried in enumerate(carried_L)]
    order = active(bound, rows_that_fit(NUM_POINTS, model.examples.shape, names))
    images_DTCHW, values = set_to(evidence, model, slice(1), order, EXTENT, NUM_POINTS)
    titles = [minus(f"{value:+g}") if value else "0" for value in values]
    return Grid(images_DTCHW[0], [names[dimension] for dimension in order], [titles, *[()] * (len(order) - 1)])


def bound_of(evidence: Evidence) -> Bound:
    """Returns the bound by whose dimensions a traversal is sorted.

    Raises:
        LeftOut: If the model cannot traverse, or the bound was not measured.
    """
    _check(evidence.runnable(), "traverse")
    if evidence.bound is None:
        raise LeftOut("the KL of the dimensions was not measured")
    return evidence.bound


def active(bound: Bound, most: int = MOST_DIMENSIONS) -> list[int]:
    """Returns the active dimensions, the most informative first; at least one."""
    count = max(1, min(most, MOST_DIMENSIONS, bound.active_units))
    return [int(dimension) for dimension in bound.informative_dimensions[:count]]


def set_to(
    evidence: Evidence, model: VAE, rows: slice, order: Sequence[int], extent: float, num_points: int
) -> tuple[NDArray[np.float32], list[float]]:
    """Returns rows decoded while each dimension is set to each value [rows, dimensions, values, ...], and the values."""
    answer = inference.traverse(
        model, evidence.inputs(rows), dimensions=tuple(order), extent=extent, num_points=num_points
    )
    # `traverse` sorts the dimensions by their information in the given rows, the page by that in the whole split.
    places = [answer.dimensions.tolist().index(dimension) for dimension in order]
    return answer.examples[:, places].cpu().numpy(), answer.values.tolist()


def _check(model: VAE, task: str) -> None:
    if reason := abilities(model)[task]:
        raise LeftOut(reason)


# --- interpolations -------------------------------------------------------------------------------------------------


def plan_interpolations(evidence: Evidence) -> Plan:
    """Plans strips between fixed rows."""
    _check(evidence.runnable(), "interpolate")
    if evidence.num_rows < 2:
        raise LeftOut("it takes two rows")
    grid = interpolations(evidence)
    condition = ", while the condition changes as evenly" if evidence.config.model.condition else ""
    return Plan(
        grid.draw,
        f"{len(grid.images)} strips, each from one {evidence.split} row to the next.",
        f"Each strip goes from one {evidence.split} row (data, left) to the next one (data, right). Between them is the "
        f"decoder's mean at evenly spaced latents on the straight line between the two posterior means{condition}.",
        photographic=True,
    )


def interpolations(evidence: Evidence) -> Grid:
    """Returns rows 0 to 1, 2 to 3 and so on [P,T+2,C,H,W]: the first row as it is, the walk, and the second row."""
    model = evidence.runnable()
    columns = num_columns(model.examples.shape)
    most = min(MOST_PAIRS, rows_that_fit(columns, model.examples.shape))
    stop = 2 * min(most, evidence.num_rows // 2)
    first, second = (evidence.inputs(slice(start, stop, 2)) for start in (0, 1))
    walk_PTCHW = inference.interpolate(model, first, second, num_points=columns - 2)
    whole = torch.cat([first.x[:, None], walk_PTCHW, second.x[:, None]], dim=1)
    titles = ["data", "start", *[""] * (columns - 4), "end", "data"]
    return Grid(whole.cpu().numpy(), (), [titles, *[()] * (len(whole) - 1)])
