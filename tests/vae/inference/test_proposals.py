"""Proposals that are fitted to weighted draws, against densities and moments in closed form.

Shapes: S draws, B rows, L latent.
"""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats

from tests.vae import ppca
from vae.draws import RowDraws
from vae.inference import importance
from vae.inference.proposals import DEGREES_OF_FREEDOM, StudentTProposal, effective_draws, fit_proposal
from vae.parts.terms import Inputs
from vae.seeds import Stream


def proposal(latent: int = 3) -> StudentTProposal:
    generator = torch.Generator().manual_seed(0)
    scale = torch.randn(2, latent, latent, generator=generator).tril(-1) + torch.diag_embed(
        0.5 + torch.rand(2, latent, generator=generator)
    )
    return StudentTProposal(torch.randn(2, latent, generator=generator), scale)


def test_density_of_draws_is_the_multivariate_students() -> None:
    """Log q of each draw equals SciPy's multivariate t with the same location and scale matrix."""
    made = proposal()
    drawn = made.draw(torch.randn(5, 2, made.noise_dim, generator=torch.Generator().manual_seed(1)))
    for row in range(2):
        shape = (made.scale[row] @ made.scale[row].T).numpy()
        expected = stats.multivariate_t(made.mean[row].numpy(), shape, DEGREES_OF_FREEDOM).logpdf(
            drawn.z[:, row].numpy()
        )
        torch.testing.assert_close(drawn.log_prob()[:, row].double(), torch.from_numpy(expected), atol=1e-4, rtol=0)


def test_draws_have_the_moments_of_the_students() -> None:
    """Mean and standard deviation of many draws are those that the proposal states."""
    made = proposal()
    z_SBL = made.draw(torch.randn(200_000, 2, made.noise_dim, generator=torch.Generator().manual_seed(1))).z
    torch.testing.assert_close(z_SBL.mean(0), made.mean, atol=0.02, rtol=0)
    torch.testing.assert_close(z_SBL.std(0), made.std(), atol=0, rtol=0.03)


def test_fit_has_the_weighted_mean_and_covariance() -> None:
    """Draws of N(0, 4I), weighted to a Gaussian in closed form, give its mean and its covariance as the scale matrix."""
    generator = torch.Generator().manual_seed(0)
    mean, factor = torch.tensor([0.5, -1.0]), torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    z_SBL = 2 * torch.randn(100_000, 1, 2, generator=generator)
    target = torch.distributions.MultivariateNormal(mean, scale_tril=factor)
    log_weight_SB = target.log_prob(z_SBL) - torch.distributions.Normal(0.0, 2.0).log_prob(z_SBL).sum(-1)
    assert effective_draws(log_weight_SB).item() > 20_000  # no tempering
    fitted = fit_proposal(z_SBL, log_weight_SB)
    torch.testing.assert_close(fitted.mean[0], mean, atol=0.02, rtol=0)
    torch.testing.assert_close(fitted.scale[0] @ fitted.scale[0].T, factor @ factor.T, atol=0.02, rtol=0)


def test_fit_rests_on_many_draws_where_one_has_all_the_weight() -> None:
    """Tempered weights keep a width: the fit of a hundred draws, one of them e¹⁰⁰ likelier, is no single point."""
    z_SBL = torch.randn(100, 1, 2, generator=torch.Generator().manual_seed(0))
    log_weight_SB = torch.zeros(100, 1)
    log_weight_SB[3] = 100.0
    fitted = fit_proposal(z_SBL, log_weight_SB)
    assert effective_draws(log_weight_SB).item() == pytest.approx(1)
    assert (fitted.std() > 0.3).all()


@pytest.mark.parametrize("weight", [0.0, -1e3])
def test_effective_draws_are_from_one_to_all(weight: float) -> None:
    """Equal weights make every draw count, whatever their scale; a single large one counts alone."""
    log_weight_SB = torch.full((50, 2), weight)
    log_weight_SB[0, 1] = weight + 200
    torch.testing.assert_close(effective_draws(log_weight_SB), torch.tensor([50.0, 1.0]), atol=0, rtol=1e-3)


def test_evidence_from_a_fitted_proposal_is_a_lower_bound_in_expectation() -> None:
    """Of a narrow posterior five standard deviations off: below the exact evidence, within 0.05 nats, and far better."""
    torch.manual_seed(0)
    made = ppca.build(gap=-0.7)
    with torch.no_grad():
        bias = made.model.posterior.head.bias
        assert isinstance(bias, torch.Tensor)
        bias[: ppca.LATENT].add_(5 * bias[ppca.LATENT :].exp())
    x_BD = made.evidence.sample((1,)).expand(500, -1)
    exact = made.evidence.log_prob(x_BD[:1]).item()
    inputs, draws = Inputs(x_BD.view(-1, *ppca.SHAPE)), RowDraws(3, Stream.EVALUATION)
    poor = torch.zeros(len(x_BD))
    plain = importance.evidence(made.model, inputs, num_samples=200, draws=draws)
    pieces = [
        importance.evidence(made.model, inputs.take(rows), num_samples=200, draws=draws, proposal=fitted)
        for rows, fitted in importance.better_proposals(made.model, inputs, poor, 50.0, num_samples=200, draws=draws)
    ]
    nats = torch.cat([piece.nats for piece in pieces])
    assert len(nats) == len(x_BD)
    error = nats.std().item() / math.sqrt(len(nats))
    assert exact - 0.05 < nats.mean().item() < exact + 3 * error
    assert plain.nats.mean().item() < exact - 0.3
    assert nats.exp().mean().item() == pytest.approx(math.exp(exact), rel=0.02)
