"""Codebooks and the posterior of codes: straight-through gradients, commitment, and codes that follow the data."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vae.config import ModelConfig, ObjectiveConfig
from vae.data.schema import ExampleSpec
from vae.draws import RowDraws
from vae.errors import ConfigError
from vae.inference import importance
from vae.model import VAE
from vae.parts.bodies.mlp import MLP
from vae.parts.bounds.bound import bound_loss
from vae.parts.posteriors.quantized import Quantized
from vae.parts.posteriors.vector_quantized import Codebook, VectorQuantized
from vae.parts.priors.uniform_codes import UniformCodes
from vae.parts.terms import Inputs
from vae.seeds import Stream


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Of weights of modules that are made alone; a model has a seed of its own."""
    torch.manual_seed(0)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def book(codes: Tensor, decay: float = 0.9) -> Codebook:
    made = Codebook(*codes.shape, decay)
    made.codes.copy_(codes)
    made.sums.copy_(codes)
    return made


def build(commitment: float = 0.25, codes: int = 8) -> VAE:
    config = ModelConfig(
        latent_dim=4,
        encoder=MLP(hidden=(8,)),
        posterior=VectorQuantized(codes=codes, code_dim=2, commitment=commitment),
        prior=UniformCodes(),
    )
    return VAE(config, ExampleSpec((1, 4, 4)), seed=1)


def images(rows: int = 6) -> Inputs:
    return Inputs(torch.rand(rows, 1, 4, 4, generator=generator()).round())


def test_nearest_code_is_the_nearest() -> None:
    """By all distances, for each piece of each example."""
    codes, pieces = torch.randn(7, 3, generator=generator()), torch.randn(4, 2, 3, generator=generator(1))
    distances = (pieces[:, :, None] - codes).square().sum(-1)
    assert torch.equal(book(codes).nearest(pieces), distances.argmin(-1))
    assert torch.equal(book(codes).embed(torch.tensor([[0, 6]])), torch.cat([codes[0], codes[6]])[None])


def test_decoder_sees_codes_and_encoder_gets_their_gradient() -> None:
    """Trap, straight through: the draw's value is the code, and ∂z/∂(encoder's output) is the identity."""
    encoded = torch.randn(3, 4, generator=generator(), requires_grad=True)
    nearest = torch.randn(3, 4, generator=generator(1))
    draw = Quantized(encoded, nearest, torch.zeros(3, 2).long(), 0.25).draw(torch.zeros(2, 3, 0))
    torch.testing.assert_close(draw.z, nearest.expand(2, 3, 4))
    upstream = torch.randn(2, 3, 4, generator=generator(2))
    (gradient,) = torch.autograd.grad((draw.z * upstream).sum(), encoded)
    torch.testing.assert_close(gradient, upstream.sum(0))


def test_commitment_pulls_the_encoder_and_not_the_codes() -> None:
    """Trap, commitment: the penalty is weight · |e − c|² of each example, and its gradient 2 · weight · (e − c) is e's."""
    encoded = torch.randn(3, 4, generator=generator(), requires_grad=True)
    nearest = torch.randn(3, 4, generator=generator(1), requires_grad=True)
    penalty = Quantized(encoded, nearest, torch.zeros(3, 2).long(), 0.25).draw(torch.zeros(1, 3, 0)).penalty
    assert penalty is not None
    torch.testing.assert_close(penalty, 0.25 * (encoded - nearest).square().sum(-1))
    found, none = torch.autograd.grad(penalty.sum(), (encoded, nearest), allow_unused=True)
    torch.testing.assert_close(found, 0.5 * (encoded - nearest).detach())
    assert none is None


def test_commitment_is_in_the_loss() -> None:
    """The loss is distortion + β · rate + the mean commitment."""
    model = build(commitment=3.0).eval()
    terms = model(images(), torch.zeros(1, 6, 0))
    assert terms.draw.penalty is not None
    losses = bound_loss(terms, ObjectiveConfig(beta=2.0), 2.0)
    torch.testing.assert_close(losses.loss, losses.distortion + 2 * losses.rate + terms.draw.penalty.mean())
    assert terms.draw.penalty.mean() > 0


def test_codes_move_by_the_moving_averages() -> None:
    """Counts and sums are averages with the decay; a code is the ratio of its own, but for the smoothing of counts."""
    codes, pieces = torch.tensor([[0.0], [10.0]]), torch.tensor([[[1.0]], [[2.0]], [[9.0]]])
    moved = book(codes, decay=0.9)
    moved.follow(pieces, moved.nearest(pieces))
    torch.testing.assert_close(moved.counts, torch.tensor([0.9 + 0.1 * 2, 0.9 + 0.1 * 1]))
    torch.testing.assert_close(moved.sums, torch.tensor([[0.1 * 3.0], [0.9 * 10 + 0.1 * 9]]))
    torch.testing.assert_close(moved.codes, moved.sums / moved.counts[:, None], rtol=1e-4, atol=1e-4)


def test_codes_follow_the_data() -> None:
    """After many batches of three clusters the codes nearest to them are their centres."""
    centres = torch.tensor([[3.0, 0.0], [0.0, 3.0], [-3.0, -3.0]])
    followed = book(0.5 * centres)
    for step in range(100):
        pieces = centres.repeat(10, 1)[:, None] + 0.1 * torch.randn(30, 1, 2, generator=generator(step))
        followed.follow(pieces, followed.nearest(pieces))
    torch.testing.assert_close(followed.codes, centres, atol=0.05, rtol=0)
    torch.testing.assert_close(followed.counts, torch.full((3,), 10.0), atol=0.1, rtol=0)


def test_code_that_nothing_is_near_stays_finite() -> None:
    """Its count and its sum decay to 0 together, and the one is not divided by the other."""
    codes = book(torch.tensor([[1.0], [100.0]]), decay=0.5)
    codes.counts.copy_(torch.tensor([4.0, 0.0]))
    codes.sums.copy_(torch.tensor([[4.0], [0.0]]))
    pieces = torch.ones(4, 1, 1)
    codes.follow(pieces, codes.nearest(pieces))
    torch.testing.assert_close(codes.codes, torch.tensor([[1.0], [0.0]]), rtol=1e-4, atol=0)
    assert codes.nearest(pieces).eq(0).all()


def test_autocast_changes_no_code() -> None:
    """Trap, AMP: the moving averages are of the pieces in full precision, to the last bit."""
    pieces, codes = torch.randn(50, 2, 3, generator=generator()), torch.randn(4, 3, generator=generator(1))
    full, half = book(codes), book(codes)
    full.follow(pieces, full.nearest(pieces))
    with torch.autocast("cpu", torch.bfloat16):
        half.follow(pieces, half.nearest(pieces))
    assert torch.equal(half.sums, full.sums)
    assert torch.equal(half.codes, full.codes)


def test_start_spreads_the_codes_over_the_data() -> None:
    """Every code begins near a piece of its own; more codes than pieces begin near the same ones."""
    pieces = torch.arange(12.0)[:, None]
    few, many = Codebook(4, 1, 0.9), Codebook(24, 1, 0.9)
    for codebook in (few, many):
        codebook.codes.normal_(generator=generator())
        codebook.start_at(pieces)
        assert (torch.cdist(codebook.codes, pieces).min(-1).values < 0.01).all()
        assert torch.equal(codebook.sums, codebook.codes)
        assert torch.equal(codebook.counts, torch.ones(len(codebook.codes)))
    assert len(few.nearest(pieces[:, None]).unique()) == 4
    assert few.codes.max() > 8
    assert len(many.codes.unique()) == 24


def test_codebook_moves_in_training_alone() -> None:
    """A step moves it; evaluation and `no_grad`, as in validation, leave it as it is."""
    model = build()
    model.start_at(images())
    codebook = model.posterior.codebook
    before = codebook.codes.clone()
    model.eval()(images(), torch.zeros(1, 6, 0))
    with torch.no_grad():
        model.train()(images(), torch.zeros(1, 6, 0))
    assert torch.equal(codebook.codes, before)
    model.train()(images(), torch.zeros(1, 6, 0)).log_likelihood.sum().backward()
    assert not torch.equal(codebook.codes, before)
    assert "codes" not in dict(codebook.named_parameters())


def test_latents_from_the_prior_are_its_codes() -> None:
    """Each piece of a generated latent is the code that the prior has drawn for it."""
    model, noise = build().eval(), torch.randn(40, 2, generator=generator())
    drawn_BG = model.prior.sample(noise)
    latents_BL = model.sample_prior(noise)
    for piece in range(2):
        codes = model.posterior.codebook.codes[drawn_BG[:, piece]]
        assert torch.equal(latents_BL[:, 2 * piece : 2 * piece + 2], codes)
    assert len(drawn_BG.unique()) == 8


def test_importance_sampling_of_codes_is_refused() -> None:
    """Trap, VQ: a certain code has no importance-sampled evidence, and the refusal says what there is instead."""
    with pytest.raises(
        ConfigError, match="vector_quantized one is a single code; its bound is the distortion plus the rate"
    ):
        importance.log_likelihood(build().eval(), images(), num_samples=2, draws=RowDraws(0, Stream.EVALUATION))
