"""What a regulariser adds to a step at batch 128: `python -m tests.benchmarks.step_costs`.

A training step as the loop takes it, without the reading of data: drawing, forward, backward, optimiser, and for FactorVAE
its discriminator's own step. Two bodies: the 784-512-16 MLP on 28×28, and a 32-64 convolution on 64×64. Ratios are to the
plain ELBO of the same body, alternated; 0.87 is 15 % more time.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch

from tests.benchmarks.alternation import compare, per_second
from vae.adversary import Discriminator
from vae.config import Adversary, RunConfig, override
from vae.data.batches import Batch
from vae.model import VAE, ExampleSpec
from vae.optimizer import FusedAdamW
from vae.step import Step, draw

BATCH, SECONDS, NUM_EXAMPLES = 128, 1.0, 60_000
FLOOR = 1 / 1.15
BODIES: dict[str, tuple[dict[str, Any], tuple[int, int, int]]] = {
    "MLP 784-512-16": ({"kind": "mlp", "hidden": [512]}, (1, 28, 28)),
    "convolutions 32-64 on 64x64": ({"kind": "conv", "channels": [32, 64]}, (1, 64, 64)),
}
REGULARIZERS: dict[str, dict[str, Any]] = {
    "total correlation": {"kind": "total_correlation"},
    "dip i": {"kind": "dip", "variant": "i"},
    "dip ii": {"kind": "dip", "variant": "ii"},
    "mmd": {"kind": "mmd"},
    "adversary, 3 x 256": {"kind": "adversary"},
    "adversary, 5 x 1000 (the paper's)": {"kind": "adversary", "hidden": [1000] * 5},
}


def training_step(config: RunConfig, shape: tuple[int, int, int]) -> Callable[[], None]:
    """One step on the same batch again and again."""
    model = VAE(config.model, ExampleSpec(shape))
    optimizer = FusedAdamW(model.parameters(), 1e-4, 0.0)
    adversaries = [r for r in config.objective.regularizers if isinstance(r, Adversary)]
    discriminator = Discriminator(adversaries[0], config.model.latent_dim, 0) if adversaries else None
    step = Step(model, config.objective, NUM_EXAMPLES, discriminator)
    generator = torch.Generator().manual_seed(0)
    batch = Batch(torch.randint(256, (BATCH, *shape), dtype=torch.uint8, generator=generator))
    beta, capacity = torch.ones(()), torch.zeros(())

    def run() -> None:
        result = step(draw(model, config.objective, batch, generator), beta, capacity)
        result.loss.backward()
        optimizer.advance()
        optimizer.zero_grad(set_to_none=True)
        if discriminator is not None:
            discriminator.learn(result.z, generator)

    return run


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.step_costs", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    for name, (body, shape) in BODIES.items():
        base = override(RunConfig(), {"model.latent_dim": 16, "model.encoder": body})
        steps = {"elbo": training_step(base, shape)}
        for label, regularizer in REGULARIZERS.items():
            steps[label] = training_step(override(base, {"objective.regularizers": [regularizer]}), shape)
        print(f"\n{name}, batch {BATCH}, one thread")
        rows = {label: lambda step=step: per_second(step, SECONDS, BATCH) for label, step in steps.items()}
        compare(rows, rounds, "examples/s", dict.fromkeys(REGULARIZERS, FLOOR))


if __name__ == "__main__":
    main()
