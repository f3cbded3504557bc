"""Missing entries filled in from those that are there.

References:
    Mattei & Frellsen, MIWAE: Deep Generative Modelling and Imputation of Incomplete Data Sets (2019), section 3.
    https://arxiv.org/abs/1812.02633
"""

from __future__ import annotations

import torch
from torch import Tensor

from vae.importance import weighted_draws
from vae.inference.coding import generator_of
from vae.inference.estimates import Estimate, WeightedMoments
from vae.model import VAE, Inputs


@torch.no_grad()
def impute(model: VAE, inputs: Inputs, *, num_samples: int = 1000, seed: int = 0) -> Estimate:
    """One value for every missing entry: the conditional mean E[x|x_observed], of categories the conditional mode.

    By self-normalised importance sampling, Σ w E[x|z] / Σ w with w = p(x_observed|z) p(z) / q(z|x_observed) (eq. 12).
    Observed entries stay, with a standard deviation of 0.

    Args:
        model: Trained with missing entries.
        inputs: Rows with what is observed of them.
        num_samples: Draws for each row.
        seed: Of the draws.
    """
    moments = WeightedMoments(model.likelihood, model.examples)
    generator = generator_of(inputs.x, seed, "impute")
    for terms in weighted_draws(model, inputs, num_samples=num_samples, generator=generator):
        moments.add(terms.outputs, terms.log_weight)
    mean, std = moments.estimate()
    if inputs.observed is None:
        return Estimate(inputs.x, torch.zeros_like(std))
    return Estimate(torch.where(inputs.observed, inputs.x, mean), std.masked_fill(inputs.observed, 0))


@torch.no_grad()
def impute_many(model: VAE, inputs: Inputs, count: int, *, num_samples: int = 1000, seed: int = 0) -> Tensor:
    """Several whole rows for each, as plausible as the model knows: multiple imputations, [N,count,*shape].

    By sampling importance resampling: `count` of the latents, drawn again by their weights, and for each a draw of the
    likelihood (section 3.2). Observed entries stay in all of them. The arguments are those of `impute`.
    """
    generator = generator_of(inputs.x, seed, "impute")
    rows, total_N = len(inputs.x), torch.full((len(inputs.x),), -torch.inf, device=inputs.x.device)
    z_CNL = inputs.x.new_zeros(count, rows, model.config.latent_dim)
    # Each of the `count` places holds one of the latents so far, with the chance that its weight has among them.
    for terms in weighted_draws(model, inputs, num_samples=num_samples, generator=generator):
        here_N = terms.log_weight.logsumexp(0)
        total_N = torch.logaddexp(total_N, here_N)
        chance_NS = (terms.log_weight - here_N).exp().T
        index_CN = torch.multinomial(chance_NS, count, replacement=True, generator=generator).T
        candidate_CNL = terms.z[index_CN, torch.arange(rows, device=index_CN.device)]
        uniform_CN = torch.rand(count, rows, generator=generator, device=inputs.x.device)
        z_CNL = torch.where((uniform_CN < (here_N - total_N).exp())[..., None], candidate_CNL, z_CNL)
    drawn = [_draw(model, inputs, z_NL, generator) for z_NL in z_CNL]
    return torch.stack(drawn, dim=1)


def _draw(model: VAE, inputs: Inputs, z_NL: Tensor, generator: torch.Generator) -> Tensor:
    """A draw of p(x|z) [N,*shape] where nothing was observed, and what was observed elsewhere."""
    outputs = model.decode(z_NL[None], inputs.condition, inputs.log_beta)[0]
    drawn = model.likelihood.sample(outputs, generator)
    return inputs.x.clone() if inputs.observed is None else torch.where(inputs.observed, inputs.x, drawn)
