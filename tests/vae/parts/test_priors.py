"""Priors one by one: what holds for a single kind. What holds for all is in `tests/laws/test_prior_laws.py`."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from vae.config import ModelConfig, parse
from vae.data.schema import ExampleSpec
from vae.draws import RowDraws
from vae.model import VAE
from vae.parts.distributions import Gaussian, Mixture, choose
from vae.parts.posteriors.posterior import Draw, GaussianPosterior
from vae.parts.priors.autoregressive_codes import AutoregressiveCodesPrior
from vae.parts.priors.hierarchical import HierarchicalPriorModule
from vae.parts.priors.standard_normal import StandardNormalPrior
from vae.parts.priors.vamp import VampPrior
from vae.parts.terms import Inputs
from vae.seeds import Stream

SHAPE, COMPONENTS = (1, 4, 4), 5


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Of weights of modules that are made alone; a model has a seed of its own."""
    torch.manual_seed(0)


def vamp(**changes: Any) -> VAE:
    config = {
        "latent_dim": 2,
        "encoder": {"kind": "mlp", "hidden": [8]},
        "prior": {"kind": "vamp", "components": COMPONENTS},
        **changes,
    }
    return VAE(parse(ModelConfig, config), ExampleSpec(SHAPE, ("a", "b"))).eval()


def data(model: VAE, rows: int = COMPONENTS) -> Inputs:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (rows, *SHAPE), generator=generator, dtype=torch.uint8)
    return model.inputs(pixels, torch.arange(rows) % 2, draws=RowDraws(0, Stream.STEP))


def at(z_SBL: Tensor) -> Draw:
    return Draw(z_SBL, lambda: torch.zeros(()))


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
@pytest.mark.parametrize("condition", [{}, {"condition": "class"}, {"condition": "class", "condition_by": "film"}])
def test_vamp_of_the_data_is_the_aggregate_posterior(likelihood: str, condition: dict[str, str]) -> None:
    """Trap, VampPrior: with the data as pseudo-inputs p(z) = 1/N Σ q(z|x_n), each x_n under its own condition."""
    model = vamp(likelihood={"kind": likelihood}, **condition)
    inputs, z_SBL = data(model), normal(7, 3, 2)
    model.start_at(inputs)
    q = model.encode(inputs)
    normals = torch.distributions.Normal(q.mean, q.std())
    expected = normals.log_prob(z_SBL[:, :, None]).sum(-1).logsumexp(-1) - math.log(COMPONENTS)
    condition_3K = None if inputs.condition is None else inputs.condition[:3]
    torch.testing.assert_close(model.prior_of(condition_3K).log_prob(at(z_SBL)), expected)


def test_vamp_starts_at_examples_as_the_model_takes_them() -> None:
    """Trap, VampPrior: pseudo-inputs begin as the first examples after the model's own transform, bit for bit."""
    for likelihood in ("bernoulli", "gaussian"):
        model = vamp(likelihood={"kind": likelihood})
        inputs = data(model, rows=COMPONENTS + 3)
        assert model.num_starting_examples == COMPONENTS
        model.start_at(inputs)
        assert torch.equal(model.prior.inputs(), inputs.x[:COMPONENTS])


def test_vamp_parameters_are_registered_once() -> None:
    """Trap, VampPrior: the encoder it borrows is not its own; the prior has its pseudo-inputs and nothing else."""
    model = vamp()
    assert [name for name, _ in model.prior.named_parameters()] == ["pseudo_inputs"]
    every = [id(parameter) for parameter in model.parameters()]
    assert len(every) == len(set(every))
    assert len(every) == len(list(model.named_parameters(remove_duplicate=False)))


def test_vamp_teaches_encoder_and_pseudo_inputs() -> None:
    """The gradient of log p(z) reaches both, through the encoder that the prior borrows."""
    model = vamp()
    model.prior_of().log_prob(at(normal(1, 3, 2))).sum().backward()
    assert all(
        p.grad is not None and p.grad.abs().sum() > 0 for p in [*model.encoder.parameters(), *model.prior.parameters()]
    )


def test_vamp_pseudo_images_stay_in_the_range_of_pixels() -> None:
    """Wherever an optimiser takes them, the encoder sees values in [0, 1]."""
    prior = VampPrior(3, 2, SHAPE, 0)
    torch.nn.init.normal_(prior.pseudo_inputs, std=5.0, generator=torch.Generator().manual_seed(0))
    assert 0 <= prior.inputs().min() <= prior.inputs().max() <= 1


def test_choose_gives_each_index_its_probability() -> None:
    """Over an even grid of quantiles each index comes as often as its weight says, and one of weight 0 never."""
    weights = torch.tensor([0.5, 0.0, 0.2, 0.3])
    quantiles = torch.special.ndtri((torch.arange(1000) + 0.5) / 1000)
    assert torch.bincount(choose(weights.log(), quantiles), minlength=4).tolist() == [500, 0, 200, 300]


def test_choose_takes_weights_for_each_row() -> None:
    """Weights [B,K] are each row's own."""
    weights = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).repeat(50, 1)
    assert choose(weights.log(), normal(100)).tolist() == [0, 1] * 50


@pytest.mark.parametrize("noise", [-40.0, 40.0])
def test_choose_keeps_to_the_range_at_the_ends(noise: float) -> None:
    """Noise so far out that its quantile is rounded to 0 or 1 gives the first or the last index, also where rounding
    leaves the sum of the weights below 1.
    """
    for count in range(2, 60):
        log_weights = torch.full((count,), 1 / count).log()
        assert choose(log_weights, torch.tensor([noise])).item() == (0 if noise < 0 else count - 1)


def test_mixture_samples_each_component_as_often_as_its_weight() -> None:
    """Of components far apart, the share of draws near each is its weight, and their spread its own."""
    weights, stds = torch.tensor([0.6, 0.1, 0.3]), torch.tensor([0.5, 1.0, 2.0])
    means = torch.tensor([[-50.0, 0.0], [0.0, 50.0], [50.0, 0.0]])
    z_NL = Mixture(weights.log(), Gaussian(means, stds.log()[:, None].expand(3, 2))).sample(normal(20_000, 3))
    nearest = torch.cdist(z_NL, means).argmin(-1)
    shares = torch.bincount(nearest, minlength=3) / len(z_NL)
    torch.testing.assert_close(shares, weights, atol=0.015, rtol=0)
    for component in range(3):
        found = z_NL[nearest == component]
        torch.testing.assert_close(found.std(0), stds[component].expand(2), rtol=0.05, atol=0)
        torch.testing.assert_close(found.mean(0), means[component], atol=0.15, rtol=0)


def test_mixture_density_matches_torch_distributions() -> None:
    """An independent implementation of the same mixture."""
    log_weights, means, log_stds = normal(3).log_softmax(-1), normal(3, 2, seed=1), normal(3, 2, seed=2)
    expected = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(logits=log_weights),
        torch.distributions.Independent(torch.distributions.Normal(means, log_stds.exp()), 1),
    )
    z_SBL = normal(4, 5, 2, seed=3)
    found = Mixture(log_weights, Gaussian(means, log_stds)).log_prob(z_SBL)
    torch.testing.assert_close(found, expected.log_prob(z_SBL), rtol=1e-4, atol=1e-4)


def test_mixture_density_is_exact_for_narrow_components() -> None:
    """The squares are multiplied out, and yet a spread of 0.001 a distance of 50 from the centre loses no digits."""
    means = torch.tensor([[50.0, 0.0], [-50.0, 0.0]])
    components = Gaussian(means, torch.full((2, 2), math.log(1e-3)))
    z_SBL = (means[0].double() + 1e-3 * normal(1, 4, 2).double()).float()
    exact = (z_SBL.double() - means[0].double()).div(1e-3).square().sum(-1).mul(-0.5) - 2 * math.log(1e-3)
    expected = exact - math.log(2 * math.pi) - math.log(2)
    found = Mixture(torch.full((2,), 0.5).log(), components).log_prob(z_SBL)
    torch.testing.assert_close(found, expected.float(), rtol=1e-4, atol=1e-3)


def test_temperature_leaves_the_choice_of_a_component_alone() -> None:
    """Near 0 each draw is the mean of the component that it was at temperature 1."""
    means = torch.tensor([[-50.0, 0.0], [0.0, 50.0], [50.0, 0.0]])
    mixture = Mixture(torch.full((3,), 1 / 3).log(), Gaussian(means, torch.zeros(3, 2)))
    noise = normal(64, 3)
    nearest = means[torch.cdist(mixture.sample(noise), means).argmin(-1)]
    torch.testing.assert_close(mixture.sample(noise, temperature=1e-6), nearest, atol=1e-3, rtol=0)
    assert len(nearest.unique(dim=0)) == 3


def test_temperature_sharpens_codes() -> None:
    """Near 0 every code is the likeliest given those before, whatever the noise."""
    prior = AutoregressiveCodesPrior(5, 4, 8)
    with torch.no_grad():
        codes_BG = prior.sample(normal(32, 4), temperature=1e-6)
        first = prior.head(prior.recurrent(prior.embedding(torch.tensor([[5]])))[0]).argmax(-1)
    assert len(codes_BG.unique(dim=0)) == 1
    assert codes_BG[0, 0] == first
    assert len(prior.sample(normal(32, 4)).unique(dim=0)) > 16


def test_standard_normal_kl_matches_torch_distributions() -> None:
    """Of each dimension in closed form; tiny and huge spreads stay finite."""
    mean, log_std = normal(3, 4), torch.linspace(-8, 8, 12).view(3, 4)
    kl = StandardNormalPrior(4).kl(GaussianPosterior(mean, log_std), at(mean[None]))
    expected = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean, log_std.exp()), torch.distributions.Normal(0.0, 1.0)
    )
    assert kl is not None
    torch.testing.assert_close(kl[0], expected, rtol=1e-4, atol=1e-4)


def test_hierarchical_density_is_the_chain_rule() -> None:
    """Log p(z) = log N(z_1; 0, I) + log p(z_2 | z_1): the lower group depends on the top one, never the other way."""
    prior, z_SBL = HierarchicalPriorModule(2, 8, 4), normal(3, 2, 4)
    with torch.no_grad():
        lower = prior.group(1, z_SBL[..., :2])
        expected = torch.distributions.Normal(0.0, 1.0).log_prob(z_SBL[..., :2]).sum(-1) + lower.log_prob(
            z_SBL[..., 2:]
        )
        torch.testing.assert_close(prior.log_prob(at(z_SBL)), expected)
        shifted = prior.sample(normal(3, 4) + torch.tensor([0.0, 0, 1, 1]))
        assert torch.equal(shifted[:, :2], normal(3, 4)[:, :2])
