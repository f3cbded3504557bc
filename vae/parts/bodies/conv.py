"""Strided convolutions over an image."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from vae.data.schema import ExampleSpec
from vae.errors import ConfigError
from vae.parts.bodies.body import (
    ACTIVATIONS,
    Activation,
    BodyPart,
    Context,
    ContextDims,
    EncoderBody,
    Stage,
    check_kind,
    concatenated,
    sizes,
    zeroed,
)
from vae.parts.part import HiddenUnits, Positive


class Conv(BodyPart):
    """Strided convolutions, each halving height and width; the decoder upsamples back to the example's size."""

    convolutional: ClassVar[bool] = True

    kind: Literal["conv"] = "conv"
    channels: HiddenUnits = (32, 64)
    """Channels after each halving."""
    hidden: Positive = 256
    """Units of the fully connected layer between the convolutions and the latent."""
    residual_blocks: Annotated[int, Field(ge=0)] = 0
    """Number of pre-activation residual blocks (He et al. 2016) after each halving."""
    activation: Activation = "silu"
    """Activation function of the hidden layers."""

    @property
    def summary(self) -> str:
        blocks = self.residual_blocks
        residual = f", {blocks} residual block{'s' * (blocks > 1)} per stage" * (blocks > 0)
        return f"conv {sizes(self.channels)}, {self.hidden} hidden units, {self.activation}{residual}"

    def encoder(self, examples: ExampleSpec, context: ContextDims) -> EncoderBody:
        check_kind(self, examples)
        return ConvEncoder(self, examples.shape, context)

    def decoder(self, latent_dim: int, outputs_shape: tuple[int, ...], context: ContextDims) -> nn.Module:
        return ConvDecoder(self, latent_dim, outputs_shape, context)


class ResidualBlock(nn.Module):
    """Pre-activation residual block, the identity at initialisation (He et al. 2016, arXiv 1603.05027)."""

    def __init__(self, channels: int, activation: Activation) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            ACTIVATIONS[activation](),
            nn.Conv2d(channels, channels, 3, padding=1),
            ACTIVATIONS[activation](),
            zeroed(nn.Conv2d(channels, channels, 3, padding=1)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def halvings(config: Conv, height: int, width: int) -> list[tuple[int, int]]:
    """Returns the (height, width) before each halving and after the last.

    Raises:
        ConfigError: If the example is too small for that many halvings.
    """
    steps = [(height, width)]
    for _ in config.channels:
        height, width = height // 2, width // 2
        steps.append((height, width))
    if min(height, width) < 1:
        depth = len(config.channels)
        raise ConfigError(
            f"model: a conv body with {depth} channels entries halves the example {depth} times and needs at least "
            f"{2**depth}x{2**depth} pixels, the examples have {steps[0][0]}x{steps[0][1]}; use fewer channels entries"
        )
    return steps


class ConvEncoder(EncoderBody):
    """Images to features."""

    def __init__(self, config: Conv, shape: tuple[int, ...], context: ContextDims) -> None:
        super().__init__()
        self.num_features = config.hidden
        channels, height, width = shape
        stages = []
        for out_channels in config.channels:
            blocks = [ResidualBlock(out_channels, config.activation) for _ in range(config.residual_blocks)]
            layer = nn.Sequential(nn.Conv2d(channels, out_channels, 4, stride=2, padding=1), *blocks)
            stages.append(Stage(layer, out_channels, ACTIVATIONS[config.activation](), context))
            channels = out_channels
        self.stages = nn.ModuleList(stages)
        last_height, last_width = halvings(config, height, width)[-1]
        linear = nn.Linear(channels * last_height * last_width + context.beside, config.hidden)
        self.hidden = Stage(linear, config.hidden, ACTIVATIONS[config.activation](), context.of_dense)

    def forward(self, x_BCHW: Tensor, observed: Tensor | None, context: Context) -> Tensor:
        for stage in self.stages:
            x_BCHW = stage(x_BCHW, context)
        return self.hidden(concatenated(x_BCHW.flatten(1), context), context)


class ConvDecoder(nn.Module):
    """Latents to the parameters of an image."""

    def __init__(self, config: Conv, latent_dim: int, outputs_shape: tuple[int, ...], context: ContextDims) -> None:
        super().__init__()
        out_channels, height, width = outputs_shape
        steps = halvings(config, height, width)
        channels = config.channels[-1]
        self.first = (channels, *steps[-1])
        activation = ACTIVATIONS[config.activation]
        linear = nn.Linear(latent_dim + context.beside, config.hidden)
        self.hidden = Stage(linear, config.hidden, activation(), context.of_dense)
        self.spread = nn.Linear(config.hidden, math.prod(self.first))
        stages, upsamplings = [], []
        for next_channels, (to_height, to_width) in zip(
            [*config.channels[-2::-1], out_channels], steps[-2::-1], strict=True
        ):
            blocks = [ResidualBlock(channels, config.activation) for _ in range(config.residual_blocks)]
            stages.append(Stage(nn.Sequential(*blocks), channels, activation(), context))
            # A kernel of 4 with stride 2 doubles; the output padding gives back the odd row or column.
            odd = (to_height % 2, to_width % 2)
            upsamplings.append(nn.ConvTranspose2d(channels, next_channels, 4, 2, padding=1, output_padding=odd))
            channels = next_channels
        self.stages, self.upsamplings = nn.ModuleList(stages), nn.ModuleList(upsamplings)
        # A style of the image itself, such as its negative, takes a scale of its own channels.
        of_image = ContextDims(film=context.film, channels_only=True)
        self.out = Stage(nn.Identity(), channels, nn.Identity(), of_image) if context.channels_only else None

    def forward(self, z_BL: Tensor, context: Context) -> Tensor:
        x = self.spread(self.hidden(concatenated(z_BL, context), context)).unflatten(1, self.first)
        for stage, upsampling in zip(self.stages, self.upsamplings, strict=True):
            x = upsampling(stage(x, context))
        return x if self.out is None else self.out(x, context)
