"""What is made of a whole batch is the same on three ranks with a part of it each as on one rank alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.laws import three_ranks
from tests.laws.three_ranks import FEEDBACK, OBJECTIVES, RANKS, WHOLE, Found

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[Found]:
    """What each of two real processes has found."""
    folder = tmp_path_factory.mktemp("ranks")
    command = [sys.executable, "-m", "tests.laws.three_ranks"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen([*command, str(rank), str(folder)], cwd=ROOT, env=environment) for rank in range(RANKS)
    ]
    try:
        assert [process.wait(240) for process in processes] == [0] * RANKS
    finally:
        for process in processes:
            process.kill()
    return [torch.load(folder / f"rank-{rank}.pt") for rank in range(RANKS)]


@pytest.fixture(scope="module")
def alone() -> Found:
    """What this process finds on the whole batch."""
    return three_ranks.everything(WHOLE)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_three_ranks_of_parts_of_a_batch_are_one_of_the_whole(name: str, ranks: list[Found], alone: Found) -> None:
    """Trap, TC under DDP: latents are gathered with gradient, N and B are of all ranks: 21 + 21 + 22 is 64 in both."""
    for rank in ranks:
        for part in ("loss", "gradient"):
            torch.testing.assert_close(rank[f"{name}: {part}"], alone[f"{name}: {part}"], rtol=1e-4, atol=1e-5)
    assert alone[f"{name}: gradient"].abs().sum() > 0


def test_regularizers_change_the_gradient(alone: Found) -> None:
    """Each objective above has a gradient of its own, so that none is compared with itself."""
    for name in OBJECTIVES:
        others = [alone[f"{other}: gradient"] for other in OBJECTIVES if other != name]
        assert all((alone[f"{name}: gradient"] - other).abs().max() > 1e-3 for other in others), name


@pytest.mark.parametrize("buffer", ["codes", "counts", "sums"])
def test_codebooks_are_equal_on_every_rank(buffer: str, ranks: list[Found], alone: Found) -> None:
    """Trap, VQ: to the last bit between ranks, and those of the whole batch."""
    name = f"codebook: {buffer}"
    assert torch.equal(ranks[0][name], ranks[1][name])
    torch.testing.assert_close(ranks[0][name], alone[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", FEEDBACK)
def test_controllers_are_equal_on_every_rank(kind: str, ranks: list[Found], alone: Found) -> None:
    """Trap, GECO and ControlVAE: every rank has the same β and state, those of the whole batch's means."""
    for name in (f"{kind}: state", f"{kind}: beta"):
        assert torch.equal(ranks[0][name], ranks[1][name])
        torch.testing.assert_close(ranks[0][name], alone[name], rtol=1e-4, atol=1e-5)


def test_discriminators_are_equal_on_every_rank(ranks: list[Found], alone: Found) -> None:
    """Trap, FactorVAE: to the last bit, and those of the whole batch, over which dimensions are permuted."""
    assert torch.equal(ranks[0]["discriminator"], ranks[1]["discriminator"])
    torch.testing.assert_close(ranks[0]["discriminator"], alone["discriminator"], rtol=1e-4, atol=1e-5)
