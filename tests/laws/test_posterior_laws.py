"""What every posterior with a density must obey. A new one is one line in `POSTERIORS` of `tests/laws/parts.py`.

Shapes: S samples, B batch, F features, L latent, N noise. The posterior of codes is a certain one: see
`tests/vae/parts/test_quantization.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import jacrev, vmap

from tests.laws.parts import POSTERIORS, PRIORS, has_codes
from vae.config import ModelConfig, parse
from vae.data.schema import ExampleSpec
from vae.model import VAE
from vae.parts.distributions import Gaussian
from vae.parts.posteriors.posterior import Draw, Posterior
from vae.parts.priors.prior import Prior
from vae.parts.terms import Inputs

LATENT, ROWS, DRAWS = 2, 3, 40_000
DENSE = [name for name, part in POSTERIORS.items() if not has_codes({"posterior": part})]
CLOSED_FORMS = {
    "diagonal gaussian, standard normal": ("diagonal gaussian", "standard normal"),
    "diagonal gaussian, conditional": ("diagonal gaussian", "conditional"),
    "ladder, hierarchical": ("ladder", "hierarchical"),
}


@dataclass(frozen=True)
class Case:
    """The posteriors of a few examples, in two dimensions."""

    model: VAE
    posterior: Posterior
    prior: Prior

    def draw(self, noise_SBN: Tensor) -> Draw:
        return self.posterior.draw(noise_SBN, self.prior)

    def noise(self, samples: int, seed: int = 0) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(samples, ROWS, self.model.noise_dim, generator=generator)


def build(posterior: str, prior: str | None = None) -> Case:
    prior = prior or ("hierarchical" if posterior == "ladder" else "standard normal")
    config: dict[str, Any] = {
        "latent_dim": LATENT,
        "encoder": {"kind": "mlp", "hidden": [8]},
        "posterior": POSTERIORS[posterior],
        "prior": PRIORS[prior],
        "condition": "class",
    }
    model = VAE(parse(ModelConfig, config), ExampleSpec((1, 2, 2), ("a", "b", "c"))).eval()
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    condition = torch.eye(ROWS)
    with torch.no_grad():
        posterior_ = model.encode(Inputs(torch.rand(ROWS, 1, 2, 2, generator=generator), condition=condition))
    return Case(model, posterior_, model.prior_of(condition))


@pytest.fixture(params=DENSE)
def case(request: pytest.FixtureRequest) -> Case:
    return build(request.param)


def test_draws_come_from_the_density(case: Case) -> None:
    """E_q[f / q] = ∫ f = 1 for Gaussians f between the mean and some draws, narrow enough to lie within the posterior."""
    with torch.no_grad():
        draw = case.draw(case.noise(DRAWS))
        log_q_SB, z_SBL = draw.log_prob(), draw.z
    for z_BL in z_SBL[:4]:
        f = Gaussian((z_SBL.mean(0) + z_BL) / 2, (0.3 * z_SBL.std(0)).log())
        ratio_SB = (f.log_prob(z_SBL) - log_q_SB).double().exp()
        error_B = (ratio_SB.mean(0) - 1) / (ratio_SB.std(0) / math.sqrt(DRAWS))
        assert error_B.abs().max() < 5, ratio_SB.mean(0)
        assert ratio_SB.std(0).max() < 8, "f has to lie within the posterior for the mean to be trusted"


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


def test_std_is_that_of_draws(case: Case) -> None:
    """`std()` is the spread of draws. A ladder's is given the groups above at their means; a flow's is of 32 draws."""
    noise_SBN = case.noise(DRAWS)
    with torch.no_grad():
        expected_BL = case.draw(noise_SBN).z.std(0)
        if case.posterior.__class__.__name__ == "Ladder":
            noise_SBN[..., 0] = 0.0
            expected_BL[:, 1] = case.draw(noise_SBN).z.std(0)[:, 1]
        tolerance = 0.35 if case.posterior.__class__.__name__ == "FlowedGaussian" else 0.03
        torch.testing.assert_close(case.posterior.std(), expected_BL, rtol=tolerance, atol=0.0)


def test_mean_is_where_draws_are(case: Case) -> None:
    """`mean` is within half a standard deviation of the mean of draws, and its draw where all noise is 0."""
    with torch.no_grad():
        draws = case.draw(case.noise(DRAWS)).z
        assert ((case.posterior.mean - draws.mean(0)).abs() < 0.5 * draws.std(0)).all()
        torch.testing.assert_close(case.draw(0 * case.noise(1)).z[0], case.posterior.mean)


def test_draws_have_gradients_in_mean_and_spread(case: Case) -> None:
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
