"""Files of ONNX: written, checked against the standard, and run by ONNX Runtime. The only file that imports onnx."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnxscript import opset18
from torch.export import ExportedProgram

SUFFIX = ".onnx"
op: Any = opset18  # whose types admit no constants
METADATA = "betaline"
"""Key of the metadata in a file's `metadata_props`."""
COMPUTES = frozenset({"float32", "float16"})
"""Precisions in which such a file computes: runtimes have no convolutions of bfloat16 on a CPU."""


def write(
    program: ExportedProgram, file: Path, inputs: Sequence[str], outputs: Sequence[str], metadata: dict[str, Any]
) -> None:
    """Writes an exported program as ONNX with its metadata, and checks the file against the standard."""
    registry = logging.getLogger("torch.onnx._internal.exporter._registration")  # warns that torchvision is missing
    level = registry.level
    registry.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"):
            converted = torch.onnx.export(
                program,
                dynamo=True,
                verbose=False,
                input_names=inputs,
                output_names=outputs,
                custom_translation_table={torch.ops.aten.searchsorted.Tensor: _searched},
            )
    finally:
        registry.setLevel(level)
    assert converted is not None, "dynamo returns a program"
    proto = converted.model_proto
    proto.producer_name = "betaline"
    onnx.helper.set_model_props(proto, {METADATA: json.dumps(metadata)})
    onnx.checker.check_model(proto, full_check=True)
    onnx.save_model(proto, str(file))


def _searched(
    ends: Any, values: Any, out_int32: bool = False, right: bool = False, side: str | None = None, sorter: Any = None
) -> Any:
    """Returns the places of values in sorted numbers as torch.searchsorted does, by comparisons, which ONNX has."""
    last, before_last = (op.Constant(value_ints=[axis]) for axis in (-1, -2))
    compare = op.LessOrEqual if right or side == "right" else op.Less
    is_before = compare(op.Unsqueeze(ends, before_last), op.Unsqueeze(values, last))
    return op.ReduceSum(op.Cast(is_before, to=onnx.TensorProto.INT64), last, keepdims=0)


def opened(file: Path) -> Callable[[Sequence[NDArray[Any]]], Sequence[NDArray[Any]]]:
    """Returns the function of a written file, from arrays to arrays."""
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]

    def run(inputs: Sequence[NDArray[Any]]) -> Sequence[Any]:
        return session.run(None, dict(zip(names, inputs, strict=True)))

    return run
