"""Files of torch.export: written, and run again from what was written."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.export import ExportedProgram

SUFFIX = ".pt2"
METADATA = "betaline.json"
"""Name of the extra file that holds the metadata in an archive."""
COMPUTES = frozenset({"float32", "float16", "bfloat16"})
"""Precisions in which such a file computes."""


def write(
    program: ExportedProgram, file: Path, inputs: Sequence[str], outputs: Sequence[str], metadata: dict[str, Any]
) -> None:
    """Writes an exported program with its metadata."""
    torch.export.save(program, file, extra_files={METADATA: json.dumps(metadata)})


def opened(file: Path) -> Callable[[Sequence[NDArray[Any]]], Sequence[NDArray[Any]]]:
    """Returns the function of a written file, from arrays to arrays."""
    module = torch.export.load(file).module()

    def run(inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        with torch.no_grad():
            found = module(*(torch.from_numpy(np.ascontiguousarray(one)) for one in inputs))
        return [one.numpy() for one in (found if isinstance(found, tuple) else (found,))]

    return run
