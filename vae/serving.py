"""The registered model: what `mlflow.pyfunc.load_model` gives to whoever pulls one.

The only file in `vae` that imports mlflow. MLflow stores this file as the model's code, the package `vae` beside it, and
the weights as safetensors: no pickle anywhere. `predict(inputs, params={"task": …})` serves every task.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Literal

import numpy as np
import torch
from mlflow.models import ModelSignature, set_model
from mlflow.pyfunc.model import PythonModel
from mlflow.types import ParamSchema, ParamSpec
from numpy.typing import NDArray
from torch import Tensor

from vae import tasks
from vae.model import VAE
from vae.state import load_model

REQUIREMENTS = ("mlflow", "torch", "numpy", "safetensors", "pydantic", "pyarrow")
ARTIFACT = "model"

# Name, type, default and shape of what `predict` takes in `params`.
PARAMS = ParamSchema(
    [
        ParamSpec("task", "string", "reconstruct"),
        ParamSpec("n", "long", 16),
        ParamSpec("condition", "string", [], shape=(-1,)),
        ParamSpec("seed", "long", 0),
        ParamSpec("temperature", "double", 1.0),
        ParamSpec("output", "string", "mean"),
        ParamSpec("num_samples", "long", 100),
    ]
)


def requirements() -> list[str]:
    """What an environment must hold to load the model: exact versions of what it was made with."""
    return [f"{name}=={version(name).partition('+')[0]}" for name in REQUIREMENTS]


def signature() -> ModelSignature:
    """Of every registered model. Inputs are images for one task and latents for another, so their schema is open here;
    `predict` checks them against the task."""
    return ModelSignature(params=PARAMS)


@dataclass(frozen=True)
class Request:
    """The parameters of one call, as the signature fills them in."""

    task: str
    n: int
    condition: Sequence[str]
    seed: int
    temperature: float
    output: Literal["mean", "sample"]
    num_samples: int


class RegisteredVAE(PythonModel):
    """A trained VAE behind MLflow's one method.

    `predict(inputs, params)` takes arrays and returns float32 arrays; `params["task"]` says what is wanted:

    reconstruct: images [N,C,H,W] in [0, 1] → images.
    encode: images → {"mean": [N,L], "std": [N,L]}.
    decode: latents [N,L] → images.
    generate: None → `n` images drawn from the prior with `seed` and `temperature`.
    score: images → log p(x) in nats, [N], from `num_samples` importance samples.

    `condition` names a class for each row, or one for all, where the model is conditional. Images may also come flat
    [N,C·H·W], without their single channel [N,H,W], or as uint8 in 0…255.
    """

    model: VAE

    def load_context(self, context: Any) -> None:
        self.model = load_model(context.artifacts[ARTIFACT])

    # MLflow derives schemas from type hints, and warns of those it cannot read. An array, and nothing for what is returned,
    # keeps it quiet; inputs may be None or a data frame too, and `encode` returns a mapping of arrays.
    def predict(self, context: Any, model_input: np.ndarray, params: dict[str, Any] | None = None):
        defaults = {param.name: param.default for param in PARAMS}
        if unknown := sorted(set(params or {}) - set(defaults)):
            raise ValueError(f"unknown parameter {', '.join(unknown)}: this model knows {', '.join(defaults)}")
        request = Request(**{**defaults, **(params or {})})
        task = _choose("task", request.task, TASKS)
        _choose("output", request.output, {"mean": None, "sample": None})
        return _to_numpy(task(self.model, model_input, request))


def _reconstruct(model: VAE, inputs: Any, request: Request) -> Tensor:
    x = _images(model, inputs, request.task)
    return tasks.reconstruct(model, x, _labels(model, request, len(x)))


def _encode(model: VAE, inputs: Any, request: Request) -> dict[str, Tensor]:
    x = _images(model, inputs, request.task)
    return tasks.encode(model, x, _labels(model, request, len(x)))._asdict()


def _decode(model: VAE, inputs: Any, request: Request) -> Tensor:
    z = _array(inputs, request.task)
    latent_dim = model.config.latent_dim
    if z.ndim != 2 or z.shape[1] != latent_dim:
        raise ValueError(f"task decode: expected latents of shape (N, {latent_dim}), found {_shape(z)}")
    if wrong := z.size - int(np.isfinite(z).sum()):
        raise ValueError(f"task decode: {wrong} of {z.size} values are not finite; give complete latents")
    z = torch.from_numpy(z.astype(np.float32))
    return tasks.decode(model, z, _labels(model, request, len(z)), request.output, request.seed)


def _generate(model: VAE, inputs: Any, request: Request) -> Tensor:
    if request.n < 1 or not 0 < request.temperature < float("inf"):
        raise ValueError(
            f"task generate: n must be at least 1 and temperature above 0, got {request.n} and {request.temperature}"
        )
    labels = _labels(model, request, request.n)
    return tasks.generate(
        model,
        request.n,
        labels,
        seed=request.seed,
        temperature=request.temperature,
        output=request.output,
    )


def _score(model: VAE, inputs: Any, request: Request) -> Tensor:
    if request.num_samples < 1:
        raise ValueError(f"task score: num_samples must be at least 1, got {request.num_samples}")
    x = _images(model, inputs, request.task)
    labels = _labels(model, request, len(x))
    return tasks.score(model, x, labels, num_samples=request.num_samples, seed=request.seed)


Task = Callable[[VAE, Any, Request], Any]
TASKS: Mapping[str, Task] = {
    "reconstruct": _reconstruct,
    "encode": _encode,
    "decode": _decode,
    "generate": _generate,
    "score": _score,
}


def _choose(what: str, name: str, choices: Mapping[str, Any]) -> Any:
    if name not in choices:
        near = difflib.get_close_matches(name, choices, n=1)
        hint = f"; did you mean `{near[0]}`?" if near else ""
        raise ValueError(f"unknown {what} {name!r}: this model knows {', '.join(choices)}{hint}")
    return choices[name]


def _array(inputs: Any, task: str) -> NDArray[Any]:
    """The inputs as one array; data frames, lists and tensors will do."""
    if inputs is None:
        raise ValueError(f"task {task} needs inputs, got None")
    array = np.asarray(inputs)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"task {task}: expected an array of numbers, found {array.dtype} of shape {_shape(array)}")
    return array


def _images(model: VAE, inputs: Any, task: str) -> Tensor:
    """Images [N,C,H,W], float32 in [0, 1]. Refuses any other size: nothing is resized in silence."""
    array = _array(inputs, task)
    channels, height, width = shape = model.examples.shape
    allowed = [shape, (model.examples.num_values,), *([(height, width)] if channels == 1 else [])]
    if array.ndim < 2 or array.shape[1:] not in allowed:
        expected = " or ".join(_shape_text(("N", *one)) for one in allowed)
        raise ValueError(f"task {task}: expected images of shape {expected}, found {_shape(array)}")
    array = array.astype(np.float32) / (255 if array.dtype == np.uint8 else 1)
    if missing := int(np.isnan(array).sum()):
        raise ValueError(f"task {task}: {missing} of {array.size} values are missing (NaN); give complete images")
    if array.size and not (array.min() >= 0 and array.max() <= 1):
        raise ValueError(
            f"task {task}: expected pixels in [0, 1] (or uint8 in 0…255), found {array.min():g} to {array.max():g}"
        )
    return torch.from_numpy(array.reshape(-1, *shape))


def _labels(model: VAE, request: Request, rows: int) -> Tensor | None:
    """Class indices of each row, where the model is conditional."""
    names = [str(name) for name in request.condition]
    if not model.num_classes:
        if names:
            raise ValueError(f"task {request.task}: this model takes no condition, got {names}")
        return None
    classes = model.examples.classes or ()
    if not names:
        raise ValueError(
            f"task {request.task}: this model is conditional; give params['condition'], one class for all rows or one "
            f"for each, out of {', '.join(classes)}"
        )
    if len(names) not in (1, rows):
        raise ValueError(f"task {request.task}: expected 1 or {rows} conditions, found {len(names)}")
    unknown = sorted(set(names) - set(classes))
    if unknown:
        raise ValueError(f"task {request.task}: unknown class {', '.join(unknown)}: expected {', '.join(classes)}")
    index = torch.tensor([classes.index(name) for name in names])
    return index if len(index) == rows else index.repeat(rows)


def _to_numpy(result: Any) -> Any:
    if isinstance(result, dict):
        return {name: value.numpy() for name, value in result.items()}
    return result.numpy()


def _shape(array: NDArray[Any]) -> str:
    return _shape_text(array.shape)


def _shape_text(shape: Sequence[Any]) -> str:
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"


# MLflow runs this file as the model's code and takes what this names.
set_model(RegisteredVAE())
