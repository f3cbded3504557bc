"""What every posterior with a density must obey. A new one is one line in `POSTERIORS` of `tests/laws/parts.py`.

Shapes: S samples, B batch, F features, L latent, N noise. The posterior of codes is a certain one: see
`tests/vae/parts/test_quantization.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.func import jacrev, vmap

from tests.laws.parts import POSTERIORS, PRIORS, has_codes
from vae.parts.terms import Inputs
from vae.testing.checking import named
from vae.testing.latents import DRAWS, POSTERIOR_LAWS, ROWS, PosteriorCase, posterior_case

DENSE = [name for name, part in POSTERIORS.items() if not has_codes({"posterior": part})]
CLOSED_FORMS = {
    "diagonal gaussian, standard normal": ("diagonal gaussian", "standard normal"),
    "diagonal gaussian, conditional": ("diagonal gaussian", "conditional"),
    "ladder, hierarchical": ("ladder", "hierarchical"),
}


def build(posterior: str, prior: str | None = None) -> PosteriorCase:
    prior = prior or ("hierarchical" if posterior == "ladder" else "standard normal")
    return posterior_case(POSTERIORS[posterior], prior=PRIORS[prior])


@pytest.fixture(params=DENSE)
def case(request: pytest.FixtureRequest) -> PosteriorCase:
    return build(request.param)


@pytest.mark.parametrize("law", POSTERIOR_LAWS, ids=named)
def test_every_posterior_obeys_every_law(case: PosteriorCase, law: Callable[[PosteriorCase], None]) -> None:
    """Those that `vae.testing.check_part` holds a user's own posteriors to."""
    law(case)


@pytest.mark.parametrize("name", [name for name in DENSE if name != "student t"])
def test_density_is_the_noises_by_change_of_variables(name: str) -> None:
    """Log q(z|x) = log N(ε; 0, I) − log |det ∂z/∂ε|, with the Jacobian by automatic differentiation."""
    case = build(name)
    noise_SBN = case.noise(4)

    def z_of(noise_BN: Tensor) -> Tensor:
        return case.draw(noise_BN[None]).z[0].sum(0)  # examples do not mix, so the sum's Jacobian is each one's own

    jacobian_SLBN = vmap(jacrev(z_of))(noise_SBN)
    log_det_SB = torch.linalg.slogdet(jacobian_SLBN.transpose(1, 2)).logabsdet
    log_noise_SB = torch.distributions.Normal(0.0, 1.0).log_prob(noise_SBN).sum(-1)
    torch.testing.assert_close(case.draw(noise_SBN).log_prob(), log_noise_SB - log_det_SB, atol=1e-4, rtol=1e-4)


def test_std_is_that_of_draws(case: PosteriorCase) -> None:
    """`std()` is the spread of draws. A ladder's is given the groups above at their means; a flow's is of 32 draws."""
    noise_SBN = case.noise(DRAWS)
    with torch.no_grad():
        expected_BL = case.draw(noise_SBN).z.std(0)
        if case.posterior.__class__.__name__ == "Ladder":
            noise_SBN[..., 0] = 0.0
            expected_BL[:, 1] = case.draw(noise_SBN).z.std(0)[:, 1]
        tolerance = 0.35 if case.posterior.__class__.__name__ == "FlowedGaussian" else 0.03
        torch.testing.assert_close(case.posterior.std(), expected_BL, rtol=tolerance, atol=0.0)


def test_draws_have_gradients_in_mean_and_spread(case: PosteriorCase) -> None:
    """Reparameterised: the derivative of E[z] and E[z²] reaches the features; at noise 0 it is finite."""
    for noise_SBN in (case.noise(16), 0 * case.noise(1)):
        x = torch.full((ROWS, 1, 2, 2), 0.3, requires_grad=True)
        posterior = case.model.encode(Inputs(x, condition=torch.eye(ROWS)))
        draw = posterior.draw(noise_SBN, case.prior)
        for value in (draw.z, draw.z.square(), draw.log_prob()):
            (gradient,) = torch.autograd.grad(value.mean(), x, retain_graph=True)
            assert gradient.isfinite().all()
            assert gradient.abs().sum() > 0


@pytest.mark.parametrize(("posterior", "prior"), CLOSED_FORMS.values(), ids=CLOSED_FORMS)
def test_kl_in_closed_form_is_that_of_draws(posterior: str, prior: str) -> None:
    """Trap, KL: E[log q − log p] over many draws is the closed form, within 5 standard errors."""
    case = build(posterior, prior)
    with torch.no_grad():
        draw = case.draw(case.noise(DRAWS))
        kl = case.prior.kl(case.posterior, draw)
        assert kl is not None
        error_SB = (draw.log_prob() - case.prior.log_prob(draw) - kl.sum(-1)).double()
    assert (kl >= 0).all()
    assert kl.sum(-1).mean() > 0.05
    assert (error_SB.mean(0) / (error_SB.std(0) / math.sqrt(DRAWS))).abs().max() < 5


@pytest.mark.parametrize("name", ["diagonal gaussian", "student t", "iaf", "neural splines"])
def test_autocast_changes_no_density(name: str) -> None:
    """Trap, AMP: of one posterior, draws and their densities are the same under autocast, to the last bit."""
    case = build(name)
    noise_SBN = case.noise(16)
    full = case.draw(noise_SBN)
    with torch.autocast("cpu", torch.bfloat16):
        half = case.draw(noise_SBN)
        assert torch.equal(half.log_prob(), full.log_prob())
    assert torch.equal(half.z, full.z)
