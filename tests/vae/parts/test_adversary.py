"""FactorVAE's discriminator: what learns from what, and that it finds a known total correlation."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vae.config.presets import preset
from vae.draws import RowDraws
from vae.parts.regularizers.adversary import Adversary, Discriminator, permute_dimensions
from vae.seeds import Stream

LATENT = 3


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=generator(seed))


def build(seed: int = 0, **changes: Any) -> Discriminator:
    return Discriminator(Adversary.model_validate({"hidden": (16,), "learning_rate": 3e-3, **changes}), LATENT, seed)


def weights(discriminator: Discriminator) -> Tensor:
    return nn.utils.parameters_to_vector(discriminator.network.parameters()).detach().clone()


@pytest.fixture
def encoder() -> nn.Linear:
    layer = nn.Linear(4, LATENT)
    with torch.no_grad():
        layer.weight.copy_(normal(LATENT, 4))
        layer.bias.zero_()
    return layer


def test_penalty_teaches_the_encoder_alone(encoder: nn.Linear) -> None:
    """Trap, FactorVAE: backward through the penalty gives the encoder a gradient and the discriminator none."""
    discriminator = build()
    before = weights(discriminator)
    discriminator.penalty(encoder(normal(8, 4))).backward()
    assert encoder.weight.grad is not None
    assert encoder.weight.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in discriminator.network.parameters())
    assert torch.equal(weights(discriminator), before)


def test_discriminators_step_leaves_the_encoders_gradient(encoder: nn.Linear) -> None:
    """Trap, FactorVAE: z is detached in the discriminator's loss: its backward adds nothing to the encoder's gradient."""
    discriminator, z_BL = build(), encoder(normal(8, 4))
    discriminator.penalty(z_BL).backward(retain_graph=True)
    assert encoder.weight.grad is not None
    before, weights_before = encoder.weight.grad.clone(), weights(discriminator)
    discriminator.learn(z_BL, RowDraws(0, Stream.DISCRIMINATOR))
    assert torch.equal(encoder.weight.grad, before)
    assert not torch.equal(weights(discriminator), weights_before)
    assert all(parameter.grad is None for parameter in discriminator.network.parameters())


def test_penalty_is_the_weighted_mean_logit() -> None:
    """γ times the mean of log D / (1 − D) over the batch (Kim & Mnih, eq. 2 and 3)."""
    discriminator, z_BL = build(weight=7.0), normal(8, LATENT)
    probability = discriminator.network(z_BL).squeeze(-1).sigmoid()
    expected = 7.0 * (probability / (1 - probability)).log().mean()
    torch.testing.assert_close(discriminator.penalty(z_BL), expected)


def test_permuted_dimensions_keep_the_marginals_and_lose_the_dependence() -> None:
    """Each column is a permutation of itself, in an order of its own; columns that were equal no longer go together."""
    z_BL = normal(500, 1).expand(500, LATENT)
    permuted = permute_dimensions(z_BL, RowDraws(0, Stream.DISCRIMINATOR))
    assert torch.equal(permuted.sort(0).values, z_BL.sort(0).values)
    correlation = torch.corrcoef(permuted.T)
    assert (correlation - torch.eye(LATENT)).abs().max() < 0.2
    assert torch.equal(permute_dimensions(z_BL, RowDraws(0, Stream.DISCRIMINATOR)), permuted)
    assert not torch.equal(permute_dimensions(z_BL, RowDraws(1, Stream.DISCRIMINATOR)), permuted)


def test_discriminator_finds_a_known_total_correlation() -> None:
    """Of N(0, Σ) with correlation 0.8 between two dimensions, TC = −½ log(1 − 0.8²) = 0.51 nats, within a tenth."""
    factor = torch.linalg.cholesky(torch.tensor([[1.0, 0.8, 0.0], [0.8, 1.0, 0.0], [0.0, 0.0, 1.0]]))
    discriminator = build(hidden=(32, 32), weight=1.0)
    losses = [
        discriminator.learn(normal(256, LATENT, seed=step) @ factor.T, RowDraws(10_000 + step, Stream.DISCRIMINATOR))
        for step in range(400)
    ]
    found = discriminator.penalty(normal(20_000, LATENT, seed=999) @ factor.T).item()
    assert found == pytest.approx(-0.5 * math.log(1 - 0.8**2), abs=0.1)
    assert torch.stack(losses[-50:]).mean() < math.log(2) - 0.05


def test_discriminator_of_independent_latents_finds_nothing() -> None:
    """The cross entropy stays at log 2 and the penalty at 0 where there is nothing to tell apart."""
    discriminator = build(weight=1.0)
    losses = [
        discriminator.learn(normal(256, LATENT, seed=step), RowDraws(10_000 + step, Stream.DISCRIMINATOR))
        for step in range(200)
    ]
    assert torch.stack(losses[-50:]).mean().item() == pytest.approx(math.log(2), abs=0.01)
    assert discriminator.penalty(normal(5000, LATENT, seed=999)).item() == pytest.approx(0.0, abs=0.05)


def test_preset_has_the_papers_discriminator() -> None:
    """Slope 0.2 below 0, and Adam with 1e-4, 0.5 and 0.9 (Kim & Mnih, appendix A); smaller layers, as the docs say."""
    (config,) = preset("factor_vae").objective.regularizers
    assert isinstance(config, Adversary)
    discriminator = Discriminator(config, 10, seed=0)
    widths = [layer.out_features for layer in discriminator.network if isinstance(layer, nn.Linear)]
    assert widths == [256] * 3 + [1]
    slopes = {layer.negative_slope for layer in discriminator.network if isinstance(layer, nn.LeakyReLU)}
    assert slopes == {0.2}
    (group,) = discriminator.optimizer.param_groups
    assert (group["lr"], group["betas"], group["weight_decay"]) == (1e-4, (0.5, 0.9), 0.0)


def test_discriminator_learns_by_its_own_adam() -> None:
    """Three steps are those of torch's Adam with the configured rate and decays."""
    ours, reference = (build(adam_betas=(0.3, 0.8)) for _ in range(2))
    torchs = torch.optim.Adam(reference.network.parameters(), lr=3e-3, betas=(0.3, 0.8))
    reference.optimizer.step = torchs.step  # type: ignore[method-assign]
    for step in range(3):
        for discriminator in (ours, reference):
            discriminator.learn(normal(8, LATENT, seed=step), RowDraws(step, Stream.DISCRIMINATOR))
    torch.testing.assert_close(weights(ours), weights(reference))
    assert not torch.allclose(weights(ours), weights(build()))


def test_discriminator_depends_on_its_seed_alone() -> None:
    """The same seed gives the same weights; the global generator is left as it was."""
    before = torch.random.get_rng_state()
    first = weights(build(seed=4))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(weights(build(seed=4)), first)
    assert not torch.equal(weights(build(seed=5)), first)
