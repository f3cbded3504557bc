"""The comparison of an exported graph with the model, on rows of its dataset or on samples of its own.

Shapes: N rows, L latent, K conditions, D columns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from pipelines.data.apply.inputs import Examples
from pipelines.exporting.graphs import Graph, Pixels
from pipelines.exporting.precision import TOLERANCES, Precision
from pipelines.exporting.records import Check
from vae.data.conditions import write_condition
from vae.data.parquet import Dataset
from vae.data.transforms import TableTransform, transform_of
from vae.inference.answering import answer
from vae.inference.coding import generator_of
from vae.model import VAE

MOST_ROWS = 1_000
HIDDEN_SHARE = 0.1
"""Share of the entries that are hidden for a model that was trained with missing ones."""
BETA = 0.5
"""Weight of the rate that a model with β gates is asked at."""
SEED = 0
ALLOWED: dict[Precision, float] = {"float32": 1e-3, "float16": 0.02, "bfloat16": 0.05}
"""Share of values that may lie beyond the tolerance where rounding can change a choice."""

Arrays = Sequence[NDArray[Any]]


class Sample(NamedTuple):
    """Rows with all inputs of every graph, and the model's answers."""

    source: str
    """Source of the rows, as text."""
    inputs: dict[str, NDArray[Any]]
    """Inputs by name: rows, latents, noise; and condition and beta for models that take them."""
    answers: dict[str, list[NDArray[Any]]]
    """Outputs that the model gives, by task."""

    def of(self, graph: Graph) -> list[NDArray[Any]]:
        """Returns the inputs of a graph."""
        return [self.inputs[graph.takes], *(self.inputs[name] for name in ("condition", "beta") if name in self.inputs)]


def sample_of(network: VAE, dataset: Dataset | None, pixels: Pixels) -> Sample:
    """Returns up to `MOST_ROWS` rows of the validation split, or as many samples of the model, with the model's answers."""
    if dataset is None:
        values, conditions_NK = _sampled(network)
        source = f"{len(values):,} samples of the model, seed {SEED}"
    else:
        values, conditions_NK = _read(network, dataset)
        source = f"{len(values):,} rows of the validation split of {dataset.manifest.name}"
    given = _given(network, values, pixels)
    params: dict[str, Any] = {"beta": BETA} if network.config.beta_gates else {}
    if conditions_NK is not None:
        params["condition"] = [write_condition(network.conditions, row) for row in conditions_NK.tolist()]
    transform = transform_of(network.examples)
    rows = transform.write_values(given) if isinstance(transform, TableTransform) else given
    return _answered(network, source, given, rows, conditions_NK, params)


def _answered(
    network: VAE, source: str, given: NDArray[Any], rows: Any, conditions_NK: Any, params: dict[str, Any]
) -> Sample:
    """Returns the sample of some rows with the answers of `predict` to them."""

    def ask(task: str, inputs: Any, **more: Any) -> Any:
        return answer(network, inputs, {"task": task, **params, **more})

    def values_of(made: Any) -> list[NDArray[Any]]:
        transform = transform_of(network.examples)
        return [transform.values_of(made, "export") if isinstance(transform, TableTransform) else made]

    code, count = ask("encode", rows), len(given)
    like = torch.empty(0)
    noise = torch.randn(count, network.prior.noise_dim, generator=generator_of(like, SEED, "latents"))
    answers = {
        "encode": [code["mean"], code["std"]],
        "decode": values_of(ask("decode", code["mean"], output="mean")),
        "reconstruct": values_of(ask("reconstruct", rows)),
        "generate": values_of(ask("generate", None, n=count, seed=SEED, output="mean")),
    }
    inputs = {"rows": given, "latents": code["mean"], "noise": noise.numpy()}
    if conditions_NK is not None:
        inputs["condition"] = conditions_NK
    if network.config.beta_gates:
        inputs["beta"] = np.full(count, BETA, np.float32)
    return Sample(source, inputs, answers)


def _read(network: VAE, dataset: Dataset) -> tuple[NDArray[Any], NDArray[np.float32] | None]:
    """Returns the first rows of a dataset's validation split as the model's schema holds them, and their conditions."""
    source, groups = Examples(dataset, network), []
    for group in range(len(source.row_groups("validation"))):
        groups.append(source.read("validation", group))
        if sum(len(one.values) for one in groups) >= MOST_ROWS:
            break
    values = np.concatenate([one.values for one in groups])[:MOST_ROWS]
    if not network.conditions:
        return values, None
    return values, np.concatenate([one.conditions for one in groups if one.conditions is not None])[:MOST_ROWS]


def _sampled(network: VAE) -> tuple[NDArray[Any], NDArray[np.float32] | None]:
    """Returns samples of the model as its schema holds them, and the conditions that they were drawn under."""
    random, params, conditions_NK = np.random.default_rng(SEED), {}, None
    if network.conditions:
        values = [
            np.arange(MOST_ROWS) % len(column.categories)
            if column.categories
            else column.mean + column.std * random.standard_normal(MOST_ROWS)
            for column in network.conditions
        ]
        conditions_NK = np.stack(values, axis=1).astype(np.float32)
        params["condition"] = [write_condition(network.conditions, row) for row in conditions_NK.tolist()]
    made = answer(network, None, {"task": "generate", "n": MOST_ROWS, "seed": SEED, **params})
    transform = transform_of(network.examples)
    if isinstance(transform, TableTransform):
        return transform.values_of(made, "export"), conditions_NK
    return transform.restore(torch.from_numpy(made)), conditions_NK


def _given(network: VAE, values: NDArray[Any], pixels: Pixels) -> NDArray[Any]:
    """Returns values as the graphs take them, some of them missing for a model that knows gaps."""
    if network.examples.columns is None:
        if pixels == "uint8":
            return values
        values = values.astype(np.float32) / np.float32(255)
    if network.experience.missing:
        hidden = np.random.default_rng(SEED).random(values.shape) < HIDDEN_SHARE
        hidden.reshape(len(values), -1)[:, 0] = False  # a row of which nothing is observed is refused
        values = np.where(hidden, np.asarray(np.nan, values.dtype), values)
    return values


def compared(
    graph: Graph, run: Callable[[Arrays], Arrays], sample: Sample, expected: Arrays, precision: Precision
) -> Check:
    """Returns the comparison of a written file's answers with the model's."""
    inputs = sample.of(graph)
    pieces = [run([one[part] for one in inputs]) for part in (slice(1), slice(1, None)) if len(inputs[0][part])]
    found = [np.concatenate(parts) for parts in zip(*pieces, strict=True)]
    units = 1.0 if graph.gives != ("examples",) else _units(graph.network)
    distances = [
        np.abs(np.float64(one) - other) / (units + np.abs(other)) for one, other in zip(found, expected, strict=True)
    ]
    flat = np.concatenate([np.nan_to_num(one.ravel(), nan=np.inf) for one in distances])
    tolerance = TOLERANCES[precision]
    return Check(
        rows=len(inputs[0]),
        source=sample.source,
        tolerance=tolerance,
        largest=float(flat.max()),
        beyond=float((flat > tolerance).mean()),
        allowed=ALLOWED[precision] if _has_choices(graph) else 0.0,
    )


def _units(network: VAE) -> Any:
    """Returns the unit in which values of examples are compared: a column's standard deviation, or 1."""
    transform = transform_of(network.examples)
    return transform.units if isinstance(transform, TableTransform) else 1.0


def _has_choices(graph: Graph) -> bool:
    """Returns whether rounding can change a choice in a graph: of a code, a component, a category or a whole number."""
    network = graph.network
    if network.has_codes:
        return True
    if graph.gives != ("examples",):
        return network.examples.columns is not None and any(column.curve for column in network.examples.columns)
    is_mixed = graph.takes == "noise" and network.prior.noise_dim != network.config.latent_dim
    return network.examples.columns is not None or is_mixed
