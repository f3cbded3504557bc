"""Conditional means and multiple imputations of a table's missing entries.

Shapes: S draws, N rows, M imputations, D columns, L latent.

References:
    Mattei & Frellsen, MIWAE (2019), section 3. https://arxiv.org/abs/1812.02633
"""

from __future__ import annotations

import torch
from torch import Tensor

from vae.importance import weighted_draws
from vae.model import VAE, Inputs


@torch.no_grad()
def impute(model: VAE, inputs: Inputs, *, num_samples: int, seed: int) -> Tensor:
    """E[x|x_observed] by self-normalised importance sampling (eq. 12), of categories the most probable code, [N,D].

    Observed entries stay.
    """
    assert inputs.observed is not None, "a table's inputs say what is observed"
    columns = model.examples.columns or ()
    sizes = [len(column.categories or ()) for column in columns]
    sizes_D = torch.tensor(sizes, device=inputs.x.device)
    most_N = torch.full((len(inputs.x),), -torch.inf, device=inputs.x.device)
    total_N, mean_ND = torch.zeros_like(most_N), torch.zeros_like(inputs.x)
    chances = inputs.x.new_zeros(max(sizes), *inputs.x.shape)
    for terms in weighted_draws(model, inputs, num_samples=num_samples, generator=_generator(inputs, seed)):
        outputs = model.decode(terms.z, inputs.condition)
        before_N, most_N = most_N, torch.maximum(most_N, terms.log_weight.amax(0))
        shrink_N, weight_SN = torch.exp(before_N - most_N), torch.exp(terms.log_weight - most_N)
        total_N = total_N * shrink_N + weight_SN.sum(0)
        mean_ND = mean_ND * shrink_N[:, None] + _weighed(weight_SN, model.likelihood.mean(outputs))
        for code in range(len(chances)):
            codes_D = (sizes_D - 1).clamp(0, code).to(inputs.x.dtype)
            chance_SND = model.likelihood.log_prob_entries(codes_D.expand_as(inputs.x), outputs).exp()
            chances[code] = chances[code] * shrink_N[:, None] + _weighed(weight_SN, chance_SND) * (sizes_D > code)
    mean_ND = mean_ND / total_N[:, None]
    if len(chances):
        mean_ND = torch.where(sizes_D > 0, chances.argmax(0).to(mean_ND.dtype), mean_ND)
    return torch.where(inputs.observed, inputs.x, mean_ND)


@torch.no_grad()
def impute_many(model: VAE, inputs: Inputs, count: int, *, num_samples: int, seed: int) -> Tensor:
    """Draws of p(x|z) at latents that are drawn again by their weights (section 3.2), [N,M,D]. Observed entries stay."""
    assert inputs.observed is not None, "a table's inputs say what is observed"
    generator = _generator(inputs, seed)
    chunks = list(weighted_draws(model, inputs, num_samples=num_samples, generator=generator))
    z_SNL, log_weight_SN = torch.cat([terms.z for terms in chunks]), torch.cat([terms.log_weight for terms in chunks])
    index_MN = torch.multinomial(log_weight_SN.softmax(0).T, count, replacement=True, generator=generator).T
    drawn = []
    for index_N in index_MN:
        z_NL = z_SNL[index_N, torch.arange(len(index_N), device=index_N.device)]
        sample_ND = model.likelihood.sample(model.decode(z_NL[None], inputs.condition)[0], generator)
        drawn.append(torch.where(inputs.observed, inputs.x, sample_ND))
    return torch.stack(drawn, 1)


def _generator(inputs: Inputs, seed: int) -> torch.Generator:
    return torch.Generator(inputs.x.device).manual_seed(seed)


def _weighed(weight_SN: Tensor, values_SND: Tensor) -> Tensor:
    return torch.einsum("sn,snd->nd", weight_SN, values_SND)
