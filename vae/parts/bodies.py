"""Bodies: what turns an example into features, and a latent into the parameters of a likelihood.

Shapes: B batch, C channels, H height, W width, D columns, K width of the condition, F features, L latent.
An encoder body maps (x [B,*shape], observed [B,*shape] | None, context) to features [B,F]; a decoder body maps
(z [B,L], context) to [B,*outputs_shape].
"""

from __future__ import annotations

import math
from typing import NamedTuple, assert_never

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vae.config import MLP, Body, Conv, TableBody
from vae.data.schema import ExampleSpec
from vae.errors import ConfigError

ACTIVATIONS = {"relu": nn.ReLU, "silu": nn.SiLU, "tanh": nn.Tanh, "elu": nn.ELU}


class Context(NamedTuple):
    """What a body is told beside its input."""

    beside: Tensor | None = None
    """The condition, where it is concatenated, [B,K]"""
    film: Tensor | None = None
    """The condition, where it scales and shifts, [B,K]"""
    log_beta: Tensor | None = None
    """Of every example, [B,1], for a model with β gates."""

    def repeat(self, samples: int) -> Context:
        """For `samples` draws of each example, [S·B,…]."""
        if samples == 1:
            return self
        return Context(*(None if part is None else part.repeat(samples, 1) for part in self))


class ContextDims(NamedTuple):
    """Widths of a context; 0 where there is none."""

    beside: int = 0
    film: int = 0
    channels_only: bool = False
    """Whether film is for convolutions and images alone."""
    log_beta: bool = False
    """Whether the layers are gated by log β."""
    decodes: bool = False
    """Whether the layers are a decoder's, whose gates are of another form."""

    @property
    def of_dense(self) -> ContextDims:
        """What fully connected layers are told."""
        return self._replace(film=0) if self.channels_only else self


def encoder_body(config: Body, examples: ExampleSpec, context: ContextDims) -> tuple[nn.Module, int]:
    """The encoder's body for some examples, and the number of features it returns.

    Raises:
        ConfigError: If the body does not fit the examples.
    """
    _check_fits(config, examples)
    match config:
        case MLP():
            return MLPEncoder(config, examples.num_values, context), config.hidden[-1]
        case Conv():
            return ConvEncoder(config, examples.shape, context), config.hidden
        case TableBody():
            return TableEncoder(config, examples, context), config.hidden[-1]
        case _:
            assert_never(config)


def decoder_body(config: Body, latent_dim: int, outputs_shape: tuple[int, ...], context: ContextDims) -> nn.Module:
    """The decoder's body, which returns `outputs_shape` parameters per example."""
    context = context._replace(decodes=True)
    match config:
        case MLP() | TableBody():
            return DenseDecoder(config, latent_dim, outputs_shape, context)
        case Conv():
            return ConvDecoder(config, latent_dim, outputs_shape, context)
        case _:
            assert_never(config)


def _check_fits(config: Body, examples: ExampleSpec) -> None:
    if isinstance(config, TableBody) != (examples.columns is not None):
        kind, fitting = ("a table", "`table`") if examples.columns is not None else ("images", "`mlp` or `conv`")
        raise ConfigError(
            f"model.encoder: the dataset holds {kind}, which a body of kind {config.kind!r} does not read; use {fitting}"
        )


def encoder_gate(affine: Tensor) -> Tensor:
    """Returns 2σ(a), the factor of an encoder's pre-activations, of a = w·log β + b.

    Twice the paper's, so that a gate with a = 0 changes nothing.
    """
    return 2 * torch.sigmoid(affine)


def decoder_gate(affine: Tensor) -> Tensor:
    """Returns √ReLU(1 − exp(a)), the factor of a decoder's pre-activations, of a = w·log β + b: 0 where a ≥ 0.

    The root's slope has no bound at 0. Below `LINEAR_BELOW` the gate goes to 0 in a straight line instead, so that every
    gradient is finite.
    """
    open_share = -torch.expm1(affine.clamp_max(0))
    return open_share * open_share.clamp_min(LINEAR_BELOW).rsqrt()


LINEAR_BELOW = 1e-4
"""Open share of a decoder's gate, 1 − exp(a), below which the gate is linear in it."""
INITIAL_OPENNESS = -3.0
"""Affine term at which a decoder's gates start: they are 0.97 open."""


class Stage(nn.Module):
    """A layer, what the context does to its outputs, and the activation.

    The context scales and shifts them by the condition (FiLM, Perez et al. 2018, https://arxiv.org/abs/1709.07871), and
    gates them by log β (Bae et al. 2023, https://arxiv.org/abs/2212.03905): each pre-activation has a factor, of one form
    in the encoder and another in the decoder, which are those of the optimum of a linear VAE. Doubled sigmoids on both
    sides came to 0.10 nats more on the digits (β from 0.1 to 10, six seeds, standard error 0.11).
    """

    def __init__(self, layer: nn.Module, features: int, activation: nn.Module, context: ContextDims) -> None:
        super().__init__()
        self.layer = layer
        self.activation = activation
        self.film = _film(features, context) if context.film else None
        self.gate = _gate(features, context) if context.log_beta else None
        self.gate_of = decoder_gate if context.decodes else encoder_gate

    def forward(self, x: Tensor, context: Context) -> Tensor:
        x = self.layer(x)
        if self.film is not None:
            scale, shift = _broadcast(self.film(context.film), x).chunk(2, dim=1)
            x = torch.addcmul(x + shift, x, scale)
        if self.gate is not None:
            x = x * _broadcast(self.gate_of(self.gate(context.log_beta)), x)
        return self.activation(x)


def _gate(features: int, context: ContextDims) -> nn.Linear:
    """Open to the same degree at every β at first."""
    layer = _zeroed(nn.Linear(1, features))
    if context.decodes:
        nn.init.constant_(layer.bias, INITIAL_OPENNESS)
    return layer


def _film(features: int, context: ContextDims) -> nn.Linear:
    """Nothing at first; but channels alone begin scaled and shifted at random, some by a negative number: a style that is
    another's negative would else have to pass through nothing on its way to it.
    """
    layer = _zeroed(nn.Linear(context.film, 2 * features))
    if context.channels_only:
        nn.init.normal_(layer.weight)
    return layer


def _zeroed(layer: nn.Linear) -> nn.Linear:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _broadcast(per_feature_BF: Tensor, x: Tensor) -> Tensor:
    """[B,F] or, beside an image, [B,F,1,1]."""
    return per_feature_BF.reshape(*per_feature_BF.shape, *(1 for _ in x.shape[2:]))


def _beside(x_BF: Tensor, context: Context) -> Tensor:
    return x_BF if context.beside is None else torch.cat([x_BF, context.beside], dim=-1)


class GatedLinear(nn.Module):
    """A linear layer times a sigmoid gate (Dauphin et al. 2017, https://arxiv.org/abs/1612.08083)."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, 2 * out_features)

    def forward(self, x: Tensor) -> Tensor:
        return F.glu(self.linear(x), dim=-1)


class Dense(nn.Module):
    """Fully connected stages."""

    def __init__(
        self, in_features: int, hidden: tuple[int, ...], config: MLP | TableBody, context: ContextDims
    ) -> None:
        super().__init__()
        gated = isinstance(config, MLP) and config.gated
        stages = []
        for features in hidden:
            layer = GatedLinear(in_features, features) if gated else nn.Linear(in_features, features)
            activation = nn.Identity() if gated else ACTIVATIONS[config.activation]()
            stages.append(Stage(layer, features, activation, context))
            in_features = features
        self.stages = nn.ModuleList(stages)

    def forward(self, x_BF: Tensor, context: Context) -> Tensor:
        for stage in self.stages:
            x_BF = stage(x_BF, context)
        return x_BF


class MLPEncoder(nn.Module):
    def __init__(self, config: MLP, in_features: int, context: ContextDims) -> None:
        super().__init__()
        self.dense = Dense(in_features + context.beside, config.hidden, config, context)

    def forward(self, x: Tensor, observed: Tensor | None, context: Context) -> Tensor:
        return self.dense(_beside(x.flatten(1), context), context)


class TableEncoder(nn.Module):
    """Numbers, embedded categories and, if asked for, what is missing, side by side."""

    def __init__(self, config: TableBody, examples: ExampleSpec, context: ContextDims) -> None:
        super().__init__()
        columns = examples.columns or ()
        self.numeric = [number for number, column in enumerate(columns) if column.categories is None]
        categorical = {n: column.categories for n, column in enumerate(columns) if column.categories is not None}
        self.categorical = list(categorical)
        # One more than the categories, for what is missing.
        self.embeddings = nn.ModuleList(
            nn.Embedding(len(categories) + 1, config.embedding_dim) for categories in categorical.values()
        )
        self.missing_indicators = config.missing_indicators
        width = len(self.numeric) + config.embedding_dim * len(categorical)
        width += len(columns) * config.missing_indicators
        self.dense = Dense(width + context.beside, config.hidden, config, context)

    def forward(self, x_BD: Tensor, observed_BD: Tensor | None, context: Context) -> Tensor:
        observed_BD = torch.ones_like(x_BD, dtype=torch.bool) if observed_BD is None else observed_BD
        parts = [x_BD[:, self.numeric]]
        for column, embedding in zip(self.categorical, self.embeddings, strict=True):
            missing = embedding.num_embeddings - 1  # pyright: ignore[reportOperatorIssue]
            parts.append(embedding(torch.where(observed_BD[:, column], x_BD[:, column].long(), missing)))
        if self.missing_indicators:
            parts.append(observed_BD.to(x_BD.dtype))
        return self.dense(_beside(torch.cat(parts, dim=-1), context), context)


class DenseDecoder(nn.Module):
    def __init__(
        self, config: MLP | TableBody, latent_dim: int, outputs_shape: tuple[int, ...], context: ContextDims
    ) -> None:
        super().__init__()
        self.outputs_shape = outputs_shape
        hidden = config.hidden[::-1]
        self.dense = Dense(latent_dim + context.beside, hidden, config, context)
        self.out = nn.Linear(hidden[-1], math.prod(outputs_shape))

    def forward(self, z_BL: Tensor, context: Context) -> Tensor:
        return self.out(self.dense(_beside(z_BL, context), context)).view(-1, *self.outputs_shape)


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
    def __init__(self, config: Conv, shape: tuple[int, ...], context: ContextDims) -> None:
        super().__init__()
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
        return self.hidden(_beside(x_BCHW.flatten(1), context), context)


class ConvDecoder(nn.Module):
    def __init__(self, config: Conv, latent_dim: int, outputs_shape: tuple[int, ...], context: ContextDims) -> None:
        super().__init__()
        out_channels, height, width = outputs_shape
        sizes = halvings(config, height, width)
        channels = config.channels[-1]
        self.first = (channels, *sizes[-1])
        activation = ACTIVATIONS[config.activation]
        linear = nn.Linear(latent_dim + context.beside, config.hidden)
        self.hidden = Stage(linear, config.hidden, activation(), context.of_dense)
        self.spread = nn.Linear(config.hidden, math.prod(self.first))
        stages, upsamplings = [], []
        for next_channels, (to_height, to_width) in zip(
            [*config.channels[-2::-1], out_channels], sizes[-2::-1], strict=True
        ):
            blocks = [ResidualBlock(channels, config.activation) for _ in range(config.residual_blocks)]
            stages.append(Stage(nn.Sequential(*blocks), channels, activation(), context))
            # A kernel of 4 with stride 2 doubles; the output padding gives back the odd row or column.
            odd = (to_height % 2, to_width % 2)
            upsamplings.append(nn.ConvTranspose2d(channels, next_channels, 4, 2, padding=1, output_padding=odd))
            channels = next_channels
        self.stages, self.upsamplings = nn.ModuleList(stages), nn.ModuleList(upsamplings)
        # What shows in the image itself, such as its negative, takes a scale of its own channels.
        told = ContextDims(film=context.film, channels_only=True)
        self.out = Stage(nn.Identity(), channels, nn.Identity(), told) if context.channels_only else None

    def forward(self, z_BL: Tensor, context: Context) -> Tensor:
        x = self.spread(self.hidden(_beside(z_BL, context), context)).unflatten(1, self.first)
        for stage, upsampling in zip(self.stages, self.upsamplings, strict=True):
            x = upsampling(stage(x, context))
        return x if self.out is None else self.out(x, context)
