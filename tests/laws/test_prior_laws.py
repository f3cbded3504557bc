"""What every prior must obey. A new one is one line in `PRIORS` of `tests/laws/parts.py`.

Shapes: S samples, B batch, L latent, N noise, G pieces of a quantised latent. The oracles are a grid in two dimensions, and
all sequences of codes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.laws.parts import PRIORS
from vae.parts.posteriors.posterior import Draw
from vae.testing.checking import named
from vae.testing.latents import CODE_LAWS, DENSITY_LAWS, PIECES, PriorCase, every_sequence, prior_case

OVER_CODES = {name: part for name, part in PRIORS.items() if "codes" in part["kind"]}
CONTINUOUS = {name: part for name, part in PRIORS.items() if name not in OVER_CODES}


def build(prior: dict[str, Any]) -> PriorCase:
    return prior_case(prior, of_codes="codes" in prior["kind"])


@pytest.fixture(params=CONTINUOUS.values(), ids=CONTINUOUS)
def case(request: pytest.FixtureRequest) -> PriorCase:
    return build(request.param)


@pytest.fixture(params=OVER_CODES.values(), ids=OVER_CODES)
def coded(request: pytest.FixtureRequest) -> PriorCase:
    return build(request.param)


@pytest.mark.parametrize("law", DENSITY_LAWS, ids=named)
def test_every_prior_of_numbers_obeys_every_law(case: PriorCase, law: Callable[[PriorCase], None]) -> None:
    """Those that `vae.testing.check_part` holds a user's own priors to."""
    law(case)


@pytest.mark.parametrize("law", CODE_LAWS, ids=named)
def test_every_prior_of_codes_obeys_every_law(coded: PriorCase, law: Callable[[PriorCase], None]) -> None:
    """Probabilities of sequences, by all of them."""
    law(coded)


def test_temperature_scales_the_noise(case: PriorCase) -> None:
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


def test_kl_of_codes_is_their_surprise(coded: PriorCase) -> None:
    """The KL of each piece sums to −log p of the codes, for the posterior is certain of them."""
    sequences = every_sequence()
    draw = Draw(torch.zeros(1, len(sequences), PIECES), lambda: torch.zeros(()), codes=sequences)
    with torch.no_grad():
        kl = coded.of(len(sequences)).kl(None, draw)
    assert kl is not None
    assert kl.shape == (1, len(sequences), PIECES)
    torch.testing.assert_close(kl[0].sum(-1), -coded.log_prob(draw.z[0], sequences))
