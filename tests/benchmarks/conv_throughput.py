"""How fast a residual convolutional VAE trains on 64×64 colour sprites: `python -m tests.benchmarks.conv_throughput`.

`vae.training.Training` in this process, resident and streaming with a quarter of the data as its budget, against a bare
loop over the same network, optimiser and batches, alternated. Each figure is one epoch after a warm one.
"""

from __future__ import annotations

import argparse
import tempfile
import time

import torch
from torch.nn import functional as F

from pipelines.ingest import IngestConfig, ingest
from tests.benchmarks.alternation import compare
from vae.config import RunConfig, parse
from vae.data.batches import Share
from vae.data.parquet import Dataset
from vae.data.statistics import example_spec
from vae.model import VAE
from vae.networks import Context
from vae.training import Training

ROWS, BATCH = 1250, 64


def configuration(feed: str, budget_bytes: int) -> RunConfig:
    """Three halvings with a residual block each, and a Gaussian with one σ."""
    values = {
        "model": {
            "latent_dim": 10,
            "encoder": {"kind": "conv", "channels": [16, 32, 32], "hidden": 128, "residual_blocks": 1},
            "likelihood": {"kind": "gaussian", "sigma": "fixed"},
        },
        "training": {"epochs": 2, "batch_size": BATCH, "feed": feed, "memory_budget_bytes": budget_bytes},
    }
    return parse(RunConfig, values)


def betaline(dataset: Dataset, feed: str) -> float:
    """Examples per second of the second epoch."""
    held = dataset.num_rows("train") * 3 * 64 * 64
    budget = held // 4 if feed == "streaming" else 2 * held
    return Training(configuration(feed, budget), dataset).run().history[-1].examples_per_second


def bare(dataset: Dataset) -> float:
    """The same network in a loop written for it alone."""
    share = Share.of(dataset, "train")
    rows = share.load(share.start, share.stop).values
    model = VAE(configuration("resident", 1).model, example_spec(dataset))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0, fused=True)
    steps = len(rows) // BATCH
    for _ in range(2):
        started = time.perf_counter()
        order = torch.randperm(len(rows))
        for number in range(steps):
            x = rows.index_select(0, order[number * BATCH : (number + 1) * BATCH]).float() / 255
            mean, log_std = model.posterior.head(model.encoder(x, None, Context())).chunk(2, dim=1)
            z = mean + log_std.exp() * torch.randn_like(mean)
            again = model.decoder(z, Context()).sigmoid()
            distortion = F.mse_loss(again, x, reduction="sum") / (2 * 0.25**2)
            rate = 0.5 * (mean.square() + (2 * log_std).exp() - 1 - 2 * log_std).sum()
            optimizer.zero_grad(set_to_none=True)
            ((distortion + rate) / BATCH).backward()
            optimizer.step()
        rate_per_second = steps * BATCH / (time.perf_counter() - started)
    return rate_per_second


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.conv_throughput", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as home:
        config = IngestConfig(source="sprites:colour", name="sprites", max_rows=ROWS)
        dataset = Dataset.open(ingest(config, home, map, lambda done, total: None).uri)
        print(f"{dataset.num_rows('train'):,} examples, one thread")
        compare(
            {
                "bare": lambda: bare(dataset),
                "resident": lambda: betaline(dataset, "resident"),
                "streaming": lambda: betaline(dataset, "streaming"),
            },
            rounds,
            "examples/s",
            {"resident": 0.95, "streaming": 0.9},
        )


if __name__ == "__main__":
    main()
