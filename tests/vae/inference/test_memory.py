"""The number of rows that fit a budget of memory."""

from __future__ import annotations

import math
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.laws import parts
from tests.vae.conftest import _publish
from vae import inference
from vae.config import ModelConfig, RunConfig, parse
from vae.data.batches import InOrder, Share
from vae.data.parquet import Dataset
from vae.data.schema import ExampleSpec
from vae.inference import memory
from vae.inference.memory import rows_within
from vae.metrics.likelihood import bound_sums
from vae.metrics.suite import measure
from vae.model import VAE
from vae.parts.terms import Inputs
from vae.testing.models import ROWS, examples
from vae.training.assembly import build_model
from vae.training.latents import fit_latents

SHAPE = (3, 32, 32)
IMAGE_BYTES = 4 * math.prod(SHAPE)


def build(likelihood: parts.Config) -> VAE:
    config = {"latent_dim": 2, "encoder": {"kind": "mlp", "hidden": [4]}, "likelihood": likelihood}
    return VAE(parse(ModelConfig, config), ExampleSpec(SHAPE)).eval()


@pytest.mark.parametrize(
    ("likelihood", "copies"),
    [
        # The outputs, their cross entropy and its negative, the mask and the masked example.
        ({"kind": "bernoulli"}, (4, 6)),
        # The standard deviation needs the logits, the probabilities, the differences and their squares at once: 64 each.
        ({"kind": "categorical", "levels": 64}, (256, 262)),
    ],
)
def test_rows_follow_the_copies_a_likelihood_makes(likelihood: parts.Config, copies: tuple[int, int]) -> None:
    """A row is taken for as many copies of its image as are alive at once, counted in the formulas of the likelihood."""
    row_bytes = (1 << 30) / rows_within(build(likelihood), 1 << 30)
    fewest, most = copies
    assert fewest <= row_bytes / IMAGE_BYTES <= most


def test_rows_follow_the_budget() -> None:
    """Twice the budget holds twice the rows; a budget that is too small for one row still allows one."""
    model = build({"kind": "discretized_logistic"})
    assert rows_within(model, 1 << 29) == pytest.approx(rows_within(model, 1 << 30) / 2, abs=1)
    assert rows_within(model, 1) == 1


@pytest.mark.parametrize("config", parts.MODELS.values(), ids=parts.MODELS)
def test_measuring_changes_nothing(config: parts.Config) -> None:
    """Any model can be measured; its weights, its buffers and the global generator stay as they were."""
    model = parts.randomised(config)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.random.get_rng_state()
    assert rows_within(model, 1 << 20) > 1
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def use(model: VAE, config: RunConfig, dataset: Dataset, num_rows: int) -> None:
    """Does with a model what takes whole splits, and two tasks with many rows."""
    fit_latents(model, config, dataset)
    bound_sums(model, InOrder(Share.of(dataset, "test")), seed=0)
    measure(model, dataset, ["reconstruction", "information"])
    inference.reconstruct(model, Inputs(torch.rand(num_rows, *model.examples.shape)))
    inference.generate(model, num_rows, output="sample")


def test_whole_splits_go_through_the_model_in_chunks(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is asked of a model, its encoder and decoder see no more rows at once than fit the budget."""
    likelihood = {"kind": "discretized_logistic"}
    config = parse(RunConfig, {"model": {"latent_dim": 2, "likelihood": likelihood}})
    model = build_model(config, digits).eval()
    monkeypatch.setattr(memory, "BUDGET_BYTES", 32 * (1 << 30) // rows_within(model, 1 << 30))
    most = rows_within(model)
    assert 16 <= most <= 48
    seen: list[int] = []
    for part in (model.encoder, model.decoder):
        part.register_forward_pre_hook(lambda _, arguments: seen.append(len(arguments[0])))
    use(model, config, digits, num_rows=500)
    assert max(seen) == most


def test_chunks_give_what_the_whole_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that go through the model in chunks come back in order, with their conditions, as from one pass."""
    model = parts.randomised(parts.MODELS["conv, concatenation"])
    inputs = examples(model)

    def answers() -> tuple[object, ...]:
        made = inference.generate(model, ROWS, inputs.condition)
        return inference.encode(model, inputs), inference.reconstruct(model, inputs), made

    whole = answers()
    monkeypatch.setattr(memory, "BUDGET_BYTES", 2 * (1 << 30) // rows_within(model, 1 << 30))
    assert rows_within(model) == 2
    torch.testing.assert_close(answers(), whole)


def test_chunks_count_every_latent_that_a_row_is_decoded_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where each of ten rows is decoded from four latents, a budget for eight latents takes two rows at once."""
    model = parts.randomised(parts.MODELS["conv, concatenation"])
    monkeypatch.setattr(memory, "BUDGET_BYTES", 8 * (1 << 30) // rows_within(model, 1 << 30))
    assert [rows.start for rows in memory.chunks(model, 10, num_samples=4)] == [0, 2, 4, 6, 8]


@pytest.mark.slow
def test_discretized_logistic_stays_under_a_gigabyte() -> None:
    """What follows training of a mixture of logistics over 3×64×64 takes at most 1 GB above the model, for 1,000 rows."""
    run = subprocess.run([sys.executable, "-m", __name__], capture_output=True, text=True, check=True)
    assert float(run.stdout) < 1e9


def rise(folder: Path) -> int:
    """Returns by how many bytes the peak memory of this process rises in `use`."""
    pixels = np.random.default_rng(0).integers(0, 256, (2100, 3, 64, 64), dtype=np.uint8)
    splits = {"train": 1000, "validation": 100, "test": 1000}
    dataset = _publish(folder, pixels, np.arange(2100) % 3, splits)
    config = parse(RunConfig, {"model": {"encoder": {"kind": "conv"}, "likelihood": {"kind": "discretized_logistic"}}})
    model = build_model(config, dataset).eval()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    use(model, config, dataset, num_rows=1000)
    return 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)


if __name__ == "__main__":
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as scratch:
        print(rise(Path(scratch)))
