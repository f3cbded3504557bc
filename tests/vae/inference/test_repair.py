"""Repair: noise is removed and gaps are filled as exact models say."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch

from tests.vae import ppca
from tests.vae.inference.small import LATENT, build, images
from vae import inference
from vae.config import ModelConfig
from vae.data.schema import Column
from vae.inference import repair
from vae.inference.coding import draws_of
from vae.inference.estimates import WeightedMoments
from vae.inference.importance import weighted_draws
from vae.model import VAE, ExampleSpec
from vae.parts.likelihoods.categorical import CategoryFamily
from vae.parts.likelihoods.gaussian import Gaussian
from vae.parts.terms import Inputs


def test_denoised_is_the_mean_over_draws_with_their_spread() -> None:
    """Mean and spread of a mixture of the decoder's answers, by brute force on the same draws in one piece."""
    model = build(Gaussian(sigma="learned", initial_sigma=0.3))
    x = images(3)
    found = inference.denoise(model, x, num_samples=6, seed=4)
    with torch.no_grad():
        noise_SNL = draws_of(x.x, 4, "denoise").next().normal_samples(range(6), range(3), LATENT)
        outputs = model(x, noise_SNL).outputs
        mean, std = model.likelihood.mean(outputs), model.likelihood.std(outputs)
    torch.testing.assert_close(found.mean, mean.mean(0))
    torch.testing.assert_close(found.std, (std.square().mean(0) + mean.var(0, correction=0)).sqrt())


def gappy(rows: int = 64) -> tuple[ppca.Ppca, Inputs, torch.Tensor, torch.Tensor]:
    """A linear-Gaussian model with a posterior too wide, rows of which three values are missing, and the exact mean and
    standard deviation of those given the rest, [N,3].
    """
    made = ppca.build(gap=0.7)
    x_ND = made.evidence.sample((rows,))
    observed = torch.tensor([True, False, True, True, False, False])
    covariance = made.evidence.covariance_matrix
    cross, there = covariance[~observed][:, observed], covariance[observed][:, observed]
    gain = cross @ torch.linalg.inv(there)
    std = (covariance[~observed][:, ~observed] - gain @ cross.T).diagonal().sqrt()
    seen = observed.view(ppca.SHAPE).expand(rows, *ppca.SHAPE)
    return made, Inputs(x_ND.view(-1, *ppca.SHAPE), seen), x_ND[:, observed] @ gain.T, std.expand(rows, 3)


def test_imputed_is_the_conditional_mean() -> None:
    """Against the closed form of a linear-Gaussian model: mean and standard deviation of what is missing given the rest."""
    torch.manual_seed(0)
    made, inputs, mean, std = gappy()
    found = inference.impute(made.model, inputs, num_samples=20_000)
    hidden = ~inputs.observed  # pyright: ignore[reportOptionalOperand]
    torch.testing.assert_close(found.mean[hidden].view(-1, 3), mean, atol=0.12, rtol=0)
    torch.testing.assert_close(found.std[hidden].view(-1, 3), std, atol=0.08, rtol=0)
    assert torch.equal(found.mean[~hidden], inputs.x[~hidden])


def test_imputations_are_distributed_as_the_missing_values_are() -> None:
    """Standardised by the exact conditional moments, many imputations have mean 0, variance 1 and normal quantiles."""
    torch.manual_seed(0)
    made, inputs, mean, std = gappy(256)
    many = inference.impute_many(made.model, inputs, 20, num_samples=500).values
    hidden = ~inputs.observed[:, None].expand_as(many)  # pyright: ignore[reportOptionalSubscript]
    noise = (many[hidden].view(256, 20, 3) - mean[:, None]) / std[:, None]
    assert noise.mean().abs() < 0.05
    assert noise.var().item() == pytest.approx(1, abs=0.1)
    assert (noise.abs() < 1.645).float().mean().item() == pytest.approx(0.9, abs=0.02)


def test_imputed_category_is_the_most_probable_one() -> None:
    """Probabilities are averaged over draws, not codes: of 0 and 2 the answer is never 1 for being in between."""
    columns = (Column("a", ("x", "y", "z")), Column("b"))
    parts = {"encoder": {"kind": "table", "hidden": [4]}, "likelihood": {"kind": "mixed"}, "latent_dim": 1}
    model = VAE(ModelConfig.model_validate(parts), ExampleSpec((2,), None, columns)).eval()
    moments = WeightedMoments(model.likelihood, 1)
    chances = torch.tensor([[0.5, 0.1, 0.4], [0.1, 0.1, 0.8]])
    outputs = torch.zeros(2, 1, *model.likelihood.outputs_shape)
    group = next(
        number for number, family in enumerate(model.likelihood.families) if isinstance(family, CategoryFamily)
    )
    start = sum(model.likelihood.num_outputs[:group])
    outputs[:, 0, start : start + 3] = chances.log()
    moments.add(outputs[:1], torch.zeros(1, 1))
    moments.add(outputs[1:], torch.tensor([[math.log(3)]]))
    found = moments.estimate()
    average = (chances[0] + 3 * chances[1]) / 4
    assert found.mean[0, 0] == average.argmax()
    assert found.std[0, 0].item() == pytest.approx(math.sqrt(1 - average.max()), abs=1e-5)


def test_probabilities_of_categories_are_those_of_a_loop_over_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mode and spread equal those from log p of one code after the other; the likelihood is not asked code by code."""
    columns = (Column("a", tuple("xyz")), Column("b"), Column("c", tuple("vwxyz")), Column("d", tuple("xyz")))
    parts = {"encoder": {"kind": "table", "hidden": [4]}, "likelihood": {"kind": "mixed"}, "latent_dim": 1}
    likelihood = VAE(ModelConfig.model_validate(parts), ExampleSpec((4,), None, columns)).eval().likelihood
    generator = torch.Generator().manual_seed(0)
    outputs = 3 * torch.randn(40, 6, *likelihood.outputs_shape, generator=generator)
    log_weight = torch.randn(40, 6, generator=generator)
    weight = log_weight.softmax(0)
    chances = torch.zeros(5, 6, 4)
    for code in range(5):
        codes = torch.tensor([min(code, 2), 0, code, min(code, 2)]).float().expand(6, 4)
        chances[code] = torch.einsum("sn,snd->nd", weight, likelihood.log_prob_entries(codes, outputs).exp())
    chances[3:, :, [0, 3]] = 0  # which have three categories
    calls: list[int] = []
    monkeypatch.setattr(CategoryFamily, "log_prob", lambda *_: calls.append(1))
    moments = WeightedMoments(likelihood, 6)
    for part in (slice(0, 7), slice(7, 40)):
        moments.add(outputs[part], log_weight[part])
    found = moments.estimate()
    largest, mode = chances[..., [0, 2, 3]].max(0)
    torch.testing.assert_close(found.mean[:, [0, 2, 3]], mode.float())
    torch.testing.assert_close(found.std[:, [0, 2, 3]], (1 - largest).sqrt(), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.effective_draws, 1 / weight.square().sum(0))
    assert not calls


def spoilt() -> tuple[ppca.Ppca, Inputs, torch.Tensor, torch.Tensor]:
    """As `gappy`, with an encoder that is off by five standard deviations of the posterior, and half as wide as that."""
    made, inputs, mean, std = gappy()
    bias = made.model.posterior.head.bias
    assert isinstance(bias, torch.Tensor)
    with torch.no_grad():
        bias[ppca.LATENT :].sub_(1.4)
        bias[: ppca.LATENT].add_(10 * bias[ppca.LATENT :].exp())
    return made, inputs, mean, std


def test_imputation_is_right_where_the_encoder_is_wrong() -> None:
    """Conditional mean and spread are exact to a few per cent with proposals that are improved, and wrong without."""
    torch.manual_seed(0)
    made, inputs, mean, std = spoilt()
    hidden = ~inputs.observed  # pyright: ignore[reportOptionalOperand]
    plain = inference.impute(made.model, inputs, num_samples=300, improve=False)
    found = inference.impute(made.model, inputs, num_samples=300)
    errors = [((each.mean[hidden].view(-1, 3) - mean) / std).square().mean().sqrt() for each in (plain, found)]
    assert errors[0] > 0.4
    assert errors[1] < 0.1
    assert (plain.std[hidden].view(-1, 3) / std - 1).abs().max() > 0.2
    torch.testing.assert_close(found.std[hidden].view(-1, 3), std, atol=0, rtol=0.15)
    assert plain.effective_draws.median() < 10
    assert found.effective_draws.min() > 50


def test_intervals_are_right_where_the_encoder_is_wrong() -> None:
    """90 % of the truth lies within the 90 % intervals of multiple imputations, where the posterior is far too narrow."""
    torch.manual_seed(0)
    made, inputs, mean, std = spoilt()
    hidden = ~inputs.observed  # pyright: ignore[reportOptionalOperand]
    many = inference.impute_many(made.model, inputs, 40, num_samples=300)
    noise = (many.values[hidden[:, None].expand_as(many.values)].view(64, 40, 3) - mean[:, None]) / std[:, None]
    assert (noise.abs() < 1.645).float().mean().item() == pytest.approx(0.9, abs=0.02)
    assert many.effective_draws.min() > 40


def test_rows_without_gaps_get_no_more_draws() -> None:
    """Where nothing is missing nothing is improved: the decoder sees as many latents as were asked for."""
    made, inputs, _, _ = spoilt()
    decoded: list[int] = []
    made.model.decoder.register_forward_pre_hook(lambda _, arguments: decoded.append(len(arguments[0])))
    for observed in (None, torch.ones_like(inputs.x, dtype=torch.bool)):
        inference.impute(made.model, inputs._replace(observed=observed), num_samples=30)
    assert sum(decoded) < 2 * 31 * 64


def test_good_rows_keep_the_draws_of_the_posterior() -> None:
    """A row with enough effective draws is estimated from the posterior's draws alone, whatever is done for others."""
    made, inputs, _, _ = gappy()
    plain = inference.impute(made.model, inputs, num_samples=2000, improve=False)
    found = inference.impute(made.model, inputs, num_samples=2000)
    good = plain.effective_draws >= 50
    assert good.any()
    assert torch.equal(found.mean[good], plain.mean[good])


def test_imputations_do_not_depend_on_how_many_draws_come_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """One draw at a time, each stays in place of the earlier ones with the chance of its weight among them: standardised
    by the exact conditional moments, the imputations have mean 0 and variance 1, where the proposal has variance 2.
    """
    torch.manual_seed(0)
    made, inputs, mean, std = gappy(256)
    monkeypatch.setattr(repair, "weighted_draws", partial(weighted_draws, max_rows=256))
    many = inference.impute_many(made.model, inputs, 20, num_samples=200).values
    hidden = ~inputs.observed[:, None].expand_as(many)  # pyright: ignore[reportOptionalSubscript]
    noise = (many[hidden].view(256, 20, 3) - mean[:, None]) / std[:, None]
    assert noise.mean().abs() < 0.05
    assert noise.var().item() == pytest.approx(1, abs=0.1)
