"""The ranks of a distributed run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel


def set_up_process(num_threads: int) -> None:
    """Sets up torch in a process for training, before anything is computed.

    Numbers below 1e-38 count as zero: the moments of a dead unit shrink to such numbers, over which a CPU takes many
    times as long. A thread inherits this setting from the thread that starts it.
    """
    torch.set_num_threads(num_threads)
    torch.set_flush_denormal(True)


@dataclass(frozen=True)
class World:
    """The number of ranks of a run, and this process among them."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @classmethod
    def current(cls, device: torch.device | str = "cpu") -> World:
        """Returns the ranks of the process group; one rank if torch.distributed is not initialised."""
        if distributed.is_available() and distributed.is_initialized():
            return cls(distributed.get_rank(), distributed.get_world_size(), torch.device(device))
        return cls(device=torch.device(device))

    def in_step(self, module: nn.Module) -> nn.Module:
        """Returns a module whose gradients are the mean over ranks after each backward pass; of one rank the module."""
        if self.size == 1:
            return module
        return DistributedDataParallel(module, forward_sync_buffers=False, gradient_as_bucket_view=True)

    def total(self, values: Tensor) -> Tensor:
        """Returns the sum over ranks, the same on each rank."""
        if self.size > 1:
            distributed.all_reduce(values)
        return values

    def each(self, values: Tensor) -> Tensor:
        """Returns the values of all ranks, [rank, …], the same on each rank."""
        gathered = values.new_zeros(self.size, *values.shape)
        gathered[self.rank] = values
        return self.total(gathered)

    def first(self, value: Any) -> Any:
        """Returns the value of the first rank that has one, the same on each rank; None if no rank has one."""
        values = [value] * self.size
        if self.size > 1:
            distributed.all_gather_object(values, value)
        return next((one for one in values if one is not None), None)


ALONE = World()
"""The only rank of a run."""
