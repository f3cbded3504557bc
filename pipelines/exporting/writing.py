"""The files of an export, written one after the other and compared with the model."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.export import Dim

from pipelines.exporting.checking import Sample, compared
from pipelines.exporting.describing import inputs_of, outputs_of
from pipelines.exporting.graphs import Graph, Pixels
from pipelines.exporting.precision import Precision, in_precision
from pipelines.exporting.records import ExportedGraph
from vae import progress
from vae.errors import ExportError
from vae.model import VAE

TRACED_ROWS = 3
"""Rows of the example that a graph is traced with; any number will do but 1."""


@dataclass(frozen=True)
class Writer:
    """Writes and compares the files of an export."""

    files: Any
    """Module of the format."""
    folder: Path
    sample: Sample
    precision: Precision
    model: dict[str, Any]
    """Facts of the model."""

    @property
    def computes(self) -> Precision:
        """Precision in which the files compute."""
        return self.precision if self.precision in self.files.COMPUTES else "float32"

    def write_all(self, network: VAE, graphs: Mapping[str, type[Graph]], pixels: Pixels) -> dict[str, ExportedGraph]:
        """Writes the files of a model's graphs, by their tasks."""
        lowered = in_precision(network, self.precision, computes=self.computes == self.precision)
        return {task: self.write(task, kind(lowered, pixels).eval()) for task, kind in graphs.items()}

    def write(self, task: str, graph: Graph) -> ExportedGraph:
        """Writes a graph's file, and compares it with the model.

        Raises:
            ExportError: If it cannot be traced, or does not answer as the model does.
        """
        progress.report(f"exporting {task}")
        file = self.folder / f"{task}{self.files.SUFFIX}"
        inputs, outputs = inputs_of(graph), outputs_of(graph)
        ports = {"inputs": [one.model_dump() for one in inputs], "outputs": [one.model_dump() for one in outputs]}
        facts = {"task": task, "precision": self.precision, "computes": self.computes, **ports, "model": self.model}
        names = [[one.name for one in side] for side in (inputs, outputs)]
        try:
            self.files.write(traced(graph, self.sample), file, *names, facts)
        except Exception as error:  # of a part that a user wrote; torch raises many kinds
            raise ExportError(
                f"{task} cannot be exported: {_reason(error)}; leave it out by naming the other tasks"
            ) from error
        check = compared(graph, self.files.opened(file), self.sample, self.sample.answers[task], self.precision)
        if check.beyond > check.allowed:
            raise ExportError(
                f"{file.name} in {self.precision} is not the model: {check.beyond:.2%} of its values differ by more than "
                f"{check.tolerance:g} · (1 + |value|), {check.largest:.2g} at most, on {check.source}; use precision "
                "float32"
            )
        return ExportedGraph(file=file.name, bytes=file.stat().st_size, inputs=inputs, outputs=outputs, check=check)


def _reason(error: BaseException) -> str:
    """Returns the first line of the error that others were raised from."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {str(error).strip()}".partition("\n")[0][:300]


def traced(graph: Graph, sample: Sample) -> torch.export.ExportedProgram:
    """Returns a graph as torch.export records it, for any number of rows."""
    arrays = sample.of(graph)
    example = tuple(torch.from_numpy(one[:1].repeat(TRACED_ROWS, 0)) for one in arrays)
    rows = Dim("N", min=1)
    first, *beside = [{0: rows} for _ in arrays]
    with torch.no_grad(), warnings.catch_warnings(action="ignore"):
        graph(*example)  # what it keeps for a device must not be made while it is traced
        return torch.export.export(graph, example, dynamic_shapes=(first, *([tuple(beside)] if beside else [])))
