"""The ranks of a run, and this one among them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, distributed


def set_up_process(num_threads: int) -> None:
    """Sets torch up in a process that is there to train, before anything is computed.

    Numbers below 1e-38 are taken for zero: the moments of a unit that has died shrink to such numbers and stay there, and a
    CPU takes many times as long over them. Threads inherit this from the one that starts them.
    """
    torch.set_num_threads(num_threads)
    torch.set_flush_denormal(True)


@dataclass(frozen=True)
class World:
    """The ranks of a run, and this one among them."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @classmethod
    def current(cls, device: torch.device | str = "cpu") -> World:
        """As torch.distributed has been set up; one rank where it has not."""
        if distributed.is_available() and distributed.is_initialized():
            return cls(distributed.get_rank(), distributed.get_world_size(), torch.device(device))
        return cls(device=torch.device(device))

    def total(self, values: Tensor) -> Tensor:
        """The sum over ranks, the same on each."""
        if self.size > 1:
            distributed.all_reduce(values)
        return values

    def each(self, values: Tensor) -> Tensor:
        """The values of every rank, [rank, …], the same on each."""
        everything = values.new_zeros(self.size, *values.shape)
        everything[self.rank] = values
        return self.total(everything)

    def first(self, value: Any) -> Any:
        """The first rank's value that is not None, the same on each; None where there is none."""
        values = [value] * self.size
        if self.size > 1:
            distributed.all_gather_object(values, value)
        return next((found for found in values if found is not None), None)
