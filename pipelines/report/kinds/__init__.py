"""Kinds of data in a report: one file for each, named after the kind, with its words, its measures and its figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from vae.data.schema import DataKind, ExampleSpec

if TYPE_CHECKING:
    from pipelines.report.evidence import Evidence
    from pipelines.report.theme import Plan

Place = tuple[str, str, Callable[["Evidence"], "Plan"]]
"""Name of a figure's file without `.png`, its heading on the page, and the function that plans it."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of data in the report and in the model card."""

    noun: str
    """Name of several examples in the card's lines of Python."""
    form: str
    """Form in which `predict` answers with examples."""
    new: str
    """Comment on new examples that `predict` generates."""
    pairs: str
    """Python that makes pairs of the examples in `noun`."""
    refuses: str
    """Clause about examples that the model does not take."""
    bits: str
    """Unit of a likelihood in bits."""
    simple: str
    """Name of the simplest answer to imputation."""
    units: Mapping[str, str]
    """Units of metrics that have another name for these examples."""
    described: Callable[[ExampleSpec], str]
    """Returns the examples in words, such as `grey images of 8 × 8 pixels`."""
    figures: tuple[Place, ...]
    """Figures of a model of such examples, in the order of the page."""


def kind_named(name: DataKind) -> Kind:
    """Returns the `KIND` of the file with the name of a kind, which is loaded at its first use."""
    return import_module(f"{__name__}.{name}").KIND
