"""Rows of a table in a report."""

from __future__ import annotations

from pipelines.report import columns
from pipelines.report.kinds import Kind
from vae.data.transforms import transform_of

KIND = Kind(
    noun="rows",
    form="a data frame with the columns above",
    new='drawn from p(x|z); "output": "mean" gives expected rows, which vary less',
    pairs="rows",
    refuses="other columns and categories are refused",
    bits="bits per value",
    simple="each column's mean or commonest category",
    units={},
    described=lambda spec: transform_of(spec).described,
    figures=(
        ("traversals", "Traversals of the latent space", columns.plan_effects),
        ("marginals", "Columns in the data and from the model", columns.plan_marginals),
        ("associations", "Correlations, model minus data", columns.plan_associations),
        ("imputation", "Imputation error by column", columns.plan_imputation),
    ),
)
