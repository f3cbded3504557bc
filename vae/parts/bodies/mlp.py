"""Fully connected layers over the flattened example."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from vae.data.schema import ExampleSpec
from vae.parts.bodies.body import (
    Activation,
    BodyPart,
    Context,
    ContextDims,
    Dense,
    DenseDecoder,
    EncoderBody,
    check_kind,
    concatenated,
    sizes,
)
from vae.parts.part import HiddenUnits


class MLP(BodyPart):
    """Fully connected layers over the flattened image."""

    kind: Literal["mlp"] = "mlp"
    hidden: HiddenUnits = (256, 128)
    """Units of each hidden layer, from the data inwards; the decoder uses them in reverse."""
    activation: Activation = "relu"
    """Activation function of the hidden layers."""
    gated: bool = False
    """Whether each hidden layer has a learned sigmoid gate (Dauphin et al. 2017), as in the VampPrior paper."""

    @property
    def summary(self) -> str:
        return f"MLP {sizes(self.hidden)}, {self.activation}{', gated' * self.gated}"

    def encoder(self, examples: ExampleSpec, context: ContextDims) -> EncoderBody:
        check_kind(self, examples)
        return MLPEncoder(self, examples.num_values, context)

    def decoder(self, latent_dim: int, outputs_shape: tuple[int, ...], context: ContextDims) -> nn.Module:
        return DenseDecoder(latent_dim, self.hidden, self.activation, outputs_shape, context, gated=self.gated)


class MLPEncoder(EncoderBody):
    """Flattened examples to features."""

    def __init__(self, config: MLP, in_features: int, context: ContextDims) -> None:
        super().__init__()
        self.num_features = config.hidden[-1]
        self.dense = Dense(in_features + context.beside, config.hidden, config.activation, context, gated=config.gated)

    def forward(self, x: Tensor, observed: Tensor | None, context: Context) -> Tensor:
        return self.dense(concatenated(x.flatten(1), context), context)
