"""New rows that meet constraints, by rejection: rows are drawn until enough of them fit.

Shapes: N rows, B candidates, F features of the condition.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from vae.seeds import Stream, derive

MOST_DRAWS, MOST_DRAWS_EACH = 100_000, 100
"""Largest number of rows that are drawn in all, or for each row that is wanted if that is more."""
ROUND = 4_096
"""Least number of candidates in a round after the first."""
_ROUNDS = 100
"""Number that keeps the seeds of rounds apart from those of other draws."""


class Restricted(NamedTuple):
    """Rows that meet constraints."""

    x: Tensor
    """Prepared rows, [N,*shape]."""
    num_drawn: int
    """Number of rows that were drawn."""
    num_fitting: int
    """Number of those that meet the constraints."""
    num_repeated: int
    """Number of rows of `x` that repeat another, because too few were drawn that fit."""


def draw_fitting(
    draw: Callable[[Tensor, int], Tensor], fits: Callable[[Tensor], Tensor], groups: Sequence[int], seed: int
) -> Restricted:
    """Returns rows that meet constraints, each a draw from the model's distribution of such rows (von Neumann 1951).

    Candidates that fit go to the rows of their group in turn. If the budget of max(`MOST_DRAWS`, `MOST_DRAWS_EACH` · N)
    candidates does not suffice, the remaining rows repeat fitting ones of their group, chosen by the seed.

    Args:
        draw: Function that draws a candidate for each of some rows by their numbers [B], with a seed.
        fits: Function that returns which candidates meet the constraints, bool [B].
        groups: Group of each row, N of them; rows of one group are alike, because they have the same condition.
        seed: Seed of the draws.

    Raises:
        ValueError: If no candidate of a group fits.
    """
    budget = max(MOST_DRAWS, MOST_DRAWS_EACH * len(groups))
    pending: dict[int, deque[int]] = {}
    for row, group in enumerate(groups):
        pending.setdefault(group, deque()).append(row)
    found, num_drawn, num_fitting = dict[int, Tensor](), 0, 0
    while (rows := [row for of_group in pending.values() for row in of_group]) and num_drawn < budget:
        # First as many as without constraints, so that constraints that all rows meet change nothing.
        times = max(1, min(ROUND, budget - num_drawn) // len(rows)) if num_drawn else 1
        rows_B = torch.tensor(rows).repeat(times)
        x = draw(rows_B, seed if not num_drawn else derive(seed, Stream.GENERATION, _ROUNDS, num_drawn))
        fits_B = fits(x)
        num_drawn, num_fitting = num_drawn + len(rows_B), num_fitting + int(fits_B.sum())
        for place in fits_B.nonzero().flatten().tolist():
            if of_group := pending[groups[int(rows_B[place])]]:
                found[of_group.popleft()] = x[place]
    generator = torch.Generator().manual_seed(derive(seed, Stream.GENERATION, _ROUNDS))
    for group, of_group in pending.items():
        fitting = [x for row, x in found.items() if groups[row] == group]
        if of_group and not fitting:
            raise ValueError(f"none of {num_drawn:,} drawn rows fits")
        found |= {row: fitting[int(torch.randint(len(fitting), (), generator=generator))] for row in of_group}
    x = torch.stack([found[row] for row in range(len(groups))])
    return Restricted(x, num_drawn, num_fitting, sum(map(len, pending.values())))
