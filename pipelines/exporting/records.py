"""The record of an export, as `export.json` keeps it."""

from __future__ import annotations

from typing import Any, Literal

from pipelines.exporting.precision import Precision
from pipelines.stages.fields import Result

Format = Literal["onnx", "torch-export"]


class Port(Result):
    """An input or an output of a graph."""

    name: str
    dtype: str
    """NumPy's name of the type of its numbers."""
    shape: tuple[int | str, ...]
    """Sizes of its dimensions; N is the number of rows, which is free."""
    says: str
    """Meaning of the numbers."""


class Check(Result):
    """Comparison of a written file with the model."""

    rows: int
    """Number of rows that both answered."""
    source: str
    """Source of the rows."""
    tolerance: float
    """Tolerance t: a value may differ from the model's value v by t · (1 + |v|)."""
    largest: float
    """Largest difference, over 1 + |v|."""
    beyond: float
    """Share of the values that differ by more."""
    allowed: float
    """Largest share that may: 0 unless rounding can change a category, a code, a component or a whole number."""


class ExportedGraph(Result):
    """One file of an export."""

    file: str
    """Name of the file in the folder."""
    bytes: int
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    check: Check


class Exported(Result):
    """An export: a folder of graphs, one for each use of a model."""

    folder: str
    """Folder of the files, a path or URI."""
    name: str
    """Name of the model."""
    format: Format
    precision: Precision
    """Precision of the networks' weights."""
    model: dict[str, Any]
    """Facts of the model: what an example is, its columns and their categories, its condition."""
    graphs: dict[str, ExportedGraph]
    """Graphs by the task that they do."""
    cannot: dict[str, str]
    """Reason why a task of the model is not among them, by task."""
