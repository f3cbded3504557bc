"""`check_part`: a part of each kind passes; of one that breaks a law, part, law, expected and found are named."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vae.errors import ConfigError, PartError
from vae.testing import check_part

GOOD: dict[str, dict[str, Any]] = {
    "vae.parts.bodies.table:TableBody": {"hidden": [8]},
    "vae.parts.posteriors.ladder:LadderPosterior": {},
    "vae.parts.priors.gaussian_mixture:GaussianMixture": {"components": 3},
    "vae.parts.priors.autoregressive_codes:AutoregressiveCodes": {},
    "vae.parts.likelihoods.laplace:Laplace": {},
    "vae.parts.likelihoods.mixed:Mixed": {"numeric": "gaussian"},
    "vae.parts.regularizers.mmd:Mmd": {},
    "vae.parts.corruptions.block_mask:BlockMask": {},
}
SOURCE = """
from dataclasses import replace
from typing import ClassVar, Literal

import torch
from torch import nn

from vae.parts.corruptions.corruption import CorruptionPart
from vae.parts.likelihoods.laplace import Laplace
from vae.parts.likelihoods.likelihood import ImageLikelihood
from vae.parts.posteriors.diagonal_gaussian import DiagonalGaussian
from vae.parts.posteriors.posterior import Draw, GaussianPosterior, PosteriorModule
from vae.parts.priors.standard_normal import StandardNormal
from vae.parts.regularizers.regularizer import RegularizerPart


class Encoder(nn.Module):
    stackable = True

    def __init__(self, shape, width=8):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.LazyLinear(width), nn.SiLU())

    def forward(self, x):
        return self.layers(x)


class Decoder(nn.Module):
    def __init__(self, latent_dim, shape):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(latent_dim, torch.Size(shape).numel()), nn.Unflatten(1, shape))

    def forward(self, z):
        return self.layers(z)


class Idle(Encoder):
    stackable = False

    def __init__(self, shape):
        super().__init__(shape)
        self.unused = nn.Linear(2, 2)


class Centring(Encoder):
    stackable = False

    def forward(self, x):
        return super().forward(x - x.mean(0))


class Exploding(Encoder):
    stackable = False

    def forward(self, x):
        return super().forward(x).mul(1e4).exp()


class Counting(Encoder):
    stackable, calls = False, 0

    def forward(self, x):
        self.calls += 1
        return super().forward(x) + max(0, self.calls - 2) / 100


class Forgetful(Encoder):
    stackable = False

    def __init__(self, shape):
        super().__init__(shape)
        self.scale = torch.rand(())

    def forward(self, x):
        return super().forward(x) * self.scale


class Looking(Encoder):
    def forward(self, x):
        return super().forward(x) * (2.0 if x.mean().item() + self.layers[1].weight.sum().item() > 0 else 1.0)


class Likelihood(Laplace):
    kind: Literal["custom"] = "custom"
    fault: str = ""

    def build(self, examples):
        built = super().build(examples)
        built.__class__ = {"": ImageLikelihood, "sum": Unnormalised, "mean": Off, "mask": Unmasked}[self.fault]
        return built


class Unnormalised(ImageLikelihood):
    def log_prob_entries(self, x, outputs):
        return super().log_prob_entries(x, outputs) + 0.1


class Off(ImageLikelihood):
    def mean(self, outputs):
        return super().mean(outputs) + 0.1


class Unmasked(ImageLikelihood):
    def log_prob(self, x, outputs, observed=None):
        return self.log_prob_entries(x.nan_to_num(0.0, 0.0, 0.0), outputs).flatten(2).sum(-1)


class Prior(StandardNormal):
    kind: Literal["custom"] = "custom"
    closed_form: ClassVar[None] = None
    extra: float = 0.0
    wider: float = 1.0

    def build(self, *given):
        return Shifted(super().build(*given), self)


class Shifted(nn.Module):
    depends_on_condition, num_starting_examples = False, 0

    def __init__(self, built, part):
        super().__init__()
        self.built, self.part, self.noise_dim = built, part, built.noise_dim

    def forward(self, *given):
        return self

    def start_at(self, *given):
        pass

    def kl(self, *given):
        return None

    def log_prob(self, draw):
        return self.built.log_prob(draw) + self.part.extra

    def sample(self, noise, temperature=1.0):
        return self.built.sample(noise * self.part.wider, temperature)


class Posterior(DiagonalGaussian):
    kind: Literal["custom"] = "custom"

    def build(self, *given):
        built = super().build(*given)
        forward = built.forward

        def tampered(*given):
            found = forward(*given)
            found.__class__ = Tampered
            return found

        built.forward = tampered
        return built


class Tampered(GaussianPosterior):
    def draw(self, noise_SBN, prior=None):
        drawn = super().draw(noise_SBN, prior)
        return replace(drawn, log_prob=lambda: 1.5 * drawn.log_prob())


class Shuffling(CorruptionPart):
    def corrupt(self, x_BCHW, source):
        return x_BCHW.flip(0)


class Careless(CorruptionPart):
    def corrupt(self, x_BCHW, source):
        return x_BCHW + torch.randn_like(x_BCHW)


class Doubling(CorruptionPart):
    def corrupt(self, x_BCHW, source):
        return x_BCHW.double()


class Vector(RegularizerPart):
    @property
    def summary(self):
        return "a vector"

    def penalty(self, z_BL, terms, reference_BL, num_examples):
        return z_BL.square().mean(0)


class Deaf(RegularizerPart):
    @property
    def summary(self):
        return "no gradient"

    def penalty(self, z_BL, terms, reference_BL, num_examples):
        return z_BL.detach().square().mean()
"""
BAD: list[tuple[str, dict[str, Any], str]] = [
    (
        "Idle",
        {},
        "every parameter gets a finite gradient: expected a gradient of every parameter, got none of encoder.mod",
    ),
    (
        "Centring",
        {},
        "terms do not depend on the batch: expected the log_weight of a row to be the same alone as in a b",
    ),
    ("Exploding", {}, "terms are finite: expected "),
    (
        "Counting",
        {},
        "noise is the only randomness: expected two calls with the same noise to give the same, got values t",
    ),
    (
        "Forgetful",
        {},
        "a saved model is the model: expected the same terms after a model was saved and loaded, got values",
    ),
    ("Looking", {}, "a lane is the model alone: expected it to run, got "),
    (
        "Likelihood",
        {"fault": "sum"},
        "the density sums to one: expected a density that integrates (or sums) to 1, got 1.105",
    ),
    (
        "Likelihood",
        {"fault": "mean"},
        "mean and std are those of the density: expected mean(outputs) to be the density's, ",
    ),
    (
        "Likelihood",
        {"fault": "mask"},
        "what lies under the mask is nothing: expected log p of the observed entries alone",
    ),
    ("Prior", {"extra": 0.2}, "the prior integrates to one: expected a density that integrates to 1, got 1.22"),
    (
        "Prior",
        {"wider": 1.5},
        "draws come from the prior: expected 40,000 draws to have the probabilities of log_prob, ",
    ),
    (
        "Posterior",
        {},
        "draws come from the posterior: expected draws whose log_prob is their density: E[f / q] = 1, got",
    ),
    (
        "Shuffling",
        {},
        "a row is corrupted by its place: expected a row to be corrupted as in a larger batch, got values",
    ),
    ("Careless", {}, "a corruption draws from its source alone: expected the global generator as it was, got another"),
    ("Doubling", {}, "a corrupted image is an image: expected images in torch.float32, got torch.float64"),
    ("Vector", {}, "a penalty is a finite number with gradients: expected a number, got a tensor of shape [4]"),
    (
        "Deaf",
        {},
        "a penalty is a finite number with gradients: expected a penalty with a gradient, got one that is comp",
    ),
]


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The name of a module with parts of a user's own."""
    folder: Path = tmp_path_factory.mktemp("parts")
    (folder / "checked_parts.py").write_text(SOURCE)
    sys.path.insert(0, str(folder))
    yield "checked_parts"
    sys.path.remove(str(folder))
    sys.modules.pop("checked_parts", None)


@pytest.mark.parametrize(("address", "args"), GOOD.items(), ids=lambda value: str(value).rpartition(":")[2])
def test_a_part_of_each_kind_passes(address: str, args: dict[str, Any]) -> None:
    """It is held to the laws of every model, and to those of its kind."""
    assert "a saved model is the model" in check_part(address, args)


@pytest.mark.parametrize("name", ["Encoder", "Decoder"])
def test_a_torch_module_passes(mine: str, name: str) -> None:
    """A class is taken as well as its address; as a lane it is checked where it says that it can be one."""
    held = check_part(f"{mine}:{name}")
    assert ("a lane is the model alone" in held) is (name == "Encoder")
    assert check_part(getattr(sys.modules[mine], name)) == held


@pytest.mark.parametrize(("name", "args", "said"), BAD, ids=[f"{name} {args or ''}".strip() for name, args, _ in BAD])
def test_a_part_that_breaks_a_law_is_named(mine: str, name: str, args: dict[str, Any], said: str) -> None:
    """One line for each law that is broken."""
    with pytest.raises(PartError) as raised:
        check_part(f"{mine}:{name}", args)
    lines = str(raised.value).splitlines()
    assert all(line.startswith(f"{mine}:{name}") for line in lines)
    assert any(said in line for line in lines), raised.value


@pytest.mark.parametrize(
    ("part", "args", "said"),
    [
        ("Nothing", {}, "has no Nothing"),
        ("Encoder", {"shape": 1}, "takes no sizes; an encoder takes (shape, **args)"),
        ("Prior", {"ext": 1}, "args.ext: Extra inputs are not permitted (did you mean `extra`?)"),
        (
            "Draw",
            {},
            "vae.parts.posteriors.posterior:Draw is no part; expected a torch module, or a subclass of BodyPart,",
        ),
        ("Encoder", {"width": -1}, "expected it to run"),
    ],
)
def test_what_is_no_part_is_refused(mine: str, part: str, args: dict[str, Any], said: str) -> None:
    """Before any law."""
    with pytest.raises((ConfigError, PartError)) as raised:
        check_part(f"{mine}:{part}", args)
    assert said in str(raised.value)
