"""Likelihoods of whole examples: a family over every pixel of an image, or one for each column of a table.

Shapes: S samples, B batch, C channels, H height, W width, D columns, P parameters of a value. Examples [B,*shape] come from
`prepare`; the decoder's outputs are [S,B,*outputs_shape].
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vae.parts.likelihoods.families import BernoulliFamily, Family


class Likelihood(nn.Module, ABC):
    """p(x|z), in float32 where the outputs are float16 or bfloat16, else in their precision."""

    outputs_shape: tuple[int, ...]
    """What the decoder returns for an example: (C·P, H, W) of images, (numbers in all,) of tables."""
    is_discrete: bool
    """Whether every value is discrete, so that log p(x) is of a probability and can be told in bits per dimension."""

    def log_prob(self, x: Tensor, outputs: Tensor, observed: Tensor | None = None) -> Tensor:
        """Log p(x|z) in nats, [S,B]: the sum over the observed values.

        Args:
            x: Prepared examples, [B,*shape].
            outputs: Of the decoder, [S,B,*outputs_shape].
            observed: bool [B,*shape]; None where everything is. The others count exactly 0, whatever x is there.
        """
        if observed is None:
            return self.log_prob_entries(x, outputs).flatten(2).sum(-1)
        # Every family has 0 in its support: what is missing is scored there, finitely, and then counts 0. By factors of
        # 0 or 1, because `where` takes as long on a CPU as all else together.
        weight = observed.to(x.dtype)
        entries = self.log_prob_entries(x.nan_to_num(0.0, 0.0, 0.0) * weight, outputs)
        return (entries * weight).flatten(2).sum(-1)

    @abstractmethod
    def log_prob_entries(self, x: Tensor, outputs: Tensor) -> Tensor:
        """Log p of each value in nats, [S,B,*shape]; x is prepared and nowhere missing."""

    @abstractmethod
    def mean(self, outputs: Tensor) -> Tensor:
        """E[x|z], [...,*shape] of outputs [...,*outputs_shape]: in [0, 1] for images, in standard deviations of the column
        for its numbers. For categories it is the most probable code.
        """

    @abstractmethod
    def std(self, outputs: Tensor) -> Tensor:
        """Standard deviation of each value, [...,*shape]. For categories √(1 − largest probability), the root mean square
        of being wrong.
        """

    @abstractmethod
    def sample(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        """One draw x ~ p(x|z), [...,*shape]; not clipped to [0, 1] where the density is not."""


class ImageLikelihood(Likelihood):
    """The same family at every pixel of every channel. The decoder's channels are the first parameter's of every channel,
    then the second's, and so on.

    Args:
        family: Of a pixel, in [0, 1].
        shape: (channels, height, width).
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
        """[...,P·C,H,W] as [P,...,C,H,W]."""
        return in_full(outputs).unflatten(-3, (self.family.num_params, -1)).movedim(-4, 0)


class BernoulliLikelihood(ImageLikelihood):
    """Each pixel is 1 with the decoder's probability. The target must be binary: see `prepare`."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__(BernoulliFamily(), shape)

    def log_prob(self, x: Tensor, outputs: Tensor, observed: Tensor | None = None) -> Tensor:
        if observed is not None:
            return super().log_prob(x, outputs, observed)
        # As above, without a pass over the pixels for the sign: the cheapest models spend their time here.
        logits = in_full(outputs)
        cross_entropy = F.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none")
        return -cross_entropy.sum((-3, -2, -1))


class TableLikelihood(Likelihood):
    """A family for each column; columns of one family are scored together.

    Args:
        groups: Families, and the columns of each; together every column once. Outputs are in the order of the groups, and
            within a group the first parameter's of every column, then the second's, and so on.
    """

    def __init__(self, groups: Sequence[tuple[Family, Sequence[int]]]) -> None:
        super().__init__()
        self.families = nn.ModuleList([family for family, _ in groups])
        self.num_columns = [len(columns) for _, columns in groups]
        self.columns = [list(columns) for _, columns in groups]
        self.num_outputs = [family.num_params * len(columns) for family, columns in groups]
        self.is_discrete = all(family.is_discrete for family, _ in groups)
        self.outputs_shape = (sum(self.num_outputs),)
        order = torch.tensor([column for _, columns in groups for column in columns])
        self.order_D: Tensor
        self.register_buffer("order_D", order, persistent=False)
        self.inverse_D: Tensor
        self.register_buffer("inverse_D", order.argsort(), persistent=False)

    def log_prob_entries(self, x: Tensor, outputs: Tensor) -> Tensor:
        values = x.index_select(-1, self.order_D).split(self.num_columns, -1)
        groups = zip(values, self._groups(outputs), strict=True)
        return self._join(family.log_prob(value, params) for value, (family, params) in groups)

    def mean(self, outputs: Tensor) -> Tensor:
        return self._join(family.mean(params) for family, params in self._groups(outputs))

    def std(self, outputs: Tensor) -> Tensor:
        return self._join(family.std(params) for family, params in self._groups(outputs))

    def sample(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        return self._join(family.sample(params, generator) for family, params in self._groups(outputs))

    def by_family(self, outputs: Tensor) -> Iterator[tuple[list[int], Family, Tensor]]:
        """Yields each group's columns, their family, and its parameters [P,...,columns of the group]."""
        for columns, (family, params) in zip(self.columns, self._groups(outputs), strict=True):
            yield columns, family, params

    def _groups(self, outputs: Tensor) -> Iterator[tuple[Family, Tensor]]:
        """Each family with its parameters [P,...,columns of the group], of outputs [...,sum of P·columns]."""
        parts = in_full(outputs).split(self.num_outputs, -1)
        for family, part in zip(cast(Iterable[Family], self.families), parts, strict=True):
            yield family, part.unflatten(-1, (family.num_params, -1)).movedim(-2, 0)

    def _join(self, parts: Iterable[Tensor]) -> Tensor:
        """[...,D] in the table's order, of the groups' columns."""
        return torch.cat(list(parts), -1).index_select(-1, self.inverse_D)


def in_full(outputs: Tensor) -> Tensor:
    """float32 of what autocast left in half precision: densities sum over many values."""
    return outputs.float() if outputs.dtype in (torch.bfloat16, torch.float16) else outputs
