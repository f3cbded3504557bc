"""The likelihood of a table, column by column.

Shapes: B batch, D columns, P parameters of a value.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from vae.data.schema import Column, DataKind, ExampleSpec
from vae.data.transforms import transform_of
from vae.errors import ConfigError
from vae.parts.likelihoods.categorical import CategoryFamily
from vae.parts.likelihoods.gaussian import GaussianFamily
from vae.parts.likelihoods.laplace import LaplaceFamily
from vae.parts.likelihoods.likelihood import Family, Likelihood, LikelihoodPart, in_full
from vae.parts.likelihoods.location_scale import DecodedScale, anywhere
from vae.parts.likelihoods.student_t import StudentTFamily

NUMERIC = {"gaussian": GaussianFamily, "laplace": LaplaceFamily, "student_t": StudentTFamily}


class Mixed(LikelihoodPart):
    """p(x|z) of a table, column by column: a density for standardised numbers, and a categorical for categories."""

    data_kind: ClassVar[DataKind] = "table"

    kind: Literal["mixed"] = "mixed"
    numeric: Literal["gaussian", "laplace", "student_t"] = "gaussian"
    """Density of the numeric columns, in units of each one's standard deviation."""

    @property
    def summary(self) -> str:
        numbers = {"gaussian": "Gaussian", "laplace": "Laplace", "student_t": "Student t"}[self.numeric]
        return f"{numbers} numbers and categorical categories"

    @property
    def decodes_scale(self) -> bool:
        return True

    @property
    def targets(self) -> str:
        return "density of standardised numbers (may be negative), probability of categories"

    def build(self, examples: ExampleSpec) -> Likelihood:
        if examples.kind != self.data_kind:
            raise ConfigError(
                "model.likelihood: mixed scores the columns of a table, and the examples are "
                f"{transform_of(examples).described}; use bernoulli or another likelihood of pixels"
            )
        # Scales start at one standard deviation of the column.
        return TableLikelihood(_by_family(examples.columns or (), NUMERIC[self.numeric](anywhere, DecodedScale(1.0))))


class TableLikelihood(Likelihood):
    """A family for each column; columns of one family are scored together.

    Args:
        groups: Families, and the columns of each; together every column once. Outputs are in the order of the groups, and
            within a group the first parameter of every column, then the second, and so on.
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
        """Yields each family with its parameters [P,...,columns of the group], from outputs [...,sum of P·columns]."""
        parts = in_full(outputs).split(self.num_outputs, -1)
        for family, part in zip(cast(Iterable[Family], self.families), parts, strict=True):
            yield family, part.unflatten(-1, (family.num_params, -1)).movedim(-2, 0)

    def _join(self, parts: Iterable[Tensor]) -> Tensor:
        """Returns the groups' columns in the table's order, [...,D]."""
        return torch.cat(list(parts), -1).index_select(-1, self.inverse_D)


def _by_family(columns: tuple[Column, ...], numeric: Family) -> list[tuple[Family, list[int]]]:
    """Returns all numbers together, then categorical columns, together where they have as many categories."""
    groups: dict[int, list[int]] = {}
    for index, column in enumerate(columns):
        groups.setdefault(len(column.categories or ()), []).append(index)
    return [(CategoryFamily(size) if size else numeric, groups[size]) for size in sorted(groups)]
