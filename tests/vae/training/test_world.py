"""What a process that trains is set up for."""

from __future__ import annotations

import torch

from vae.training.world import set_up_process


def test_process_that_trains_takes_denormals_for_zero() -> None:
    """So that the moments of dead units do not slow it down; ordinary small numbers stay."""
    threads = torch.get_num_threads()
    try:
        set_up_process(1)
        assert torch.get_num_threads() == 1
        halves = torch.tensor([1e-40, 1e-37]) * 0.5
        assert halves[0] == 0
        assert halves[1] > 0
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(threads)
