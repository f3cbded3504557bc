"""Fully connected layers over the columns of a table."""

from __future__ import annotations

from typing import ClassVar, Literal

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

    @property
    def num_features(self) -> int:
        return self.hidden[-1]

    def encoder(self, examples: ExampleSpec, context: ContextDims) -> nn.Module:
        check_kind(self, examples)
        return TableEncoder(self, examples, context)

    def decoder(self, latent_dim: int, outputs_shape: tuple[int, ...], context: ContextDims) -> nn.Module:
        return DenseDecoder(latent_dim, self.hidden, self.activation, outputs_shape, context)


class TableEncoder(nn.Module):
    """Numbers, embedded categories and indicators of missing entries, side by side, to features."""

    def __init__(self, config: TableBody, examples: ExampleSpec, context: ContextDims) -> None:
        super().__init__()
        columns = examples.columns or ()
        self.numeric = [number for number, column in enumerate(columns) if column.categories is None]
        categorical = {n: column.categories for n, column in enumerate(columns) if column.categories is not None}
        self.categorical = list(categorical)
        # One more than the categories, for missing entries.
        self.embeddings = nn.ModuleList(
            nn.Embedding(len(categories) + 1, config.embedding_dim) for categories in categorical.values()
        )
        self.missing_indicators = config.missing_indicators
        width = len(self.numeric) + config.embedding_dim * len(categorical)
        width += len(columns) * config.missing_indicators
        self.dense = Dense(width + context.beside, config.hidden, config.activation, context)

    def forward(self, x_BD: Tensor, observed_BD: Tensor | None, context: Context) -> Tensor:
        observed_BD = torch.ones_like(x_BD, dtype=torch.bool) if observed_BD is None else observed_BD
        parts = [x_BD[:, self.numeric]]
        for column, embedding in zip(self.categorical, self.embeddings, strict=True):
            missing = embedding.num_embeddings - 1  # pyright: ignore[reportOperatorIssue]
            parts.append(embedding(torch.where(observed_BD[:, column], x_BD[:, column].long(), missing)))
        if self.missing_indicators:
            parts.append(observed_BD.to(x_BD.dtype))
        return self.dense(concatenated(torch.cat(parts, dim=-1), context), context)
