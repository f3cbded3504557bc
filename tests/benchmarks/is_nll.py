"""Speed and memory of the importance-sampled likelihood: `python -m tests.benchmarks.is_nll`.

- betaline: `vae.inference.importance.log_likelihood`;
- bare: the same network in plain `nn.Sequential`s with the same weights, a loop over as many draws at a time, and a running
  log-sum-exp, written for this one purpose.

On the same noise both have to agree; in the measurement each draws its own, the bare loop by `torch.randn`. The unit
is draws per second, that is images · samples / seconds: 10,000 images at 5,000 samples are 5·10⁷ draws. Memory is the
peak of a process of its own, with few samples and with ten times as many (Linux).
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.benchmarks.alternating import alternate, machine, print_rates, print_ratio, ratios
from vae.config import ModelConfig
from vae.data.schema import ExampleSpec
from vae.draws import RowDraws
from vae.inference.importance import log_likelihood
from vae.model import VAE
from vae.parts.bodies.mlp import MLP
from vae.parts.terms import Inputs
from vae.seeds import Stream

HIDDEN, LATENT_DIM, MAX_ROWS = 512, 16, 8192
FLOOR = 0.95
SLACK_MEGABYTES = 16.0
"""Largest difference between two peaks of the same work."""

Estimate = tuple[Tensor, float]
"""log p(x) of each image in nats, and seconds."""


def make_model() -> VAE:
    """Returns an untrained model of 784-512-16 and back."""
    config = ModelConfig(latent_dim=LATENT_DIM, encoder=MLP(hidden=(HIDDEN,)))
    return VAE(config, ExampleSpec((1, 28, 28))).eval()


def make_images(num_images: int) -> Tensor:
    """Returns binary pixels, [B,1,28,28]."""
    return torch.rand(num_images, 1, 28, 28, generator=torch.Generator().manual_seed(0)).round()


def by_betaline(model: VAE, x: Tensor, num_samples: int) -> Estimate:
    """Estimates with the product."""
    started = time.perf_counter()
    draws = RowDraws(1, Stream.EVALUATION)
    found = log_likelihood(model, Inputs(x), num_samples=num_samples, draws=draws, max_rows=MAX_ROWS)
    return found, time.perf_counter() - started


def in_sequentials(model: VAE) -> tuple[nn.Sequential, nn.Sequential]:
    """Returns the model's weights in two `nn.Sequential`s."""
    encoder = nn.Sequential(nn.Linear(784, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 2 * LATENT_DIM))
    decoder = nn.Sequential(nn.Linear(LATENT_DIM, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 784))
    weights = model.state_dict()
    for name in ("weight", "bias"):
        encoder.get_submodule("0").state_dict()[name].copy_(weights[f"encoder.dense.stages.0.layer.{name}"])
        encoder.get_submodule("2").state_dict()[name].copy_(weights[f"posterior.head.{name}"])
        decoder.get_submodule("0").state_dict()[name].copy_(weights[f"decoder.dense.stages.0.layer.{name}"])
        decoder.get_submodule("2").state_dict()[name].copy_(weights[f"decoder.out.{name}"])
    return encoder, decoder


@torch.no_grad()
def by_hand(
    encoder: nn.Sequential, decoder: nn.Sequential, x: Tensor, num_samples: int, noise_SBL: Tensor | None = None
) -> Estimate:
    """Estimates with a loop written for this model alone; the noise is drawn on the way, unless it is given."""
    started = time.perf_counter()
    pixels = x.flatten(1)
    mean, log_std = encoder(pixels).chunk(2, dim=-1)
    total = torch.full((len(x),), -torch.inf)
    at_once = max(1, MAX_ROWS // len(x))
    for start in range(0, num_samples, at_once):
        if noise_SBL is None:
            noise = torch.randn(min(at_once, num_samples - start), len(x), LATENT_DIM)
        else:
            noise = noise_SBL[start : start + at_once]
        z = mean + log_std.exp() * noise
        logits = decoder(z)
        distortion = F.binary_cross_entropy_with_logits(logits, pixels.expand_as(logits), reduction="none").sum(-1)
        log_ratio = (0.5 * (noise.square() - z.square()) + log_std).sum(-1)
        total = torch.logaddexp(total, (log_ratio - distortion).logsumexp(0))
    return total - math.log(num_samples), time.perf_counter() - started


def peak_megabytes(num_images: int, num_samples: int) -> float:
    """Returns the peak memory of this process in an estimate, beyond its memory before."""
    torch.set_num_threads(1)
    model, x = make_model(), make_images(num_images)
    before = _peak_kilobytes()
    by_betaline(model, x, num_samples)
    return (_peak_kilobytes() - before) / 1024


def _peak_kilobytes() -> int:
    # Not getrusage, whose peak a process inherits from the one that started it.
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))


def in_fresh_processes(num_images: int, num_samples: int) -> list[float]:
    """Returns the `peak_megabytes` of three processes, smallest first; the allocator's reserves differ."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), max_tasks_per_child=1) as pool:
        return sorted(pool.map(peak_megabytes, [num_images] * 3, [num_samples] * 3))


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.is_nll", description="See the module.")
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--samples", type=int, default=640)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    images, samples = chosen.images, chosen.samples
    model, x = make_model(), make_images(images)
    rows = {
        "betaline": partial(by_betaline, model, x, samples),
        "bare": partial(by_hand, *in_sequentials(model), x, samples),
    }
    noise_SBL = RowDraws(1, Stream.EVALUATION).next().normal_samples(range(samples), range(images), LATENT_DIM)
    first, second = rows["betaline"]()[0], rows["bare"](noise_SBL=noise_SBL)[0]  # which also warms up
    torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-2)
    print(f"{images} images, {samples} samples, {machine()}\n")
    draws = images * samples
    rates = alternate({row: lambda run=run: draws / run()[1] for row, run in rows.items()}, chosen.rounds)
    print_rates(rates, "draws/s")
    print_ratio("betaline / bare", ratios(rates, "betaline", "bare"), floor=FLOOR)
    few, many = in_fresh_processes(images, samples), in_fresh_processes(images, 10 * samples)
    verdict = "ok" if many[0] <= few[0] + SLACK_MEGABYTES else "GROWS"
    peaks = [", ".join(f"{peak:.0f}" for peak in found) for found in (few, many)]
    print(f"\npeak memory, MB: {peaks[0]} with {samples} samples, {peaks[1]} with {10 * samples}  {verdict}")


if __name__ == "__main__":
    main()
