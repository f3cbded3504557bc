"""The likelihood of a table, column by column.

Shapes: B batch, D columns, P parameters of a value.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from vae.data.schema import WHOLE, Column, DataKind, ExampleSpec
from vae.data.transforms import transform_of
from vae.data.transforms.curves import curves_of
from vae.errors import ConfigError
from vae.parts.likelihoods.categorical import CategoryFamily
from vae.parts.likelihoods.curved import CurvedFamily, PointMassFamily
from vae.parts.likelihoods.gaussian import GaussianFamily
from vae.parts.likelihoods.laplace import LaplaceFamily
from vae.parts.likelihoods.likelihood import Family, Likelihood, LikelihoodPart, in_full
from vae.parts.likelihoods.location_scale import DecodedScale, anywhere
from vae.parts.likelihoods.mixture import MixtureFamily, WholeMixtureFamily
from vae.parts.likelihoods.ordinal import OrdinalFamily
from vae.parts.likelihoods.student_t import StudentTFamily
from vae.parts.likelihoods.whole import CountFamily, TruthFamily

NUMERIC = {
    "auto": GaussianFamily,
    "gaussian": GaussianFamily,
    "laplace": LaplaceFamily,
    "student_t": StudentTFamily,
}
NAMES = {
    "auto": "by type of",
    "gaussian": "Gaussian",
    "laplace": "Laplace",
    "student_t": "Student t",
    "mixture": "mixtures of logistics for",
}
MOST_WHOLE = 1000
"""Largest range of a column of whole numbers in which a mixture gives each number the probability of its cell."""


class TableLikelihoodPart(LikelihoodPart):
    """p(x|z) of a table: densities of numbers, probabilities of categories."""

    data_kind: ClassVar[DataKind] = "table"

    numeric: Literal["auto", "gaussian", "laplace", "student_t", "mixture"] = "gaussian"
    """Density of numeric columns, or of what a column's curve makes of them; on a log curve a gaussian is a log-normal.
    auto: Poisson for counts and Bernoulli for truth values that `data.transform` leaves as they are, else gaussian.
    mixture: five logistics in place of the gaussian, for numbers with several modes; whole numbers of a range up to 1,000
    that a curve bends have the probabilities of their cells. The unit is a standard deviation of the column, whatever its
    curve: such scores are comparable, but for point masses."""
    ordered: Literal["categorical", "ordinal"] = "categorical"
    """Probabilities of categories that have an order. ordinal: cumulative logits, with thresholds from the decoder."""

    @property
    def summary(self) -> str:
        return f"{NAMES[self.numeric]} numbers, categorical categories{', ordinal ordered ones' * self.is_ordinal}"

    @property
    def is_ordinal(self) -> bool:
        """Whether categories with an order have cumulative logits."""
        return self.ordered == "ordinal"

    @property
    def scores_by_densities(self) -> bool:
        return self.numeric in ("gaussian", "laplace", "student_t")

    @property
    def decodes_scale(self) -> bool:
        return True

    @property
    def targets(self) -> str:
        return "density of standardised numbers (may be negative), probability of categories"

    def build(self, examples: ExampleSpec) -> Likelihood:
        if examples.kind != self.data_kind:
            raise ConfigError(
                f"model.likelihood: {self.kind} scores the columns of a table, and the examples are "
                f"{transform_of(examples).described}; use bernoulli or another likelihood of pixels"
            )
        return self.module(examples.columns or ())

    @abstractmethod
    def module(self, columns: Sequence[Column]) -> TableLikelihood:
        """Returns the module for such columns."""

    def families(self, columns: Sequence[Column]) -> list[tuple[Family, list[int]]]:
        """Returns all numbers of one form together, then categorical columns, those with as many categories together."""
        groups: dict[tuple[Any, ...], list[int]] = {}
        for index, column in enumerate(columns):
            form = (column.curve.kind, len(column.curve.numbers), column.curve.mass is not None) if column.curve else ()
            is_ordinal = self.is_ordinal and column.type == "ordered" and len(column.categories or ()) > 1
            is_truth = bool(form) and column.type == "boolean"
            key = len(column.categories or ()), is_ordinal, form, is_truth, self._has_cells(column)
            groups.setdefault(key, []).append(index)
        return [
            (self._family([columns[index] for index in groups[key]], is_ordinal=key[1]), groups[key])
            for key in sorted(groups)
        ]

    def _has_cells(self, column: Column) -> bool:
        """Returns whether each whole number of a column has the probability of its cell."""
        if (
            self.numeric != "mixture"
            or column.type not in WHOLE
            or column.curve is None
            or column.curve.kind == "shift"
        ):
            return False
        return (column.largest or 0) - (column.smallest or 0) <= MOST_WHOLE

    def _family(self, columns: Sequence[Column], *, is_ordinal: bool) -> Family:
        first = columns[0]
        if first.categories is not None:
            return (OrdinalFamily if is_ordinal else CategoryFamily)(len(first.categories))
        is_whole = first.curve is not None and first.curve.kind == "shift"
        if is_whole and self.numeric in ("auto", "mixture"):
            return (TruthFamily if first.type == "boolean" else CountFamily)(columns)
        # Scales start at one standard deviation of the column.
        is_mixture = self.numeric == "mixture"
        family = MixtureFamily() if is_mixture else NUMERIC[self.numeric](anywhere, DecodedScale(1.0))
        if first.curve is None or is_whole:
            return family
        ((_, curves),) = curves_of(columns)
        curved = (WholeMixtureFamily if self._has_cells(first) else CurvedFamily)(family, curves, columns)
        return curved if first.curve.mass is None else PointMassFamily(curved, columns)


class Mixed(TableLikelihoodPart):
    """p(x|z) of a table whose columns are independent given z (Nazábal et al. 2020)."""

    kind: Literal["mixed"] = "mixed"

    def module(self, columns: Sequence[Column]) -> TableLikelihood:
        return TableLikelihood(self.families(columns))


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

    @property
    def groups(self) -> Iterator[tuple[list[int], Family]]:
        """Columns of each group, with their family."""
        return zip(self.columns, cast(Iterable[Family], self.families), strict=True)

    def _groups(self, outputs: Tensor) -> Iterator[tuple[Family, Tensor]]:
        """Yields each family with its parameters [P,...,columns of the group], from outputs [...,sum of P·columns]."""
        parts = in_full(outputs).split(self.num_outputs, -1)
        for family, part in zip(cast(Iterable[Family], self.families), parts, strict=True):
            yield family, part.unflatten(-1, (family.num_params, -1)).movedim(-2, 0)

    def _join(self, parts: Iterable[Tensor]) -> Tensor:
        """Returns the groups' columns in the table's order, [...,D]."""
        return torch.cat(list(parts), -1).index_select(-1, self.inverse_D)
