"""Exports of a model: files that other runtimes answer from, compared with the model before they are published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipelines.exporting.checking import sample_of
from pipelines.exporting.describing import LIMITS, described
from pipelines.exporting.graphs import GRAPHS, Pixels
from pipelines.exporting.precision import Precision, in_precision
from pipelines.exporting.records import Check, Exported, ExportedGraph, Format
from pipelines.exporting.writing import Writer
from vae import progress
from vae.data.parquet import Dataset
from vae.errors import ConfigError, did_you_mean
from vae.model import VAE
from vae.storage import locate, write_whole

__all__ = ["Check", "Exported", "ExportedGraph", "Format", "Pixels", "Precision", "export"]

RECORD = "export.json"
"""Name of the file with the record of an export, which is written last."""
FORMATS = {"onnx": "pipelines.exporting.onnx_files", "torch-export": "pipelines.exporting.programs"}


def export(
    network: VAE,
    out: str,
    name: str = "model",
    dataset: Dataset | None = None,
    format: Format = "onnx",
    precision: Precision = "float32",
    pixels: Pixels = "float32",
    tasks: Sequence[str] = (),
) -> Exported:
    """Exports a model's graphs to a folder; see `pipelines.api.Model.export`.

    The comparison uses the validation split of the dataset, or samples of the model without one.
    """
    files = _files(format)
    cannot = {**LIMITS, **{task: reason for task, kind in GRAPHS.items() if (reason := kind.refusal(network))}}
    _check_tasks(tasks, cannot)
    if pixels == "uint8" and network.examples.columns is not None:
        raise ConfigError("pixels: uint8 is for models of images, and this one is of a table; leave it out")
    with TemporaryDirectory(prefix="betaline-") as scratch:
        progress.report("answering with the model itself")
        sample = sample_of(in_precision(network), dataset, pixels)
        writer = Writer(files, Path(scratch), sample, precision, described(network, pixels))
        graphs = {task: kind for task, kind in GRAPHS.items() if task not in cannot and task in (tasks or GRAPHS)}
        exported = Exported(
            folder=locate(out).uri,
            name=name,
            format=format,
            precision=precision,
            model=writer.model,
            graphs=writer.write_all(network, graphs, pixels),
            cannot=cannot,
        )
        _publish(exported, Path(scratch))
    return exported


def _publish(exported: Exported, scratch: Path) -> None:
    """Copies the files to the folder of the export, the record last."""
    folder = locate(exported.folder)
    for graph in exported.graphs.values():
        write_whole(folder / graph.file, (scratch / graph.file).read_bytes())
    write_whole(folder / RECORD, exported.model_dump_json(indent=1).encode())


def _check_tasks(tasks: Sequence[str], cannot: Mapping[str, str]) -> None:
    """Refuses a task that is no graph, with the reason."""
    for task in tasks:
        if task in cannot:
            raise ConfigError(f"task: {task} cannot be exported: {cannot[task]}")
        if task not in GRAPHS:
            raise ConfigError(f"task: expected {', '.join(GRAPHS)}, got {task!r}{did_you_mean(task, GRAPHS)}")


def _files(format: str) -> Any:
    """Returns the module that writes and runs files of a format."""
    if format not in FORMATS:
        raise ConfigError(f"format: expected {' or '.join(FORMATS)}, got {format!r}")
    try:
        return import_module(FORMATS[format])
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"format: {format} needs {error.name}: pip install 'betaline[export]', or use torch-export"
        ) from None
