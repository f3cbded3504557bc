"""Laws of priors and posteriors. The oracles are a grid in two dimensions, all sequences of codes, and integrals of draws.

Shapes: S samples, B batch, L latent, N noise, G pieces of a quantised latent.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vae.config import ModelConfig, parse
from vae.data.schema import ExampleSpec
from vae.model import VAE
from vae.parts.distributions import Gaussian
from vae.parts.posteriors.posterior import Draw, Posterior
from vae.parts.priors.prior import Prior
from vae.parts.terms import Inputs
from vae.testing.expecting import expect, expect_close
from vae.testing.models import generator

DRAWS, CODES, PIECES, ROWS = 40_000, 3, 3, 3
CELLS, FINE, EDGE = 14, 20, 7.0
"""Cells of a side of the grid, points in a cell's side, and where the grid ends."""
NEIGHBOURS: Mapping[str, Any] = {"latent_dim": 2, "encoder": {"kind": "mlp", "hidden": [8]}, "condition": "class"}


def small_model(std: float, **parts: Any) -> VAE:
    """Returns a model of two latent dimensions with random weights of a standard deviation, in evaluation mode."""
    config = parse(ModelConfig, {**NEIGHBOURS, **parts})
    model = VAE(config, ExampleSpec((1, 2, 2), ("a", "b", "c"))).eval()
    source = generator(1)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=std, generator=source)
    return model


# --- priors ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PriorCase:
    """A prior in two dimensions, or of three codes, under class 1."""

    model: VAE

    def of(self, batch: int) -> Prior:
        """Returns the prior of a batch."""
        return self.model.prior_of(torch.tensor([[0.0, 1.0, 0.0]]).expand(batch, 3))

    @torch.no_grad()
    def sample(self, count: int = DRAWS, seed: int = 0) -> Tensor:
        """Returns draws, [count,L] or [count,G]."""
        return self.of(count).sample(torch.randn(count, self.model.prior.noise_dim, generator=generator(seed)))

    @torch.no_grad()
    def log_prob(self, z_NL: Tensor, codes_NG: Tensor | None = None) -> Tensor:
        """Returns log p(z), [N]."""
        return self.of(len(z_NL)).log_prob(Draw(z_NL[None], lambda: torch.zeros(()), codes=codes_NG))[0]

    def mass(self) -> Tensor:
        """Returns the probability of each cell by the midpoint rule, [CELLS,CELLS]."""
        width = 2 * EDGE / (CELLS * FINE)
        axis = -EDGE + width * (torch.arange(CELLS * FINE) + 0.5)
        density = self.log_prob(torch.cartesian_prod(axis, axis)).double().exp() * width**2
        return density.view(CELLS, FINE, CELLS, FINE).sum((1, 3))

    def of_sequences(self) -> Tensor:
        """Returns the probability of each sequence of codes."""
        sequences = every_sequence()
        return self.log_prob(torch.zeros(len(sequences), PIECES), sequences).double().exp()


def prior_case(prior: Any, of_codes: bool, **parts: Any) -> PriorCase:
    """Returns a prior beside a posterior that it goes with."""
    if of_codes:
        quantized = {"kind": "vector_quantized", "codes": CODES, "code_dim": 1}
        parts = {**parts, "latent_dim": PIECES, "posterior": quantized}
    return PriorCase(small_model(0.2, **{**parts, "prior": prior}))


def every_sequence() -> Tensor:
    """Returns all sequences of codes, [CODES**PIECES,G]."""
    return torch.tensor(list(itertools.product(range(CODES), repeat=PIECES)))


def the_prior_integrates_to_one(case: PriorCase) -> None:
    """Checks the density over a grid that holds all but a thousandth of it."""
    total = case.mass().sum().item()
    expect(abs(total - 1) <= 2e-3, "a density that integrates to 1", f"{total:.4g}")


def draws_come_from_the_prior(case: PriorCase) -> None:
    """Checks that a cell's frequency among many draws is the integral of the density over it, within 5 standard errors."""
    probability = case.mass()
    cells_NL = ((case.sample() + EDGE) * CELLS / (2 * EDGE)).floor().long()
    inside_NL = cells_NL[((cells_NL >= 0) & (cells_NL < CELLS)).all(1)]
    frequency = torch.bincount(inside_NL @ torch.tensor([CELLS, 1]), minlength=CELLS**2).view(CELLS, CELLS) / DRAWS
    _expect_frequencies(frequency, probability, 2e-4)


def _expect_frequencies(frequency: Tensor, probability: Tensor, slack: float) -> None:
    apart, allowed = (frequency - probability).abs(), 5 * (probability * (1 - probability) / DRAWS).sqrt() + slack
    found = f"frequencies that are up to {apart.max().item():.3g} apart"
    expect((apart <= allowed).all(), f"{DRAWS:,} draws to have the probabilities of log_prob", found)


def a_draw_is_a_function_of_its_noise(case: PriorCase) -> None:
    """Checks that each row of noise is one latent: alone it gives the same one, and no two give the same."""
    noise = torch.randn(9, case.model.prior.noise_dim, generator=generator())
    with torch.no_grad():
        together = case.of(9).sample(noise)
        expect_close("a row of noise to give the same latent alone", case.of(1).sample(noise[4:5]), together[4:5])
    distinct = len(together.unique(dim=0))
    expect(distinct == 9, "9 latents from 9 rows of noise", distinct)


def probabilities_of_code_sequences_sum_to_one(case: PriorCase) -> None:
    """Checks all 27 sequences of three codes; none may be impossible."""
    probability = case.of_sequences()
    total = probability.sum().item()
    expect(abs(total - 1) <= 1e-6, "probabilities of all sequences of codes that sum to 1", f"{total:.7g}")
    expect((probability > 0).all(), "every sequence of codes to be possible", "one of probability 0")


def drawn_codes_come_from_their_probabilities(case: PriorCase) -> None:
    """Checks that each sequence's frequency among many draws is its probability, within 5 standard errors."""
    places = CODES ** torch.arange(PIECES - 1, -1, -1)
    frequency = torch.bincount(case.sample() @ places, minlength=CODES**PIECES) / DRAWS
    _expect_frequencies(frequency, case.of_sequences(), 0.0)


DENSITY_LAWS: tuple[Callable[[PriorCase], None], ...] = (
    the_prior_integrates_to_one,
    draws_come_from_the_prior,
    a_draw_is_a_function_of_its_noise,
)
CODE_LAWS: tuple[Callable[[PriorCase], None], ...] = (
    probabilities_of_code_sequences_sum_to_one,
    drawn_codes_come_from_their_probabilities,
)


# --- posteriors -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PosteriorCase:
    """The posteriors of three examples, in two dimensions."""

    model: VAE
    posterior: Posterior
    prior: Prior

    def draw(self, noise_SBN: Tensor) -> Draw:
        """Returns draws of the posteriors."""
        return self.posterior.draw(noise_SBN, self.prior)

    def noise(self, samples: int, seed: int = 0) -> Tensor:
        """Returns noise for draws, [S,B,N]."""
        return torch.randn(samples, ROWS, self.model.noise_dim, generator=generator(seed))


def posterior_case(posterior: Any, **parts: Any) -> PosteriorCase:
    """Returns the posteriors of a model."""
    model = small_model(0.3, **{**parts, "posterior": posterior})
    condition = torch.eye(ROWS)
    with torch.no_grad():
        inferred = model.encode(Inputs(torch.rand(ROWS, 1, 2, 2, generator=generator(7)), condition=condition))
    return PosteriorCase(model, inferred, model.prior_of(condition))


def draws_come_from_the_posterior(case: PosteriorCase) -> None:
    """Checks E_q[f / q] = ∫ f = 1 for Gaussians f between the mean and some draws, narrow enough to lie within q."""
    with torch.no_grad():
        draw = case.draw(case.noise(DRAWS))
        log_q_SB, z_SBL = draw.log_prob(), draw.z
    for z_BL in z_SBL[:4]:
        f = Gaussian((z_SBL.mean(0) + z_BL) / 2, (0.3 * z_SBL.std(0)).log())
        ratio_SB = (f.log_prob(z_SBL) - log_q_SB).double().exp()
        mean_B, std_B = ratio_SB.mean(0), ratio_SB.std(0)
        error = ((mean_B - 1) / (std_B / math.sqrt(DRAWS))).abs().max()
        found = f"a mean of {mean_B[(mean_B - 1).abs().argmax()].item():.4g}"
        expect(error < 5, "draws whose log_prob is their density: E[f / q] = 1", found)
        expect(std_B.max() < 8, "draws whose log_prob is their density: f / q that hardly varies", found)


def the_mean_is_where_draws_are(case: PosteriorCase) -> None:
    """Checks that `mean` is within half a standard deviation of the mean of draws, and that it is the draw of noise 0."""
    with torch.no_grad():
        draws, mean_BL = case.draw(case.noise(DRAWS)).z, case.posterior.mean
        apart = ((mean_BL - draws.mean(0)).abs() / draws.std(0)).max().item()
        expect(apart < 0.5, "`mean` within half a standard deviation of the mean of draws", f"{apart:.3g} of them")
        expect_close("the draw of noise 0 to be `mean`", case.draw(0 * case.noise(1)).z[0], mean_BL)


POSTERIOR_LAWS: tuple[Callable[[PosteriorCase], None], ...] = (
    draws_come_from_the_posterior,
    the_mean_is_where_draws_are,
)
