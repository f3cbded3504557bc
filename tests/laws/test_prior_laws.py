"""What every prior must obey. A new one is one line in `PRIORS` of `tests/laws/parts.py`.

Shapes: S samples, B batch, L latent, N noise, G pieces of a quantised latent. The oracles are a grid in two dimensions, and
all sequences of codes.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.laws.parts import PRIORS
from vae.config import ModelConfig, parse
from vae.data.schema import ExampleSpec
from vae.model import VAE
from vae.parts.posteriors.posterior import Draw
from vae.parts.priors.prior import Prior

DRAWS, CODES, PIECES = 40_000, 3, 3
CELLS, FINE, EDGE = 14, 20, 7.0
"""Cells of a side of the grid, points in a cell's side, and where the grid ends."""
OVER_CODES = {name: part for name, part in PRIORS.items() if "codes" in part["kind"]}
CONTINUOUS = {name: part for name, part in PRIORS.items() if name not in OVER_CODES}


@dataclass(frozen=True)
class Case:
    """A prior, told class 1 where it asks."""

    model: VAE

    def of(self, batch: int) -> Prior:
        return self.model.prior_of(torch.tensor([[0.0, 1.0]]).expand(batch, 2))

    def sample(self, count: int = DRAWS, seed: int = 0) -> Tensor:
        noise = torch.randn(count, self.model.prior.noise_dim, generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            return self.of(count).sample(noise)

    @torch.no_grad()
    def log_prob(self, z_NL: Tensor, codes_NG: Tensor | None = None) -> Tensor:
        """[N]"""
        return self.of(len(z_NL)).log_prob(Draw(z_NL[None], lambda: torch.zeros(()), codes=codes_NG))[0]


def build(prior: dict[str, Any]) -> Case:
    config: dict[str, Any] = {
        "latent_dim": 2,
        "encoder": {"kind": "mlp", "hidden": [8]},
        "prior": prior,
        "condition": "class",
    }
    if "codes" in prior["kind"]:
        quantized = {"kind": "vector_quantized", "codes": CODES, "code_dim": 1}
        config |= {"latent_dim": PIECES, "posterior": quantized}
    model = VAE(parse(ModelConfig, config), ExampleSpec((1, 2, 2), ("a", "b"))).eval()
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2, generator=generator)
    return Case(model)


@pytest.fixture(params=CONTINUOUS.values(), ids=CONTINUOUS)
def case(request: pytest.FixtureRequest) -> Case:
    return build(request.param)


@pytest.fixture(params=OVER_CODES.values(), ids=OVER_CODES)
def coded(request: pytest.FixtureRequest) -> Case:
    return build(request.param)


def mass(case: Case) -> Tensor:
    """The probability of each cell by the midpoint rule, [CELLS,CELLS]."""
    width = 2 * EDGE / (CELLS * FINE)
    axis = -EDGE + width * (torch.arange(CELLS * FINE) + 0.5)
    density = case.log_prob(torch.cartesian_prod(axis, axis)).double().exp() * width**2
    return density.view(CELLS, FINE, CELLS, FINE).sum((1, 3))


def test_density_integrates_to_one(case: Case) -> None:
    """Over a grid that holds all but a thousandth of it."""
    assert mass(case).sum().item() == pytest.approx(1.0, abs=2e-3)


def test_samples_come_from_the_density(case: Case) -> None:
    """Each cell's frequency among many draws is the integral of the density over it, within 5 standard errors."""
    probability = mass(case)
    cells_NL = ((case.sample() + EDGE) * CELLS / (2 * EDGE)).floor().long()
    inside_NL = cells_NL[((cells_NL >= 0) & (cells_NL < CELLS)).all(1)]
    frequency = torch.bincount(inside_NL @ torch.tensor([CELLS, 1]), minlength=CELLS**2).view(CELLS, CELLS) / DRAWS
    standard_error = (probability * (1 - probability) / DRAWS).sqrt()
    assert ((frequency - probability).abs() <= 5 * standard_error + 2e-4).all()


def test_sample_is_a_function_of_the_noise(case: Case) -> None:
    """Each row of noise is one latent: alone it gives the same one, and no two give the same."""
    noise = torch.randn(9, case.model.prior.noise_dim, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        together = case.of(9).sample(noise)
        torch.testing.assert_close(case.of(1).sample(noise[4:5]), together[4:5])
    assert len(together.unique(dim=0)) == 9


def test_temperature_scales_the_noise(case: Case) -> None:
    """A temperature of 0.3 gives what 0.3 times the noise gives; the number that chooses a component is left alone."""
    prior = case.model.prior
    noise = torch.randn(9, prior.noise_dim, generator=torch.Generator().manual_seed(0))
    scaled = 0.3 * noise
    if prior.noise_dim > case.model.config.latent_dim:
        scaled[:, 0] = noise[:, 0]
    with torch.no_grad():
        cooled = case.of(9).sample(noise, temperature=0.3)
        torch.testing.assert_close(cooled, case.of(9).sample(scaled))
        assert not torch.allclose(cooled, case.of(9).sample(noise))


@pytest.mark.parametrize("name", ["standard normal", "mixture", "maf", "neural splines"])
def test_autocast_changes_no_density(name: str) -> None:
    """Trap, AMP: the density at given latents is the same under autocast, to the last bit."""
    case = build(PRIORS[name])
    z_NL = case.sample(64)
    full = case.log_prob(z_NL)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(case.log_prob(z_NL), full)


def every_sequence() -> Tensor:
    return torch.tensor(list(itertools.product(range(CODES), repeat=PIECES)))


def test_probabilities_of_all_code_sequences_sum_to_one(coded: Case) -> None:
    """Over all 27 sequences of three codes, of which none is impossible."""
    sequences = every_sequence()
    probability = coded.log_prob(torch.zeros(len(sequences), PIECES), sequences).double().exp()
    assert probability.sum().item() == pytest.approx(1.0, abs=1e-6)
    assert (probability > 0).all()


def test_sampled_codes_come_from_their_probabilities(coded: Case) -> None:
    """Each sequence's frequency among many draws is its probability, within 5 standard errors."""
    sequences = every_sequence()
    probability = coded.log_prob(torch.zeros(len(sequences), PIECES), sequences).double().exp()
    places = CODES ** torch.arange(PIECES - 1, -1, -1)
    frequency = torch.bincount(coded.sample() @ places, minlength=len(sequences)) / DRAWS
    standard_error = (probability * (1 - probability) / DRAWS).sqrt()
    assert ((frequency - probability).abs() <= 5 * standard_error).all()


def test_kl_of_codes_is_their_surprise(coded: Case) -> None:
    """The KL of each piece sums to −log p of the codes, for the posterior is certain of them."""
    sequences = every_sequence()
    draw = Draw(torch.zeros(1, len(sequences), PIECES), lambda: torch.zeros(()), codes=sequences)
    with torch.no_grad():
        kl = coded.of(len(sequences)).kl(None, draw)
    assert kl is not None
    assert kl.shape == (1, len(sequences), PIECES)
    torch.testing.assert_close(kl[0].sum(-1), -coded.log_prob(draw.z[0], sequences))
