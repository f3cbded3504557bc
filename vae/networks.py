"""Bodies: what turns an example into features, and a latent into the parameters of a likelihood.

Shapes: B batch, C channels, H height, W width, K width of the condition, F features, L latent.
An encoder body maps (x [B,C,H,W], condition [B,K] | None) to features [B,F]; a decoder body maps
(z [B,L], condition [B,K] | None) to [B,C_out,H,W].
"""

from __future__ import annotations

import math
from typing import assert_never

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vae.config import MLP, Body, Conv
from vae.errors import ConfigError

ACTIVATIONS = {"relu": nn.ReLU, "silu": nn.SiLU, "tanh": nn.Tanh, "elu": nn.ELU}


def encoder_body(config: Body, shape: tuple[int, int, int], condition_dim: int) -> tuple[nn.Module, int]:
    """The encoder's body for examples of shape (C, H, W), and the number of features it returns."""
    match config:
        case MLP():
            return MLPEncoder(config, math.prod(shape), condition_dim), config.hidden[-1]
        case Conv():
            return ConvEncoder(config, shape, condition_dim), config.hidden
        case _:
            assert_never(config)


def decoder_body(config: Body, latent_dim: int, shape: tuple[int, int, int], condition_dim: int) -> nn.Module:
    """The decoder's body, which returns `shape` = (C_out, H, W) parameters per example."""
    match config:
        case MLP():
            return MLPDecoder(config, latent_dim, shape, condition_dim)
        case Conv():
            return ConvDecoder(config, latent_dim, shape, condition_dim)
        case _:
            assert_never(config)


def with_condition(x_BF: Tensor, condition_BK: Tensor | None) -> Tensor:
    return x_BF if condition_BK is None else torch.cat([x_BF, condition_BK], dim=-1)


class GatedLinear(nn.Module):
    """A linear layer times a sigmoid gate (Dauphin et al. 2017, https://arxiv.org/abs/1612.08083)."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, 2 * out_features)

    def forward(self, x: Tensor) -> Tensor:
        return F.glu(self.linear(x), dim=-1)


def dense(in_features: int, hidden: tuple[int, ...], config: MLP) -> nn.Sequential:
    layers: list[nn.Module] = []
    for out_features in hidden:
        if config.gated:
            layers.append(GatedLinear(in_features, out_features))
        else:
            layers += [nn.Linear(in_features, out_features), ACTIVATIONS[config.activation]()]
        in_features = out_features
    return nn.Sequential(*layers)


class MLPEncoder(nn.Module):
    def __init__(self, config: MLP, in_features: int, condition_dim: int) -> None:
        super().__init__()
        self.layers = dense(in_features + condition_dim, config.hidden, config)

    def forward(self, x_BCHW: Tensor, condition_BK: Tensor | None) -> Tensor:
        return self.layers(with_condition(x_BCHW.flatten(1), condition_BK))


class MLPDecoder(nn.Module):
    def __init__(self, config: MLP, latent_dim: int, shape: tuple[int, int, int], condition_dim: int) -> None:
        super().__init__()
        self.shape = shape
        hidden = config.hidden[::-1]
        self.layers = dense(latent_dim + condition_dim, hidden, config)
        self.out = nn.Linear(hidden[-1], math.prod(shape))

    def forward(self, z_BL: Tensor, condition_BK: Tensor | None) -> Tensor:
        return self.out(self.layers(with_condition(z_BL, condition_BK))).view(-1, *self.shape)


class ResidualBlock(nn.Module):
    """Pre-activation residual block, the identity at initialisation (He et al. 2016, arXiv 1603.05027)."""

    def __init__(self, channels: int, activation: str) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            ACTIVATIONS[activation](),
            nn.Conv2d(channels, channels, 3, padding=1),
            ACTIVATIONS[activation](),
            nn.Conv2d(channels, channels, 3, padding=1),
        )
        last = self.layers[-1]
        assert isinstance(last, nn.Conv2d)
        assert last.bias is not None
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def halvings(config: Conv, height: int, width: int) -> list[tuple[int, int]]:
    """The (height, width) before each halving and after the last.

    Raises:
        ConfigError: If the example is too small for so many halvings.
    """
    sizes = [(height, width)]
    for _ in config.channels:
        height, width = height // 2, width // 2
        sizes.append((height, width))
    if min(height, width) < 1:
        depth = len(config.channels)
        raise ConfigError(
            f"model: a conv body with {depth} channels entries halves the example {depth} times and needs at least "
            f"{2**depth}x{2**depth} pixels, the examples have {sizes[0][0]}x{sizes[0][1]}; use fewer channels entries"
        )
    return sizes


class ConvEncoder(nn.Module):
    def __init__(self, config: Conv, shape: tuple[int, int, int], condition_dim: int) -> None:
        super().__init__()
        channels, height, width = shape
        layers: list[nn.Module] = []
        for out_channels in config.channels:
            layers += [nn.Conv2d(channels, out_channels, 4, stride=2, padding=1)]
            layers += [ResidualBlock(out_channels, config.activation) for _ in range(config.residual_blocks)]
            layers += [ACTIVATIONS[config.activation]()]
            channels = out_channels
        self.layers = nn.Sequential(*layers)
        last_height, last_width = halvings(config, height, width)[-1]
        self.hidden = nn.Sequential(
            nn.Linear(channels * last_height * last_width + condition_dim, config.hidden),
            ACTIVATIONS[config.activation](),
        )

    def forward(self, x_BCHW: Tensor, condition_BK: Tensor | None) -> Tensor:
        return self.hidden(with_condition(self.layers(x_BCHW).flatten(1), condition_BK))


class ConvDecoder(nn.Module):
    def __init__(self, config: Conv, latent_dim: int, shape: tuple[int, int, int], condition_dim: int) -> None:
        super().__init__()
        out_channels, height, width = shape
        sizes = halvings(config, height, width)
        channels = config.channels[-1]
        self.first = (channels, *sizes[-1])
        self.hidden = nn.Sequential(
            nn.Linear(latent_dim + condition_dim, config.hidden),
            ACTIVATIONS[config.activation](),
            nn.Linear(config.hidden, math.prod(self.first)),
        )
        layers: list[nn.Module] = []
        for next_channels, (to_height, to_width) in zip(
            [*config.channels[-2::-1], out_channels], sizes[-2::-1], strict=True
        ):
            # A kernel of 4 with stride 2 doubles; the output padding gives back the odd row or column.
            layers += [ResidualBlock(channels, config.activation) for _ in range(config.residual_blocks)]
            layers += [
                ACTIVATIONS[config.activation](),
                nn.ConvTranspose2d(
                    channels, next_channels, 4, 2, padding=1, output_padding=(to_height % 2, to_width % 2)
                ),
            ]
            channels = next_channels
        self.layers = nn.Sequential(*layers)

    def forward(self, z_BL: Tensor, condition_BK: Tensor | None) -> Tensor:
        return self.layers(self.hidden(with_condition(z_BL, condition_BK)).unflatten(1, self.first))
