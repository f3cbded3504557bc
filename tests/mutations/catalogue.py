"""Every mutation, by the file that it belongs in."""

from __future__ import annotations

from tests.mutations import data, judging, metrics, models, objectives, search, training, use
from tests.mutations.mutation import Planted

GROUPS = (models, objectives, data, training, use, metrics, search, judging)


def every_mutation() -> list[Planted]:
    """Returns all mutations of all files."""
    return [
        Planted(file, mutation)
        for group in GROUPS
        for file, mutations in group.MUTATIONS.items()
        for mutation in mutations
    ]
