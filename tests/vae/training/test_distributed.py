"""What a training says of the cluster it waits for."""

from __future__ import annotations

from typing import Any

import pytest

from vae.config import ScalingConfig
from vae.training import distributed


def alive(**resources: float) -> dict[str, Any]:
    """A living node, as Ray lists it."""
    return {"Alive": True, "Resources": resources}


@pytest.mark.parametrize(
    ("nodes", "scaling", "missing"),
    [
        ([alive(CPU=1), alive(CPU=1)], ScalingConfig(num_workers=2), None),
        (
            [alive(CPU=1), {"Alive": False, "Resources": {"CPU": 1}}],
            ScalingConfig(num_workers=2),
            "2 CPUs, have 1: room for 1 of 2 workers",
        ),
        (
            [alive(CPU=3), alive(CPU=1)],
            ScalingConfig(num_workers=2, cpus_per_worker=2),
            "4 CPUs, have 4: room for 1 of 2 workers",
        ),
        (
            [alive(CPU=8, GPU=1)],
            ScalingConfig(num_workers=2, gpus_per_worker=1),
            "2 CPUs and 2 GPUs, have 8 and 1: room for 1 of 2 workers",
        ),
    ],
)
def test_missing_says_what_is_wanted_and_what_there_is(
    monkeypatch: pytest.MonkeyPatch, nodes: list[dict[str, Any]], scaling: ScalingConfig, missing: str | None
) -> None:
    """Dead nodes do not count, a worker has to fit on one node, and nothing is said where all have room."""
    monkeypatch.setattr(distributed.ray, "nodes", lambda: nodes)
    assert distributed._missing(scaling) == missing
