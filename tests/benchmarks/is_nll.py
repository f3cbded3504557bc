"""How fast an importance-sampled likelihood is, and in how much memory: `python -m tests.benchmarks.is_nll`.

log p(x) of MNIST-sized images under a 784-300-300-40 model by S draws each, against a hand-written loop of the same networks
that streams the same log-sum-exp, alternated. Then the peak memory of the process for S = 50, 500 and 5000: it must not grow
with S. The images are random: the time does not depend on them.
"""

from __future__ import annotations

import argparse
import math
import resource

import torch
from torch import Tensor
from torch.nn import functional as F

from tests.benchmarks.alternation import compare, per_second
from vae.config import MLP, ModelConfig
from vae.distributions import LOG_2PI
from vae.importance import log_likelihood
from vae.model import VAE, ExampleSpec, Inputs

IMAGES, CHUNK, SECONDS = 100, 80, 2.0


@torch.no_grad()
def by_hand(model: VAE, x: Tensor, num_samples: int, generator: torch.Generator) -> Tensor:
    """The same estimate in the fewest operations one would write."""
    stages, decoder = model.encoder.dense.stages, model.decoder
    h = x.flatten(1)
    for stage in stages:
        h = F.relu(F.linear(h, stage.layer.weight, stage.layer.bias))
    mean, log_std = F.linear(h, model.posterior.head.weight, model.posterior.head.bias).chunk(2, dim=1)
    std, target = log_std.exp(), x.flatten(1).expand(CHUNK, -1, -1)
    total = torch.full((len(x),), -torch.inf)
    for _ in range(0, num_samples, CHUNK):
        noise = torch.randn(CHUNK, *mean.shape, generator=generator)
        z = mean + std * noise
        h = z.flatten(0, 1)
        for stage in decoder.dense.stages:
            h = F.relu(F.linear(h, stage.layer.weight, stage.layer.bias))
        logits = F.linear(h, decoder.out.weight, decoder.out.bias).view(CHUNK, len(x), -1)
        log_likelihood = -F.binary_cross_entropy_with_logits(logits, target, reduction="none").sum(-1)
        log_p = (-0.5 * (z.square() + LOG_2PI)).sum(-1)
        log_q = (-0.5 * (noise.square() + LOG_2PI) - log_std).sum(-1)
        total = torch.logaddexp(total, (log_likelihood + log_p - log_q).logsumexp(0))
    return total - math.log(num_samples)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.is_nll", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    model = VAE(ModelConfig(latent_dim=40, encoder=MLP(hidden=(300, 300))), ExampleSpec((1, 28, 28))).eval()
    x = torch.rand(IMAGES, 1, 28, 28).round()

    def ours(num_samples: int) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        return log_likelihood(model, Inputs(x), num_samples=num_samples, generator=generator, max_rows=CHUNK * IMAGES)

    def theirs(num_samples: int) -> Tensor:
        return by_hand(model, x, num_samples, torch.Generator().manual_seed(0))

    torch.testing.assert_close(ours(800), theirs(800))
    compare(
        {
            "by hand": lambda: per_second(lambda: theirs(800), SECONDS, 800 * IMAGES),
            "betaline": lambda: per_second(lambda: ours(800), SECONDS, 800 * IMAGES),
        },
        rounds,
        "draws/s",
        {"betaline": 0.95},
    )
    for num_samples in (50, 500, 5000):
        ours(num_samples)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"S = {num_samples:>5}: peak memory of the process so far {peak:,.0f} MiB")


if __name__ == "__main__":
    main()
