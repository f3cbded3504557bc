"""The likelihood of a table whose columns depend on those before them.

Shapes: S samples, B batch, D columns, F features of the columns, U hidden units, O outputs of the decoder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from vae.data.schema import Column
from vae.errors import ConfigError
from vae.parts.likelihoods.likelihood import Family, in_full
from vae.parts.likelihoods.mixed import TableLikelihood, TableLikelihoodPart

NUM_BINS = 16
"""Bins of a number among the features of the columns after it, of equal mass under a standard normal."""
LEAST_UNITS = 4
"""Units of each hidden layer that a column has of its own, however many columns there are."""
MOST_COLUMNS = 500
"""Most columns: the weights grow with their square, and a draw takes a pass through all of them for each."""
MOST_CATEGORIES = 10_000
"""Most categories of all columns: each takes three times `hidden` weights, where `mixed` takes a layer's width."""


class Autoregressive(TableLikelihoodPart):
    """p(x|z) of a table, column by column in its order: each depends on z and on the columns before (Germain et al. 2015).

    A factorised likelihood leaves all dependence between columns to the latent. Here drawn rows keep the dependence that
    the latent does not explain. A missing entry counts 0, and the columns after it see that it is missing.
    """

    is_factorised: ClassVar[bool] = False

    kind: Literal["autoregressive"] = "autoregressive"
    numeric: Literal["auto", "gaussian", "laplace", "student_t", "mixture"] = "mixture"
    """Density of numeric columns, as in `mixed`; a mixture keeps the modes that the columns before leave open."""
    hidden: Annotated[int, Field(gt=0)] = 512
    """Units of each of the two hidden layers between columns, shared evenly among the columns, four for each at least."""

    @property
    def summary(self) -> str:
        return f"{super().summary}, each given the columns before it ({self.hidden} units)"

    def module(self, columns: Sequence[Column]) -> TableLikelihood:
        if excess := excess_of(len(columns), sum(len(column.categories or ()) for column in columns)):
            raise ConfigError(
                f"model.likelihood: autoregressive draws column after column, and the table has {excess}; "
                "use a likelihood of kind mixed, or leave columns out of the dataset by --columns"
            )
        return AutoregressiveLikelihood(self.families(columns), columns, self.hidden)


def excess_of(num_columns: int, num_categories: int) -> str:
    """Returns which number is too large for the likelihood, and its limit; empty if none is."""
    for number, most, name in (num_columns, MOST_COLUMNS, "columns"), (num_categories, MOST_CATEGORIES, "categories"):
        if number > most:
            return f"{number:,} {name}, more than {most:,}"
    return ""


class MaskedLinear(nn.Linear):
    """A linear layer without the weights that a mask leaves out.

    Args:
        mask_OI: Whether each output depends on each input, [outputs,inputs].
        bias: Whether there is a bias.
    """

    def __init__(self, mask_OI: Tensor, *, bias: bool = True) -> None:
        super().__init__(mask_OI.shape[1], mask_OI.shape[0], bias=bias)
        self.mask_OI: Tensor
        self.register_buffer("mask_OI", mask_OI.float(), persistent=False)

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.weight * self.mask_OI.to(self.weight.dtype), self.bias)


class AutoregressiveLikelihood(TableLikelihood):
    """Families of the columns, whose parameters are the decoder's outputs plus what a masked network adds.

    The network starts by adding nothing. `mean` gives every column its mean given the means of the columns before it, and
    `std` the spread around it. To impute, a column depends on the observed columns before it.

    Args:
        groups: Families, and the columns of each; see `TableLikelihood`.
        columns: The columns, in their order.
        hidden: Units of each hidden layer.

    References:
        Germain, Gregor, Murray & Larochelle, MADE: Masked Autoencoder for Distribution Estimation (2015).
        https://arxiv.org/abs/1502.03509
        Gorishniy, Rubachev & Babenko, On Embeddings for Numerical Features in Tabular Deep Learning (2022), section 3.2.
        https://arxiv.org/abs/2203.05556
    """

    def __init__(self, groups: Sequence[tuple[Family, Sequence[int]]], columns: Sequence[Column], hidden: int) -> None:
        super().__init__(groups)
        self.sizes = [len(column.categories or ()) for column in columns]
        of_outputs = [column for family, members in groups for _ in range(family.num_params) for column in members]
        of_features = [index for index, size in enumerate(self.sizes) for _ in range(size or 2 + NUM_BINS)]
        of_places = [place for size in self.sizes for place in ([0] * size or range(2 + NUM_BINS))]
        units = max(LEAST_UNITS, hidden // len(columns))
        of_outputs_O, of_features_F = torch.tensor(of_outputs), torch.tensor(of_features)
        of_units_U = torch.arange(len(columns)).repeat_interleave(units)
        self.edges: Tensor
        self.register_buffer("edges", normal_quantiles(NUM_BINS), persistent=False)
        self.context = nn.Linear(len(of_outputs), len(of_units_U))
        self.first = MaskedLinear(of_units_U[:, None] > of_features_F, bias=False)
        self.second = MaskedLinear(of_units_U[:, None] >= of_units_U)
        self.out = MaskedLinear(of_outputs_O[:, None] >= of_units_U)
        with torch.no_grad():  # bins begin without weight, or small tables overfit
            self.first.weight[:, [number for number, place in enumerate(of_places) if place >= 2]] = 0
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def given(self, outputs: Tensor, x: Tensor | None = None, observed: Tensor | None = None) -> Tensor:
        outputs = in_full(outputs)
        x = self.mean(outputs) if x is None else x
        with torch.autocast(outputs.device.type, enabled=False):
            hidden = F.silu(self.context(outputs) + self.first(self._features(x, observed).to(outputs.dtype)))
            hidden = hidden + F.silu(self.second(hidden))
            return outputs + self.out(hidden)

    def log_prob(self, x: Tensor, outputs: Tensor, observed: Tensor | None = None) -> Tensor:
        if observed is None:
            return self.log_prob_entries(x, outputs).sum(-1)
        weight = observed.to(x.dtype)
        x = x.nan_to_num(0.0, 0.0, 0.0) * weight
        entries = super().log_prob_entries(x, self.given(outputs, x, observed))
        return (entries * weight).sum(-1)

    def log_prob_entries(self, x: Tensor, outputs: Tensor) -> Tensor:
        return super().log_prob_entries(x, self.given(outputs, x))

    def mean(self, outputs: Tensor) -> Tensor:
        return self._in_order(outputs, lambda family, params: family.mean(params))

    def std(self, outputs: Tensor) -> Tensor:
        return super().std(self.given(outputs))

    def sample(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        return self._in_order(outputs, lambda family, params: family.sample(params, generator))

    def complete(self, outputs: Tensor, x: Tensor, observed: Tensor, generator: torch.Generator) -> Tensor:
        return self._in_order(outputs, lambda family, params: family.sample(params, generator), x, observed)

    def _in_order(
        self,
        outputs: Tensor,
        value_of: Callable[[Family, Tensor], Tensor],
        x: Tensor | None = None,
        observed: Tensor | None = None,
    ) -> Tensor:
        """Returns rows [...,D] whose columns get their values one after the other.

        Args:
            outputs: Outputs of the decoder, [...,O].
            value_of: Function from a family and its parameters [P,...,columns of the group] to values of its columns.
            x: Values of the observed columns, [...,D].
            observed: Whether a column has its value already, bool [...,D].
        """
        later = outputs.new_zeros(*outputs.shape[:-1], dtype=in_full(outputs).dtype)
        columns: list[Tensor] = []
        for index in range(len(self.sizes)):
            rows = torch.stack([*columns, *[later] * (len(self.sizes) - index)], -1)
            group = next(number for number, members in enumerate(self.columns) if index in members)
            family, params = next(islice(self._groups(self.given(outputs, rows)), group, None))
            value = value_of(family, params)[..., self.columns[group].index(index)]
            if x is not None and observed is not None:
                value = torch.where(observed[..., index], x[..., index].to(value.dtype), value)
            columns.append(value)
        return torch.stack(columns, -1)

    def _features(self, x: Tensor, observed: Tensor | None) -> Tensor:
        """Returns [...,F] of prepared rows [...,D]: numbers, whether they are missing and their bins; ones for categories.

        A bin is 0 below its lower edge, 1 above its upper one, and linear between: the piecewise linear encoding of
        Gorishniy et al. 2022. Trees find thresholds, such as those of capital gains, that smooth layers do not.
        """
        parts = []
        for index, size in enumerate(self.sizes):
            value = x[..., index]
            there = torch.ones_like(value) if observed is None else observed[..., index].to(value.dtype)
            if size:
                parts.append((value[..., None] == torch.arange(size, device=x.device)) * there[..., None])
            else:
                low, high = self.edges[:-1], self.edges[1:]
                bins = ((value[..., None] - low) / (high - low)).clamp(0, 1) * there[..., None]
                parts.append(torch.cat([torch.stack([value * there, 1 - there], -1), bins], -1))
        return torch.cat(parts, -1)


def normal_quantiles(bins: int) -> Tensor:
    """Returns the edges of bins of equal mass under a standard normal, [bins + 1]; the outer ones are finite."""
    inner = torch.special.ndtri(torch.linspace(0, 1, bins + 1, dtype=torch.float64)[1:-1]).float()
    return torch.cat([2 * inner[:1], inner, 2 * inner[-1:]])
