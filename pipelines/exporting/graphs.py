"""The graphs of a model that can be exported, each a module from tensors to tensors with its preprocessing inside.

Shapes: N rows, L latent, K conditions, D columns of a table; `shape` is an example's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import copy
from typing import Literal

import torch
from torch import Tensor, nn

from vae.data.conditions import encode_conditions
from vae.data.schema import WHOLE, Column
from vae.data.transforms import transform_of
from vae.data.transforms.numbers import KINDS
from vae.data.transforms.times import DAY_SECONDS, Times
from vae.model import VAE
from vae.parts.terms import Inputs

Pixels = Literal["float32", "uint8"]
"""Type of the pixels that a graph takes: in [0, 1] with NaN for a missing one, or in 0…255."""

MOST_COLUMNS_IN_TURN = 32
"""Most columns of a likelihood that makes them one after the other: a graph holds a pass of its network for each."""


class Graph(nn.Module):
    """One use of a model as a function of tensors with rows as their first dimension.

    The inputs after the first are the condition [N,K], as values in the columns' own units and categories as codes, of a
    conditional model, and then β [N] of a model with β gates.

    Args:
        network: The model.
        pixels: Type of the pixels of images.
    """

    takes: str
    """Name of the first input."""
    gives: tuple[str, ...] = ("examples",)
    """Names of the outputs."""
    leaves_out: tuple[str, ...] = ()
    """Parts of the model that the graph never uses."""

    def __init__(self, network: VAE, pixels: Pixels) -> None:
        super().__init__()
        self.network = copy(network)
        self.network._modules = {**network._modules, **dict.fromkeys(self.leaves_out, nn.Identity())}
        self.pixels = pixels
        self.bounds = None if network.examples.columns is None else Bounds(network.examples.columns)

    def prepared(self, rows: Tensor, beside: Sequence[Tensor]) -> Inputs:
        """Returns rows as the model takes them: images [N,*shape], or rows of a table [N,D] with NaN where missing."""
        condition_NF, log_beta_N1 = self.context(beside)
        if self.bounds is not None:
            x, observed = transform_of(self.network.examples).prepare(rows)
        elif self.pixels == "uint8":
            x, observed = rows.float() / 255, None
        else:
            observed = ~rows.isnan()
            x = torch.where(observed, rows, 0.0)
        return Inputs(x, observed, None, condition_NF, log_beta_N1)

    def context(self, beside: Sequence[Tensor]) -> tuple[Tensor | None, Tensor | None]:
        """Returns the features of the condition, [N,F], and log β, [N,1], from the inputs after the first."""
        network, rest = self.network, list(beside)
        condition_NF = encode_conditions(network.conditions, rest.pop(0).unbind(1)) if network.conditions else None
        return condition_NF, rest.pop(0)[:, None].log() if network.config.beta_gates else None

    def decoded(self, z_NL: Tensor, condition_NF: Tensor | None, log_beta_N1: Tensor | None) -> Tensor:
        """Returns the mean examples at latents: images [N,*shape] in [0, 1], or rows of a table in their own units."""
        outputs = self.network.decode(z_NL[None], condition_NF, log_beta_N1)[0]
        x = self.network.likelihood.mean(outputs)
        return x if self.bounds is None else self.bounds(transform_of(self.network.examples).in_units(x))

    @classmethod
    def refusal(cls, network: VAE) -> str | None:
        """Returns why the graph of such a model cannot be exported; None where it can."""
        columns = network.examples.columns or ()
        if not network.config.likelihood.is_factorised and len(columns) > MOST_COLUMNS_IN_TURN:
            return (
                f"its likelihood makes one column after the other, and a graph of {len(columns)} columns, more than "
                f"{MOST_COLUMNS_IN_TURN}, would hold as many copies of its network; encode can be exported"
            )
        return None


class Encode(Graph):
    """Examples to the mean and the standard deviation of q(z|x), [N,L] each."""

    takes, gives, leaves_out = "rows", ("mean", "std"), ("decoder", "likelihood")

    def forward(self, rows: Tensor, *beside: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the posterior's mean and standard deviation."""
        posterior = self.network.encode(self.prepared(rows, beside))
        return posterior.mean, posterior.std()

    @classmethod
    def refusal(cls, network: VAE) -> str | None:
        """Returns None: every encoder can be exported."""
        return None


class Decode(Graph):
    """Latents [N,L] to the mean of p(x|z)."""

    takes, leaves_out = "latents", ("encoder", "posterior", "prior")

    def forward(self, latents: Tensor, *beside: Tensor) -> Tensor:
        """Returns mean examples."""
        return self.decoded(latents, *self.context(beside))


class Reconstruct(Graph):
    """Examples to the decoder's answer at their posterior's mean."""

    takes = "rows"

    def forward(self, rows: Tensor, *beside: Tensor) -> Tensor:
        """Returns reconstructions."""
        inputs = self.prepared(rows, beside)
        return self.decoded(self.network.encode(inputs).mean, inputs.condition, inputs.log_beta)


class Generate(Graph):
    """Standard normal noise to the mean of p(x|z) at the latents that the prior makes of it."""

    takes = "noise"

    def forward(self, noise: Tensor, *beside: Tensor) -> Tensor:
        """Returns new examples."""
        condition_NF, log_beta_N1 = self.context(beside)
        return self.decoded(self.network.sample_prior(noise, condition_NF), condition_NF, log_beta_N1)


GRAPHS: dict[str, type[Graph]] = {
    "encode": Encode,
    "decode": Decode,
    "reconstruct": Reconstruct,
    "generate": Generate,
}


class Bounds(nn.Module):
    """The bounds and the rounding of a table's values, as `Numbers.generated` has them.

    Args:
        columns: Columns of the table.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        super().__init__()
        is_bounded = [column.smallest is not None for column in columns]
        facts = [
            [c.smallest if b else -math.inf for c, b in zip(columns, is_bounded, strict=True)],
            [c.largest if b else math.inf for c, b in zip(columns, is_bounded, strict=True)],
            [step_of(column) for column in columns],
        ]
        self.facts_3D: Tensor
        self.register_buffer("facts_3D", torch.tensor(facts, dtype=torch.float64))

    def forward(self, values_ND: Tensor) -> Tensor:
        """Returns values in float64 as a dataset holds them."""
        smallest_D, largest_D, step_D = self.facts_3D
        held = torch.minimum(torch.maximum(values_ND.double(), smallest_D), largest_D)
        return torch.where(step_D > 0, (held / step_D.clamp(min=1.0)).round() * step_D, held)


def step_of(column: Column) -> float:
    """Returns the distance of the values that a column can hold; 0 where it holds any."""
    if column.categories is not None:
        return 1.0
    if column.type == "time":
        return float(DAY_SECONDS) if Times(column).unit_seconds == DAY_SECONDS else 0.0
    return float(column.type in WHOLE or column.dtype in KINDS)
