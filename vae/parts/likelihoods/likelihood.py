"""The base of likelihoods p(x|z), of families of densities, and of likelihoods of images.

A family gives the density of one value from its parameters. A likelihood lays families over an image or over a table's
columns, gives the shape of the decoder's outputs, and leaves out missing entries. Nothing reduces over samples or batch.

Shapes: S samples, B batch, C channels, H height, W width, P parameters of a value; `...` is any shape of values. Parameters
of values come as [P,...]. Examples [B,*shape] come from `prepare`; the decoder's outputs are [S,B,*outputs_shape].
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from vae.data.binarization import Binarization
from vae.data.schema import DataKind, ExampleSpec
from vae.data.transforms import transform_of
from vae.errors import ConfigError
from vae.parts.part import Part

Support = Literal["binary", "unit interval", "grey levels", "counts", "line"]

GREY_LEVEL = 1 / 255
"""Distance of two neighbouring grey values of an 8-bit pixel, in the unit of [0, 1]: the floor of trained scales of pixels.

A pixel is known to one grey level, so a narrower density scores higher without predicting better. With this floor a
density is at most 255, and the density at all 256 grey values times 1/255 sums to at most 1 for a Gaussian or Student's t,
1.09 for a Laplace. So NLL + log 255 of a pixel is the cost of a discrete prediction, and a blank border earns nothing.

References:
    Theis, van den Oord & Bethge, A note on the evaluation of generative models (2016), section 3.1.
    https://arxiv.org/abs/1511.01844
"""

LOG_PIXEL_FLOOR = math.log(GREY_LEVEL)
INITIAL_SCALE = 0.25
"""Scale of pixels before training, where the configuration does not say: the default of `Gaussian.initial_sigma`."""


class LikelihoodPart(Part):
    """p(x|z): the density of an example, given the decoder's outputs."""

    data_kind: ClassVar[DataKind] = "image"
    """Kind of data that the likelihood scores."""
    support: ClassVar[Support] = "line"
    """Values that an entry can take."""
    is_binary: ClassVar[bool] = False
    """Whether the likelihood scores each value as black or white."""
    has_grey_floor: ClassVar[bool] = False
    """Whether trained scales of pixels have the floor of one grey level."""
    is_factorised: ClassVar[bool] = True
    """Whether the entries of an example are independent given the latent."""

    @property
    def binarization_policy(self) -> Binarization | None:
        """Policy by which grey pixels become binary; None for a likelihood of grey."""
        return None

    @property
    def learns_noise(self) -> bool:
        """Whether the noise shrinks as the latent explains more: not with a fixed scale, nor with probabilities."""
        return True

    @property
    def scores_by_densities(self) -> bool:
        """Whether all numbers of a table have densities, also those that are counts or truth values."""
        return False

    @property
    def decodes_scale(self) -> bool:
        """Whether the decoder gives the distance that each number may have from its mean."""
        return False

    @property
    def targets(self) -> str:
        """Targets of the score and the kind of its figures, as text for a report."""
        return "density over pixels in [0, 1], which may be negative in nats"

    @property
    def protocol(self) -> str:
        """Part of a score's name that tells likelihoods apart whose figures are not comparable."""
        return "_".join(filter(None, [self.kind, self.binarization_policy, "grey" * self.has_grey_floor]))

    def collapsed_decoder(self, mean_D: Tensor, variance_D: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the density of each number under a decoder that ignores the latent, each [D].

        Args:
            mean_D: Mean of each number over the training split.
            variance_D: Variance of each number.

        Returns:
            The variance of its noise, the variance that a number's own draw adds, and its nats.
        """
        return gaussian_nats(variance_D)

    @abstractmethod
    def build(self, examples: ExampleSpec) -> Likelihood:
        """Returns the module for such examples.

        Raises:
            ConfigError: If the likelihood does not score such examples, or the settings do not fit.
        """


class PixelLikelihoodPart(LikelihoodPart):
    """p(x|z) of an image: the same family at every pixel."""

    @abstractmethod
    def family(self) -> Family:
        """Returns the family of a pixel."""

    def build(self, examples: ExampleSpec) -> Likelihood:
        if examples.kind != self.data_kind:
            raise ConfigError(
                f"model.likelihood: {self.kind} scores pixels, and the examples are {transform_of(examples).described}; "
                "use mixed"
            )
        return ImageLikelihood(self.family(), examples.shape)


def gaussian_nats(noise_D: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the three terms of `collapsed_decoder` for Gaussian noise of these variances, fitted to the data."""
    return noise_D, torch.zeros_like(noise_D), 0.5 * torch.log(2 * torch.pi * torch.e * noise_D.clamp(min=1e-12))


def level_nats(noise_D: Tensor, num_levels: int) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the three terms of `collapsed_decoder` for the probability of a pixel's level under such Gaussian noise."""
    noise_D, own_D, nats_D = gaussian_nats(noise_D)
    return noise_D, own_D, (nats_D + math.log(num_levels * 255 / 256)).clamp(min=0)


class Family(nn.Module, ABC):
    """The density (or the probability) of single values, elementwise and in nats."""

    num_params: int
    """P, number of the decoder's outputs for each value."""
    is_discrete: bool
    """Whether `log_prob` gives a probability; a density depends on the unit of x."""

    @abstractmethod
    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        """Returns log p(x), [...], of values [...] in the support and parameters [P,...]; 0 is in every support."""

    @abstractmethod
    def mean(self, params: Tensor) -> Tensor:
        """Returns E[x], [...]."""

    @abstractmethod
    def std(self, params: Tensor) -> Tensor:
        """Returns the standard deviation of x, [...]."""

    @abstractmethod
    def sample(self, params: Tensor, generator: torch.Generator) -> Tensor:
        """Draws each value once, [...]."""

    def moments(self, params: Tensor) -> tuple[Tensor, Tensor]:
        """Returns E[u] and E[u²], [...] each, which may be averaged over draws; u is x but where a curve bends a column."""
        mean = self.mean(params)
        return mean, mean.square() + self.std(params).square()

    def from_moment(self, first: Tensor) -> Tensor:
        """Returns the x of an E[u], [...]."""
        return first


class NumberFamily(Family):
    """The density of numbers on the line."""

    @abstractmethod
    def nodes(self, params: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields values of x with weights, [...] each, whose weighted sums over the sum of weights are expectations."""


class Likelihood(nn.Module, ABC):
    """p(x|z), in float32 where the outputs are float16 or bfloat16, else in their precision."""

    outputs_shape: tuple[int, ...]
    """Shape of the decoder's outputs for an example: (C·P, H, W) of images, (number of outputs,) of tables."""
    is_discrete: bool
    """Whether every value is discrete, so that log p(x) is a probability's and can be given in bits per dimension."""

    def log_prob(self, x: Tensor, outputs: Tensor, observed: Tensor | None = None) -> Tensor:
        """Returns log p(x|z) in nats, [S,B]: the sum over the observed values.

        Args:
            x: Prepared examples, [B,*shape].
            outputs: Outputs of the decoder, [S,B,*outputs_shape].
            observed: Whether each value is observed, bool [B,*shape]; None for all. The others count exactly 0.
        """
        if observed is None:
            return self.log_prob_entries(x, outputs).flatten(2).sum(-1)
        # Every family has 0 in its support: a missing value is scored there, finitely, and then counts 0. By factors of
        # 0 or 1, because `where` takes as long on a CPU as all else together.
        weight = observed.to(x.dtype)
        entries = self.log_prob_entries(x.nan_to_num(0.0, 0.0, 0.0) * weight, outputs)
        return (entries * weight).flatten(2).sum(-1)

    @abstractmethod
    def log_prob_entries(self, x: Tensor, outputs: Tensor) -> Tensor:
        """Returns log p of each value in nats, [S,B,*shape]; x is prepared and nowhere missing."""

    @abstractmethod
    def mean(self, outputs: Tensor) -> Tensor:
        """Returns E[x|z], [...,*shape], from outputs [...,*outputs_shape].

        In [0, 1] for images, in standard deviations of the column for numbers; for categories the most probable code.
        """

    @abstractmethod
    def std(self, outputs: Tensor) -> Tensor:
        """Returns the standard deviation of each value, [...,*shape].

        For categories √(1 − largest probability), the root mean square of being wrong.
        """

    @abstractmethod
    def sample(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        """Draws x ~ p(x|z) once, [...,*shape]; not clipped to [0, 1] where the density is not."""

    def given(self, outputs: Tensor, x: Tensor | None = None, observed: Tensor | None = None) -> Tensor:
        """Returns the outputs of independent entries that depend on the observed ones as the likelihood says.

        Args:
            outputs: Outputs of the decoder, [S,B,*outputs_shape].
            x: Prepared examples, [B,*shape]; None for the mean of every entry in its place.
            observed: Whether each value is observed, bool [B,*shape]; None for all.
        """
        return outputs

    def complete(self, outputs: Tensor, x: Tensor, observed: Tensor, generator: torch.Generator) -> Tensor:
        """Draws the entries of x, [B,*shape], that are not observed, from outputs [B,*outputs_shape]."""
        return torch.where(observed, x, self.sample(outputs, generator))


class ImageLikelihood(Likelihood):
    """The same family at every pixel of every channel.

    The decoder's channels are the first parameter of every channel, then the second, and so on.

    Args:
        family: Family of a pixel in [0, 1].
        shape: Channels, height and width.
    """

    def __init__(self, family: Family, shape: tuple[int, ...]) -> None:
        super().__init__()
        channels, height, width = shape
        self.family = family
        self.is_discrete = family.is_discrete
        self.outputs_shape = (channels * family.num_params, height, width)

    def log_prob_entries(self, x: Tensor, outputs: Tensor) -> Tensor:
        return self.family.log_prob(x, self._params(outputs))

    def mean(self, outputs: Tensor) -> Tensor:
        return self.family.mean(self._params(outputs))

    def std(self, outputs: Tensor) -> Tensor:
        return self.family.std(self._params(outputs))

    def sample(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        return self.family.sample(self._params(outputs), generator)

    def _params(self, outputs: Tensor) -> Tensor:
        """Returns outputs [...,P·C,H,W] as parameters [P,...,C,H,W]."""
        return in_full(outputs).unflatten(-3, (self.family.num_params, -1)).movedim(-4, 0)


def in_full(outputs: Tensor) -> Tensor:
    """Returns outputs in half precision as float32, because densities sum over many values; others as they are."""
    return outputs.float() if outputs.dtype in (torch.bfloat16, torch.float16) else outputs


def held(value: Tensor, low: float, high: float = math.inf) -> Tensor:
    """Clamps a value to [low, high] and leaves its gradient, so that training can still move it back inside."""
    return value + (value.clamp(low, high) - value).detach()


def inverse_softplus(y: float) -> float:
    """Returns the x with log(1 + eˣ) = y > 0."""
    return y + math.log(-math.expm1(-y))


def uniform(like: Tensor, generator: torch.Generator) -> Tensor:
    """Draws uniformly from [0, 1), in the shape of `like`."""
    return torch.rand(like.shape, generator=generator, device=like.device, dtype=like.dtype)


def exponential(like: Tensor, generator: torch.Generator) -> Tensor:
    """Draws from the exponential of rate 1, above 0, in the shape of `like`."""
    noise = torch.empty(like.shape, device=like.device, dtype=like.dtype).exponential_(generator=generator)
    return noise.clamp_min_(torch.finfo(like.dtype).tiny)


def choose(logits: Tensor, generator: torch.Generator) -> Tensor:
    """Draws indices from logits [K,...], int64 [...], by the Gumbel maximum."""
    return (logits - exponential(logits, generator).log()).argmax(0)
