"""Room for workers on the nodes of a cluster, in numbers and in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

Amounts = dict[str, float]
"""Amounts by resource, as `{"CPU": 4, "GPU": 1}`."""


def in_words(amounts: Mapping[str, float]) -> str:
    """Returns amounts in words: `4 CPU and 1 GPU`."""
    return " and ".join(f"{amount:g} {kind}" for kind, amount in amounts.items()) or "nothing"


def summed(parts: Iterable[Mapping[str, float]]) -> Amounts:
    """Returns the sum of each resource."""
    total: Amounts = {}
    for part in parts:
        for kind, amount in part.items():
            total[kind] = total.get(kind, 0.0) + amount
    return total


def places(wanted: Mapping[str, float], nodes: Iterable[Mapping[str, float]]) -> int:
    """Returns the number of processes of some resources that fit on idle nodes; each process fits on one node."""
    # Tiny fractions are lost in sums of fractions.
    return sum(
        min(int(node.get(kind, 0.0) / amount + 1e-6) for kind, amount in wanted.items() if amount) for node in nodes
    )


def shortage(asked: str, kinds: Iterable[str], nodes: Sequence[Mapping[str, float]], room: int) -> str:
    """Returns what a cluster lacks: `asked for 8 workers of 1 CPU, the cluster has 6 CPU on 3 nodes, with room for 6`.

    Args:
        asked: The request in words.
        kinds: Resources of the request.
        nodes: Resources of each node.
        room: Number of processes of the request that fit.
    """
    total = summed(nodes)
    on_nodes = f" on {len(nodes)} nodes, with room for {room}" if len(nodes) > 1 else ""
    return f"asked for {asked}, the cluster has {in_words({kind: total.get(kind, 0.0) for kind in kinds})}{on_nodes}"
