"""Descriptions of a model and of its graphs' inputs and outputs, for whoever runs them in another language."""

from __future__ import annotations

from typing import Any

from pipelines.exporting.graphs import Graph, Pixels, step_of
from pipelines.exporting.records import Port
from vae.data.schema import Column
from vae.model import VAE

LIMITS = {
    "score": "it draws latents and weighs them, which is no single pass; use betaline, or `mlflow models serve`",
    "denoise": "it averages over draws of the latent; `reconstruct` gives the answer at the posterior's mean",
    "impute": "it draws latents until their weights suffice, which is no single pass; `reconstruct` answers gaps from the "
    "posterior's mean",
    "interpolate": "it is `decode` along a line between two latents of `encode`",
    "traverse": "it is `decode` of latents of `encode` with one number changed",
    "edit": "it is `decode` of latents of `encode` that were moved along a direction",
    "transfer": "it is `decode` of latents of `encode` under another condition",
    "draws": "a graph has no generator of random numbers for draws of p(x|z): `decode` and `generate` give its mean",
}
"""Reasons why other uses of a model are no graphs, with what does them."""


def described(network: VAE, pixels: Pixels) -> dict[str, Any]:
    """Returns the facts of a model that its graphs' callers need."""
    examples = network.examples
    facts: dict[str, Any] = {
        "kind": examples.kind,
        "shape": list(examples.shape),
        "latent_dim": network.config.latent_dim,
        "condition": [_column(column) for column in network.conditions],
    }
    if examples.columns is None:
        return facts | {"layout": "CHW", "pixels": pixels}
    return facts | {"columns": [_column(column) for column in examples.columns]}


def _column(column: Column) -> dict[str, Any]:
    """Returns the facts of a column; its transform is inside the graphs, and its categories' codes are their places."""
    facts: dict[str, Any] = {"name": column.name, "type": column.type, "dtype": column.dtype}
    if column.categories is not None:
        return facts | {"categories": list(column.categories)}
    facts |= {"mean": column.mean, "std": column.std, "step": step_of(column)}
    bounds = {name: getattr(column, name) for name in ("lowest", "highest", "smallest", "largest")}
    return facts | {name: value for name, value in bounds.items() if value is not None}


def inputs_of(graph: Graph) -> tuple[Port, ...]:
    """Returns the inputs of a graph, in order."""
    network = graph.network
    match graph.takes:
        case "rows":
            first = _examples(graph, "rows", _given(graph), graph.pixels)
        case "latents":
            first = _matrix("latents", network.config.latent_dim, "latents, such as the means of encode")
        case _:
            first = _matrix("noise", network.prior.noise_dim, "draws from the standard normal distribution")
    ports = [first]
    if network.conditions:
        names = ", ".join(column.name for column in network.conditions)
        says = f"condition: {names}; numbers in their own unit, categories as codes from 0"
        ports.append(_matrix("condition", len(network.conditions), says))
    if network.config.beta_gates:
        ports.append(Port(name="beta", dtype="float32", shape=("N",), says="weight of the rate, above 0"))
    return tuple(ports)


def outputs_of(graph: Graph) -> tuple[Port, ...]:
    """Returns the outputs of a graph, in order."""
    if graph.gives == ("mean", "std"):
        said = {"mean": "mean of q(z|x)", "std": "standard deviation of q(z|x)"}
        return tuple(_matrix(name, graph.network.config.latent_dim, says) for name, says in said.items())
    says = "pixels in [0, 1]" if graph.bounds is None else "rows, in the form of the input; nothing is missing"
    (name,) = graph.gives
    return (_examples(graph, name, says, "float32"),)


def _given(graph: Graph) -> str:
    if graph.bounds is not None:
        return "rows: numbers in their own unit, times in seconds since 1970 UTC, categories as codes; NaN is missing"
    return "pixels in 0 to 255" if graph.pixels == "uint8" else "pixels in [0, 1], NaN is missing"


def _examples(graph: Graph, name: str, says: str, dtype: str) -> Port:
    shape = graph.network.examples.shape
    return Port(name=name, dtype=dtype if graph.bounds is None else "float64", shape=("N", *shape), says=says)


def _matrix(name: str, width: int, says: str) -> Port:
    return Port(name=name, dtype="float32", shape=("N", width), says=says)
