"""Fully connected layers over the columns of a table."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from vae.data.schema import DataKind, ExampleSpec
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
from vae.parts.part import HiddenUnits, Positive


class TableBody(BodyPart):
    """Fully connected layers over the columns of a table: numbers as they are, categories by a learned embedding."""

    data_kind: ClassVar[DataKind] = "table"
    requirements: ClassVar[tuple[str, ...]] = ("pandas",)

    kind: Literal["table"] = "table"
    hidden: HiddenUnits = (128, 128)
    """Units of each hidden layer, from the data inwards; the decoder uses them in reverse."""
    embedding_dim: Positive = 4
    """Dimensions of the embedding of each categorical column."""
    missing_indicators: bool = True
    """Whether the encoder gets an indicator of each missing entry, beside the 0 in its place."""
    activation: Activation = "tanh"
    """Activation function of the hidden layers."""

    @property
    def summary(self) -> str:
        indicators = ", indicators of missing entries" * self.missing_indicators
        return f"table MLP {sizes(self.hidden)}, {self.activation}{indicators}"

    def encoder(self, examples: ExampleSpec, context: ContextDims) -> EncoderBody:
        check_kind(self, examples)
        return TableEncoder(self, examples, context)

    def decoder(self, latent_dim: int, outputs_shape: tuple[int, ...], context: ContextDims) -> nn.Module:
        return DenseDecoder(latent_dim, self.hidden, self.activation, outputs_shape, context)


class TableEncoder(EncoderBody):
    """Numbers, embedded categories and indicators of missing entries, side by side, to features.

    Shapes: B batch, D columns, C categorical columns.
    """

    def __init__(self, config: TableBody, examples: ExampleSpec, context: ContextDims) -> None:
        super().__init__()
        self.num_features = config.hidden[-1]
        columns = examples.columns or ()
        self.numeric = [number for number, column in enumerate(columns) if column.categories is None]
        categorical = {n: len(column.categories) for n, column in enumerate(columns) if column.categories is not None}
        self.categorical = list(categorical)
        missing_C = torch.tensor(list(categorical.values()), dtype=torch.long)
        # One more than the categories, for missing entries. The columns share a table, one after the other.
        self.missing_C: Tensor
        self.first_C: Tensor
        self.register_buffer("missing_C", missing_C, persistent=False)
        self.register_buffer("first_C", (missing_C + 1).cumsum(0) - missing_C - 1, persistent=False)
        self.embedding = nn.Embedding(int((missing_C + 1).sum()), config.embedding_dim) if categorical else None
        self.register_load_state_dict_pre_hook(_join_embeddings)
        self.missing_indicators = config.missing_indicators
        width = len(self.numeric) + config.embedding_dim * len(categorical)
        width += len(columns) * config.missing_indicators
        self.dense = Dense(width + context.beside, config.hidden, config.activation, context)

    def forward(self, x_BD: Tensor, observed_BD: Tensor | None, context: Context) -> Tensor:
        observed_BD = torch.ones_like(x_BD, dtype=torch.bool) if observed_BD is None else observed_BD
        parts = [x_BD[:, self.numeric]]
        if self.embedding is not None:
            codes_BC = torch.where(observed_BD[:, self.categorical], x_BD[:, self.categorical].long(), self.missing_C)
            parts.append(self.embedding(codes_BC + self.first_C).flatten(1))
        if self.missing_indicators:
            parts.append(observed_BD.to(x_BD.dtype))
        return self.dense(concatenated(torch.cat(parts, dim=-1), context), context)


def _join_embeddings(encoder: nn.Module, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    """Joins the embeddings of a model that an earlier version registered, one for each column."""
    names = [name for name in state if name.startswith(f"{prefix}embeddings.")]
    if names:
        names.sort(key=lambda name: int(name.split(".")[-2]))
        state[f"{prefix}embedding.weight"] = torch.cat([state.pop(name) for name in names])
