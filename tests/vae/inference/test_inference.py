"""Inference: what a trained model gives, and that it gives it again."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tests.vae import ppca
from vae import inference
from vae.config import ModelConfig
from vae.data.schema import Column
from vae.errors import ConfigError
from vae.inference import coding, importance
from vae.inference.estimates import WeightedMoments
from vae.inference.paths import spherical
from vae.model import VAE, ExampleSpec
from vae.parts.aggregate import fit_aggregate
from vae.parts.bodies.mlp import MLP
from vae.parts.directions import Directions, fit_directions
from vae.parts.likelihoods import LikelihoodConfig
from vae.parts.likelihoods.bernoulli import Bernoulli
from vae.parts.likelihoods.categorical import CategoryFamily
from vae.parts.likelihoods.gaussian import Gaussian
from vae.parts.terms import Inputs

SHAPE = (1, 4, 4)
LATENT = 3


def build(likelihood: LikelihoodConfig | None = None, classes: int = 0) -> VAE:
    config = ModelConfig(
        latent_dim=LATENT,
        encoder=MLP(hidden=(16,)),
        likelihood=likelihood or Gaussian(),
        condition="class" if classes else "none",
    )
    return VAE(config, ExampleSpec(SHAPE, tuple("abc"[:classes]) or None)).eval()


def images(rows: int = 6) -> Inputs:
    return Inputs(torch.rand(rows, *SHAPE, generator=torch.Generator().manual_seed(0)))


def test_encode_gives_the_posterior() -> None:
    """Mean and standard deviation are those of q(z|x), the same every time."""
    model = build()
    posterior = model.encode(images())
    code = inference.encode(model, images())
    assert torch.equal(code.mean, posterior.mean)
    assert torch.equal(code.std, posterior.std())
    assert not code.mean.requires_grad


def test_reconstruct_decodes_the_posterior_mean() -> None:
    """A reconstruction is the likelihood's mean at the posterior mean, in [0, 1]."""
    model = build()
    expected = model.decode(model.encode(images()).mean[None])[0].sigmoid()
    found = inference.reconstruct(model, images())
    torch.testing.assert_close(found, expected)
    assert found.shape == (6, *SHAPE)
    assert 0 <= found.min() <= found.max() <= 1


@pytest.mark.parametrize("output", ["mean", "sample"])
def test_generate_repeats_for_a_seed(output: inference.Output) -> None:
    """The same seed gives the same bytes, another seed other images; the global generator plays no part."""
    model = build(Bernoulli())
    first = inference.generate(model, 5, seed=3, output=output)
    torch.manual_seed(99)
    assert torch.equal(inference.generate(model, 5, seed=3, output=output), first)
    assert not torch.equal(inference.generate(model, 5, seed=4, output=output), first)
    assert first.shape == (5, *SHAPE)


def test_generate_draws_pixels_around_the_mean() -> None:
    """A sample comes from the same latents as the mean: binary, and on average the mean."""
    model = build(Bernoulli())
    mean = inference.generate(model, 4000, seed=3)
    sample = inference.generate(model, 4000, seed=3, output="sample")
    assert set(sample.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(sample.mean(0), mean.mean(0), atol=0.05, rtol=0)


def test_temperature_scales_the_latent() -> None:
    """At temperature t the latent is t times that at 1; near 0 every image is the decoder's at the origin."""
    model = build()
    cold = inference.generate(model, 3, seed=0, temperature=1e-8)
    torch.testing.assert_close(cold, inference.decode(model, torch.zeros(3, LATENT)))
    warm = inference.generate(model, 64, seed=0).std(0).mean()
    assert inference.generate(model, 64, seed=0, temperature=2.0).std(0).mean() > 1.2 * warm


def test_tasks_use_the_condition() -> None:
    """Another class gives another code, decoding, generation and score."""
    model = build(classes=3)
    x, first, second = images(), torch.zeros(6, dtype=torch.int64), torch.ones(6, dtype=torch.int64)
    z = torch.zeros(6, LATENT)
    for task in (
        lambda condition: inference.encode(model, x._replace(condition=condition)).mean,
        lambda condition: inference.decode(model, z, condition),
        lambda condition: inference.reconstruct(model, x._replace(condition=condition)),
        lambda condition: inference.generate(model, 6, condition),
        lambda condition: inference.score(model, x._replace(condition=condition), num_samples=2),
    ):
        assert not torch.allclose(task(model.condition(first)), task(model.condition(second)))


def test_score_is_the_importance_sampled_evidence() -> None:
    """The score of grey pixels under a Gaussian is the estimate of log p(x), a draw that the seed repeats."""
    model = build(Gaussian(sigma="fixed"))
    score = inference.score(model, images(), num_samples=4000, seed=0)
    reference = importance.log_likelihood(model, images(), num_samples=4000, generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(score, reference, atol=0.2, rtol=0)
    assert torch.equal(score, inference.score(model, images(), num_samples=4000, seed=0))
    assert not torch.equal(score, inference.score(model, images(), num_samples=4000, seed=1))


def test_generate_from_the_aggregate_posterior() -> None:
    """Latents come from the fitted mixture: from one narrow component, every image is the decoder's at its mean."""
    model = build()
    z = np.random.default_rng(0).normal([2.0, -1.0, 0.5], 1e-3, (100, LATENT)).astype(np.float32)
    with pytest.raises(ConfigError, match=r"no mixture .* use the prior$"):
        inference.generate(model, 3, sampler="aggregate")
    model.aggregate = fit_aggregate(z, 1, seed=0)
    expected = inference.decode(model, torch.tensor([[2.0, -1.0, 0.5]]).expand(3, -1))
    torch.testing.assert_close(inference.generate(model, 3, sampler="aggregate"), expected, atol=0.02, rtol=0)


def test_temperature_reaches_the_aggregate_posterior() -> None:
    """Near 0 every latent is the mean of its component, however wide that is."""
    model = build()
    z = np.random.default_rng(0).normal([2.0, -1.0, 0.5], 3.0, (100, LATENT)).astype(np.float32)
    model.aggregate = fit_aggregate(z, 1, seed=0)
    found = inference.generate(model, 3, sampler="aggregate", temperature=1e-8)
    expected = inference.decode(model, torch.from_numpy(z.mean(0)).expand(3, -1))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_score_of_codes_is_the_bound() -> None:
    """Of a vector-quantised model: minus the distortion at the codes, minus log K for each of them."""
    quantized = {"kind": "vector_quantized", "codes": 8, "code_dim": 1}
    parts = {"latent_dim": LATENT, "encoder": {"kind": "mlp", "hidden": [8]}, "posterior": quantized}
    config = ModelConfig.model_validate({**parts, "prior": {"kind": "uniform_codes"}})
    model, x = VAE(config, ExampleSpec(SHAPE)).eval(), images()._replace(x=images().x.round())
    with torch.no_grad():
        outputs = model.decode(model.encode(x).mean[None])
        expected = model.likelihood.log_prob(x.x, outputs)[0] - LATENT * math.log(8)
    torch.testing.assert_close(inference.score(model, x), expected)


def test_every_draw_has_a_stream_of_its_own() -> None:
    """With one seed, latents, pixels and the other draws of a task come from different random numbers."""
    seeds = [
        inference.generator_of(torch.zeros(1), seed, draws).initial_seed() for seed in (0, 1) for draws in coding.DRAWS
    ]
    assert len(set(seeds)) == 2 * len(coding.DRAWS)


def test_edit_takes_the_method_that_is_asked_for() -> None:
    """Along the means or along the probe, so many steps."""
    model = build()
    model.directions = Directions(["size"], LATENT)
    model.directions.means[0], model.directions.probes[0] = torch.tensor([[1.0, 0, 0], [0, -2.0, 0]])
    mean = model.encode(images()).mean
    for method, direction in (("means", [1.0, 0, 0]), ("probe", [0, -2.0, 0])):
        expected = inference.decode(model, mean + 0.5 * torch.tensor(direction))
        torch.testing.assert_close(inference.edit(model, images(), "size", 0.5, method), expected)


def test_aggregate_posterior_is_refused_where_each_condition_has_its_own_latents() -> None:
    """A mixture that knows no condition would give a class another's latents."""
    config = ModelConfig.model_validate({"latent_dim": LATENT, "condition": "class", "prior": {"kind": "conditional"}})
    model = VAE(config, ExampleSpec(SHAPE, classes=("a", "b")))
    model.aggregate = fit_aggregate(np.zeros((20, LATENT), np.float32), 1, seed=0)
    with pytest.raises(ConfigError, match=r"conditional prior .* use the prior$"):
        inference.generate(model, 2, model.condition(torch.tensor([0, 1])), sampler="aggregate")


# --- estimates ------------------------------------------------------------------------------------------------------


def test_denoised_is_the_mean_over_draws_with_their_spread() -> None:
    """Mean and spread of a mixture of the decoder's answers, by brute force on the same draws in one piece."""
    model = build(Gaussian(sigma="learned", initial_sigma=0.3))
    x = images(3)
    found = inference.denoise(model, x, num_samples=6, seed=4)
    with torch.no_grad():
        generator = inference.generator_of(x.x, 4, "denoise")
        outputs = model(x, torch.randn(6, 3, LATENT, generator=generator)).outputs
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


# --- paths ----------------------------------------------------------------------------------------------------------


def bent() -> VAE:
    """A model whose decoder is far from linear."""
    model = build()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4)
    return model


def test_geodesic_is_no_longer_than_the_line() -> None:
    """Under the decoder's metric, row by row, and shorter for most; with the same ends."""
    model, first, second = bent(), images(8), Inputs(images(16).x[8:])
    line, geodesic = (inference.latent_path(model, first, second, 12, path) for path in ("linear", "geodesic"))
    lengths = [inference.path_length(model, path, first, second) for path in (line, geodesic)]
    assert (lengths[1] <= lengths[0]).all()
    assert (lengths[1] < 0.99 * lengths[0]).float().mean() > 0.5
    assert torch.equal(line[:, [0, -1]], geodesic[:, [0, -1]])


def test_spherical_path_keeps_to_the_sphere() -> None:
    """Between latents of one length every point has that length, and the angle grows evenly; the same point stays."""
    ends = torch.tensor([[3.0, 0.0, 0.0], [0.0, 3.0, 0.0]])
    path = spherical(ends[:1], ends[1:], 7)
    torch.testing.assert_close(path.norm(dim=-1), torch.full((1, 7), 3.0))
    angles = torch.atan2(path[0, :, 1], path[0, :, 0])
    torch.testing.assert_close(angles, torch.linspace(0, math.pi / 2, 7), atol=1e-5, rtol=0)
    torch.testing.assert_close(spherical(ends[:1], ends[:1], 5), ends[:1].expand(1, 5, 3))
    assert spherical(ends[:1], -ends[:1], 5).isfinite().all()


# --- directions and styles ------------------------------------------------------------------------------------------


def test_directions_are_those_that_made_the_latents() -> None:
    """Of z = 2·size·u + [class is b]·v + noise, with class and size correlated, each direction is told from the other."""
    generator = np.random.default_rng(0)
    label = generator.integers(2, size=20_000)
    size = generator.normal(size=20_000) * 3 + label
    u, v = np.array([1.0, 0, 0]), np.array([0, 1.0, 1.0])
    z = 2 * size[:, None] * u + label[:, None] * v + generator.normal(0, 0.3, (20_000, 3))
    columns = (Column("class", ("a", "b")), Column("size"), Column("same", ("only", "never")))
    values = np.stack([label, size, np.zeros(20_000)], axis=1).astype(np.float32)
    found = fit_directions(z.astype(np.float32), columns, values, np.zeros(3, np.float32))
    assert found.names == ("class=a", "class=b", "size")
    torch.testing.assert_close(
        found.of("size", "means"), torch.tensor([2 * size.std(), 0, 0]).float(), atol=0.05, rtol=0
    )
    torch.testing.assert_close(found.of("class=b", "means"), torch.tensor([0, 1.0, 1.0]), atol=0.05, rtol=0)
    torch.testing.assert_close(found.of("class=a", "means"), -found.of("class=b", "means"), atol=0.01, rtol=0)
    probe = found.of("class=b", "probe")
    assert torch.cosine_similarity(probe, torch.tensor([0, 1.0, 1.0]), dim=0) > 0.99
    assert probe @ found.of("class=b", "means") == pytest.approx(probe.square().sum().item(), rel=0.01)


def test_probe_gives_no_weight_to_an_unused_dimension() -> None:
    """Of a factor in z₀ and a dimension whose posterior is the prior, the probe moves the output as the means do.

    The output is z₀; the posterior's mean in the unused dimension is a trace of the factor, 1e-4 as large.
    """
    generator = np.random.default_rng(0)
    size = generator.normal(size=5000)
    z = np.stack([size + generator.normal(0, 0.3, 5000), 1e-4 * size + generator.normal(0, 1e-6, 5000)], axis=1)
    variance = np.array([0.01, 1.0], np.float32)
    found = fit_directions(z.astype(np.float32), (Column("size"),), size[:, None].astype(np.float32), variance)
    means, probe = (found.of("size", method)[0].item() for method in ("means", "probe"))
    assert 0.5 * means <= probe <= 1.01 * means


def test_category_is_contrasted_with_all_others() -> None:
    """A step of 1 leads from the mean of the other rows to the mean of the category's, also where shares differ."""
    generator = np.random.default_rng(0)
    label = generator.choice(3, 9000, p=[0.6, 0.3, 0.1])
    z = np.array([[0.0, 0], [4, 0], [0, 9]])[label] + generator.normal(0, 0.1, (9000, 2))
    columns, values = (Column("class", ("a", "b", "c")),), label[:, None].astype(np.float32)
    found = fit_directions(z.astype(np.float32), columns, values, np.zeros(2, np.float32))
    for code, name in enumerate(found.names):
        expected = z[label == code].mean(0) - z[label != code].mean(0)
        np.testing.assert_allclose(found.of(name, "means"), expected, atol=0.02)


def test_condition_is_found_out_by_the_likelihood() -> None:
    """Of a linear-Gaussian model whose classes shift the example, the likeliest class is that of the exact evidence."""
    torch.manual_seed(0)
    made = ppca.build(gap=1.0, classes=3)
    labels = torch.arange(30) % 3
    x = (made.evidence.sample((30,)) + labels[:, None]).view(30, *ppca.SHAPE)
    found = inference.infer_condition(made.model, Inputs(x), num_samples=5000).argmax(-1)
    exact = torch.stack([made.evidence.log_prob(x.flatten(1) - c) for c in range(3)]).argmax(0)
    assert torch.equal(found, exact)
    assert (found == labels).float().mean() > 0.7


def test_condition_of_numbers_is_not_found_out() -> None:
    """A number has no list of values to try."""
    config = ModelConfig.model_validate({"latent_dim": LATENT, "condition": ["size"]})
    model = VAE(config, ExampleSpec(SHAPE, attributes=(Column("size"),))).eval()
    with pytest.raises(ConfigError, match=r"categories alone; say which it is$"):
        inference.infer_condition(model, images())
