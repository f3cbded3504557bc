"""What every model must obey, whatever it is made of. A new part is one line in a list of `tests/laws/parts.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from tests.laws import parts
from tests.laws.parts import LATENT, MODELS, PAIRS, Config, build, randomised
from vae import inference
from vae.model import VAE
from vae.parts.bodies import BodyConfig
from vae.parts.bodies.body import Context
from vae.parts.controllers import ControllerConfig
from vae.parts.corruptions import CorruptionConfig
from vae.parts.likelihoods import LikelihoodConfig
from vae.parts.posteriors import PosteriorConfig
from vae.parts.posteriors.posterior import Draw, GaussianPosterior
from vae.parts.priors import PriorConfig
from vae.parts.regularizers import RegularizerConfig
from vae.parts.terms import Inputs
from vae.testing.checking import named
from vae.testing.laws import MODEL_LAWS, loss_of
from vae.testing.models import ROWS, SAMPLES, Make, examples, gradients, noise

EVERY_MODEL = pytest.mark.parametrize("config", MODELS.values(), ids=MODELS)
JUNK = (float("nan"), 1e9, float("-inf"))


def kinds(union: Any) -> set[str]:
    return {section.model_fields["kind"].default for section in get_args(get_args(union)[0])}


@pytest.mark.parametrize(
    ("union", "listed"),
    [
        (BodyConfig, parts.BODIES),
        (PosteriorConfig, parts.POSTERIORS),
        (PriorConfig, parts.PRIORS),
        (LikelihoodConfig, parts.LIKELIHOODS),
        (ControllerConfig, parts.CONTROLLERS),
        (RegularizerConfig, parts.REGULARIZERS),
        (CorruptionConfig, parts.CORRUPTIONS),
    ],
    ids=("bodies", "posteriors", "priors", "likelihoods", "controllers", "regularizers", "corruptions"),
)
def test_every_part_of_the_configuration_is_listed(union: Any, listed: dict[str, Config]) -> None:
    """A part that the configuration knows is held to the laws; so are the laws' models to be complete."""
    assert {part["kind"] for part in listed.values()} == kinds(union)


def test_every_posterior_and_prior_is_in_a_model() -> None:
    """Each occurs in a model of the laws, and in a pair."""
    for models in (MODELS, PAIRS):
        for field, listed in (("posterior", parts.POSTERIORS), ("prior", parts.PRIORS)):
            used = [model.get(field) for model in models.values()]
            assert all(part in used for part in listed.values())


@pytest.mark.parametrize("law", MODEL_LAWS, ids=named)
@EVERY_MODEL
def test_every_model_obeys_every_law(config: Config, law: Callable[[Make], None]) -> None:
    """Those that `vae.testing.check_part` holds a user's own parts to."""
    law(partial(build, config))


@pytest.mark.parametrize("config", PAIRS.values(), ids=PAIRS)
def test_every_posterior_goes_with_every_prior_that_is_accepted(config: Config) -> None:
    """The pair trains (finite gradients everywhere), generates and scores."""
    model = randomised(config)
    inputs = examples(model)
    found = gradients(model, loss_of(model(inputs, noise(model))))
    assert all(gradient is not None and gradient.isfinite().all() for gradient in found.values())
    assert inference.generate(model, ROWS, inputs.condition).isfinite().all()
    assert inference.score(model, inputs, num_samples=3).isfinite().all()


@pytest.mark.parametrize("likelihood", parts.IMAGE_LIKELIHOODS)
def test_twice_the_area_is_twice_the_distortion(likelihood: str) -> None:
    """Trap, reduction: at equal error per pixel the distortion grows with the image, so that β keeps its meaning."""
    model = randomised(MODELS[f"likelihood {likelihood}"])
    inputs, z_SBL = examples(model), noise(model)
    outputs = model.decode(z_SBL, inputs.condition)
    once = model.likelihood.log_prob(inputs.x, outputs)
    twice = model.likelihood.log_prob(inputs.x.tile(1, 1, 2, 1), outputs.tile(1, 1, 1, 2, 1))
    torch.testing.assert_close(twice, 2 * once)


def location(model: VAE, inputs: Inputs) -> Tensor:
    """What the encoder says, before it is rounded to codes."""
    posterior = model.encode(inputs)
    return getattr(posterior, "encoded", posterior.mean)


@EVERY_MODEL
def test_condition_is_used_where_there_is_one(config: Config) -> None:
    """Trap, condition: permuting y changes log q(z|x,y) and log p(x|z,y), and log p(z|y) of a conditional prior."""
    model = randomised(config)
    inputs, other, drawn = examples(model), examples(model, shift=1), noise(model)
    is_conditional = bool(model.config.condition)
    assert torch.equal(inputs.x, other.x)
    z_SBL = model(inputs, drawn).z
    log_likelihood, other_log_likelihood = (
        model.likelihood.log_prob(inputs.x, model.decode(z_SBL, each.condition)) for each in (inputs, other)
    )
    assert (location(model, inputs) != location(model, other)).any(1).tolist() == [is_conditional] * ROWS
    assert (log_likelihood != other_log_likelihood).flatten().tolist() == [is_conditional] * SAMPLES * ROWS
    q, other_q = model.encode(inputs), model.encode(other)
    if isinstance(q, GaussianPosterior) and isinstance(other_q, GaussianPosterior):
        assert (q.log_prob(z_SBL) != other_q.log_prob(z_SBL)).flatten().tolist() == [is_conditional] * SAMPLES * ROWS
    if not model.has_codes:
        draw = Draw(z_SBL, lambda: torch.zeros(()))
        log_prior, other_log_prior = (model.prior_of(each.condition).log_prob(draw) for each in (inputs, other))
        depends = model.prior.depends_on_condition
        assert (log_prior != other_log_prior).flatten().tolist() == [depends] * SAMPLES * ROWS


@pytest.mark.parametrize("body", list(parts.BODIES))
def test_film_scales_and_shifts_every_stage(body: str) -> None:
    """Both halves of what the condition says of a stage reach the loss, in encoder and decoder."""
    model = randomised(MODELS[f"{body}, film"])
    found = gradients(model, loss_of(model(examples(model), noise(model))))
    films = {name: gradient for name, gradient in found.items() if name.endswith("film.weight")}
    assert {name.split(".")[0] for name in films} == {"encoder", "decoder"}
    for name, gradient in films.items():
        assert gradient is not None
        assert all(half.abs().sum() > 0 for half in gradient.chunk(2)), name


@pytest.mark.parametrize("body", ["conv", "residual conv"])
def test_channel_film_leaves_the_latents_meaning_alone(body: str) -> None:
    """Of the condition only what scales and shifts channels is told: of convolutions, and of the image itself."""
    model = randomised(MODELS[f"{body}, channel film"])
    films = {name for name, _ in model.named_parameters() if name.endswith("film.weight")}
    stages = {name.removesuffix(".film.weight") for name in films}
    halvings = len(parts.BODIES[body]["channels"])
    assert stages == {
        *(f"{side}.stages.{number}" for side in ("encoder", "decoder") for number in range(halvings)),
        "decoder.out",
    }
    out: Any = model.decoder.out
    ones_NCHW = torch.ones(ROWS, out.film.out_features // 2, 2, 2)
    channels = out(ones_NCHW, Context(film=examples(model).condition))
    assert channels.flatten(2).std(dim=2).max() == 0
    assert channels.flatten(2).mean(dim=2).std() > 0


@EVERY_MODEL
def test_log_beta_is_used_where_there_are_gates(config: Config) -> None:
    """Another β changes encoder and decoder of a model with gates, of every example; without a word it is 1."""
    model = randomised(config)
    inputs = examples(model)
    has_gates = model.config.beta_gates
    one, two = (inputs._replace(log_beta=torch.full((ROWS, 1), value)) for value in (0.0, 2.0))
    z_SBL = torch.ones(1, ROWS, LATENT)
    assert (location(model, one) != location(model, two)).any(1).tolist() == [has_gates] * ROWS
    decoded, other = (model.decode(z_SBL, each.condition, each.log_beta) for each in (one, two))
    assert (decoded != other).flatten(2).any(2).flatten().tolist() == [has_gates] * ROWS
    assert torch.equal(decoded, model.decode(z_SBL, inputs.condition))


@EVERY_MODEL
def test_what_is_missing_is_not_seen(config: Config) -> None:
    """Trap, missing data: loss, gradient, code, reconstruction and score do not change with what lies under the mask."""
    model = randomised(config)
    observed = torch.rand(ROWS, *model.examples.shape, generator=torch.Generator().manual_seed(6)) < 0.5
    observed[0] = False  # nothing of it is there
    inputs = examples(model)._replace(observed=observed)

    def everything(x: Tensor) -> Iterable[Tensor]:
        seen = inputs._replace(x=x)
        loss = loss_of(model(seen, noise(model)))
        yield loss
        for gradient in gradients(model, loss).values():
            yield torch.zeros(()) if gradient is None else gradient
        yield from inference.encode(model, seen)
        yield inference.reconstruct(model, seen)
        yield inference.score(model, seen, num_samples=3)

    expected = list(everything(inputs.x.masked_fill(~observed, 0.0)))
    assert all(each.isfinite().all() for each in expected)
    for junk in JUNK:
        found = everything(inputs.x.masked_fill(~observed, junk))
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True)), junk
    other = inputs.x.masked_fill(observed, 0.5 if inputs.x.ndim > 2 else 0.0)
    assert not torch.equal(next(iter(everything(other))), expected[0])  # what is observed does count


@pytest.mark.parametrize(("body", "told"), [("table", True), ("table without indicators", False)])
def test_encoder_of_a_table_is_told_what_is_missing(body: str, told: bool) -> None:
    """With indicators a missing number is another example than an average one; a missing category always is one."""
    model = randomised(MODELS[f"{body}, nothing"])
    inputs = examples(model)
    inputs = inputs._replace(x=inputs.x.index_fill(1, torch.tensor([0, 1]), 0.0))
    whole = model.encode(inputs).mean
    for column, differs in ((0, told), (1, True)):
        observed = torch.ones_like(inputs.x, dtype=torch.bool).index_fill(1, torch.tensor([column]), False)
        without = model.encode(inputs._replace(observed=observed)).mean
        assert (without != whole).any(1).tolist() == [differs] * ROWS


@EVERY_MODEL
def test_nothing_missing_is_everything_observed(config: Config) -> None:
    """A mask that hides nothing changes nothing."""
    model = randomised(config)
    inputs = examples(model)
    whole = inputs._replace(observed=torch.ones_like(inputs.x, dtype=torch.bool))
    torch.testing.assert_close(model(whole, noise(model)).log_weight, model(inputs, noise(model)).log_weight)


@EVERY_MODEL
def test_autocast_leaves_terms_in_full(config: Config) -> None:
    """Trap, AMP: with networks in bfloat16 every term is float32, finite, and near what full precision gives."""
    model = randomised(config)
    inputs, drawn = examples(model), noise(model)
    with torch.autocast("cpu", torch.bfloat16):
        half = model(inputs, drawn)
        found = [half.log_likelihood, half.rate, half.log_weight, half.z]
    full = model(inputs, drawn)
    for value, expected in zip(found, (full.log_likelihood, full.rate, full.log_weight, full.z), strict=True):
        assert value.dtype == torch.float32
        assert value.isfinite().all()
        assert value.shape == expected.shape
        if not model.has_codes:  # another code may be the nearest
            torch.testing.assert_close(value, expected, rtol=0.1, atol=0.5)


def two_of(inputs: Inputs, start: int) -> Inputs:
    return Inputs(inputs.x[start:4:2], *(None if part is None else part[start:4:2] for part in inputs[1:]))


@EVERY_MODEL
def test_tasks_work_on_every_model(config: Config) -> None:
    """Every task gives finite results of its shape, the same for the same seed."""
    model = randomised(config)
    inputs = examples(model)
    condition, log_beta = inputs.condition, inputs.log_beta
    makers: list[Callable[[], Tensor]] = [
        lambda: inference.reconstruct(model, inputs),
        lambda: inference.generate(model, ROWS, condition, log_beta_N1=log_beta),
        lambda: inference.generate(model, ROWS, condition, output="sample", temperature=0.5, log_beta_N1=log_beta),
        lambda: inference.decode(model, torch.zeros(ROWS, LATENT), condition, log_beta_N1=log_beta),
    ]
    for make in makers:
        made = make()
        assert made.shape == inputs.x.shape
        assert made.isfinite().all()
        assert torch.equal(make(), made)
    code = inference.encode(model, inputs)
    assert code.mean.shape == code.std.shape == (ROWS, LATENT)
    assert (code.std > 0).all() or model.has_codes
    scores = inference.score(model, inputs, num_samples=3)
    assert scores.shape == (ROWS,)
    assert scores.isfinite().all()
    observed = torch.rand(inputs.x.shape, generator=torch.Generator().manual_seed(3)) < 0.5
    gappy = inputs._replace(observed=observed)
    for estimate in (inference.denoise(model, inputs, num_samples=3), inference.impute(model, gappy, num_samples=3)):
        assert estimate.mean.shape == estimate.std.shape == inputs.x.shape
        assert estimate.mean.isfinite().all()
        assert estimate.std.isfinite().all()
        assert (estimate.effective_draws > 0.99).all()
    several = inference.impute_many(model, gappy, 2, num_samples=3).values
    assert several.shape == (ROWS, 2, *model.examples.shape)
    assert torch.equal(several.transpose(0, 1)[:, observed], inputs.x[observed].expand(2, -1))
    if condition is not None:
        assert inference.transfer(model, inputs, condition.roll(1, 0)).shape == inputs.x.shape


@EVERY_MODEL
def test_paths_lead_through_every_continuous_latent(config: Config) -> None:
    """Traversals and interpolations give finite results of their shape."""
    model = randomised(config)
    if model.has_codes:  # between codes there is nothing
        return
    inputs = examples(model)
    traversal = inference.traverse(model, inputs, dimensions=(1, 0), num_points=3)
    assert traversal.examples.shape == (ROWS, 2, 3, *model.examples.shape)
    assert traversal.examples.isfinite().all()
    pairs = [two_of(inputs, start) for start in range(2)]
    of_tables: list[inference.Interpolation] = ["linear", "spherical"]
    of_images: list[inference.Interpolation] = [*of_tables, "geodesic"]
    for path in of_tables if parts.is_table(config) else of_images:
        walk = inference.interpolate(model, *pairs, num_points=4, path=path, steps=3)
        assert walk.shape == (2, 4, *model.examples.shape)
        assert walk.isfinite().all()
