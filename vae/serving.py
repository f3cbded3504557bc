"""The registered model: what `mlflow.pyfunc.load_model` gives to whoever pulls one.

The only file in `vae` that imports mlflow. MLflow stores this file as the model's code, the package `vae` beside it, and
the weights as safetensors: no pickle anywhere. `predict(inputs, params={"task": …})` serves every task.
"""

from __future__ import annotations

import difflib
import math
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
from vae.conditions import example_condition, read_conditions
from vae.config import FlowPosterior, FlowPrior, ModelConfig, TableBody
from vae.likelihoods import binarization, binarize, prepare, restore
from vae.model import VAE, Inputs
from vae.seeds import Stream, derive
from vae.state import load_model
from vae.tables import read_rows, write_rows

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
        ParamSpec("sampler", "string", "prior"),
        ParamSpec("beta", "double", 1.0),
    ]
)


def requirements(config: ModelConfig) -> list[str]:
    """What an environment must hold to load such a model: exact versions of what it was made with."""
    names: list[str] = [*REQUIREMENTS]
    if isinstance(config.encoder, TableBody):
        names.append("pandas")
    if isinstance(config.posterior, FlowPosterior) or isinstance(config.prior, FlowPrior):
        names.append("zuko")
    return [f"{name}=={version(name).partition('+')[0]}" for name in names]


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
    sampler: Literal["prior", "aggregate"]
    beta: float

    @property
    def where(self) -> str:
        """What asks, for messages."""
        return f"task {self.task}"


class RegisteredVAE(PythonModel):
    """A trained VAE behind MLflow's one method.

    `predict(inputs, params)` takes and returns examples; `params["task"]` says what is wanted:

    reconstruct: examples → examples.
    encode: examples → {"mean": [N,L], "std": [N,L]}.
    decode: latents [N,L] → examples.
    generate: None → `n` examples drawn with `seed` and `temperature` from the `sampler`: the prior, or the mixture that was
        fitted to the aggregate posterior.
    score: examples → log p(x) in nats, [N], from `num_samples` importance samples; of what is observed of each.

    Images are float32 [N,C,H,W] in [0, 1], with NaN for a missing pixel. They may also come flat [N,C·H·W], without their
    single channel [N,H,W], or as uint8 in 0…255.

    Rows of a table are a data frame with the model's columns: numbers in their own unit, categories as their text, None or
    NaN where missing. They may also come as a structured array, as names with their values, or as an array [N,D] in the
    order of the columns.

    `condition` is one entry for each row, or one for all, where the model is conditional: `cat` for a model that is told
    one thing, `class=cat, size=0.5` for one that is told several. `beta` is for models with β gates.
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
        _choose("sampler", request.sampler, {"prior": None, "aggregate": None})
        return task(self.model, model_input, request)

    def example_condition(self) -> list[str]:
        """What `condition` may be; empty for a model without one."""
        return example_condition(self.model.conditions)


# --- tasks ----------------------------------------------------------------------------------------------------------


def _reconstruct(model: VAE, examples: Any, request: Request) -> Any:
    return _outputs(model, tasks.reconstruct(model, _inputs(model, examples, request)))


def _encode(model: VAE, examples: Any, request: Request) -> dict[str, NDArray[np.float32]]:
    code = tasks.encode(model, _inputs(model, examples, request))
    return {name: value.cpu().numpy() for name, value in code._asdict().items()}


def _decode(model: VAE, latents: Any, request: Request) -> Any:
    z_NL = _array(latents, request)
    latent_dim = model.config.latent_dim
    if z_NL.ndim != 2 or z_NL.shape[1] != latent_dim:
        raise ValueError(f"task decode: expected latents of shape (N, {latent_dim}), found {_shape(z_NL.shape)}")
    if wrong := z_NL.size - int(np.isfinite(z_NL).sum()):
        raise ValueError(f"task decode: {wrong} of {z_NL.size} values are not finite; give complete latents")
    z_NL = torch.from_numpy(z_NL.astype(np.float32)).to(_device(model))
    condition_NK, log_beta_N1 = _condition(model, request, len(z_NL)), _log_beta(model, request, len(z_NL))
    return _outputs(model, tasks.decode(model, z_NL, condition_NK, request.output, request.seed, log_beta_N1))


def _generate(model: VAE, nothing: Any, request: Request) -> Any:
    if request.n < 1 or not 0 < request.temperature < math.inf:
        raise ValueError(
            f"task generate: n must be at least 1 and temperature above 0, got {request.n} and {request.temperature}"
        )
    generated = tasks.generate(
        model,
        request.n,
        _condition(model, request, request.n),
        seed=request.seed,
        temperature=request.temperature,
        output=request.output,
        sampler=request.sampler,
        log_beta_N1=_log_beta(model, request, request.n),
    )
    return _outputs(model, generated)


def _score(model: VAE, examples: Any, request: Request) -> NDArray[np.float32]:
    if request.num_samples < 1:
        raise ValueError(f"task score: num_samples must be at least 1, got {request.num_samples}")
    inputs = _inputs(model, examples, request)
    inputs = inputs._replace(x=_as_scored(model, inputs.x, request.seed))
    return tasks.score(model, inputs, num_samples=request.num_samples, seed=request.seed).cpu().numpy()


Task = Callable[[VAE, Any, Request], Any]
TASKS: Mapping[str, Task] = {
    "reconstruct": _reconstruct,
    "encode": _encode,
    "decode": _decode,
    "generate": _generate,
    "score": _score,
}


# --- from what a caller gives to what a model takes, and back -------------------------------------------------------


def _inputs(model: VAE, examples: Any, request: Request) -> Inputs:
    if examples is None:
        raise ValueError(f"{request.where} needs inputs, got None")
    if model.examples.columns is None:
        x, observed = _images(model, examples, request)
    else:
        values_ND = torch.from_numpy(read_rows(examples, model.examples.columns, request.where))
        x, observed = prepare(values_ND, model.config.likelihood, model.examples, torch.Generator())
    x, observed = x.to(_device(model)), None if observed is None else observed.to(_device(model))
    return Inputs(x, observed, None, _condition(model, request, len(x)), _log_beta(model, request, len(x)))


def _outputs(model: VAE, x: Tensor) -> Any:
    """Images as an array, rows of a table as a data frame."""
    if model.examples.columns is None:
        return x.cpu().numpy()
    return write_rows(restore(x.cpu(), model.examples).numpy(), model.examples.columns)


def _images(model: VAE, images: Any, request: Request) -> tuple[Tensor, Tensor | None]:
    """Images [N,C,H,W], float32 in [0, 1] and 0 where missing, and which pixels are there; None where all are. Refuses any
    other size: nothing is resized in silence."""
    array = _array(images, request)
    channels, height, width = shape = model.examples.shape
    allowed = [shape, (model.examples.num_values,), *([(height, width)] if channels == 1 else [])]
    if array.ndim < 2 or array.shape[1:] not in allowed:
        expected = " or ".join(_shape(("N", *one)) for one in allowed)
        raise ValueError(f"{request.where}: expected images of shape {expected}, found {_shape(array.shape)}")
    array = array.reshape(len(array), *shape)
    x = torch.from_numpy(array.astype(np.float32) / (255 if array.dtype == np.uint8 else 1))
    missing = x.isnan()
    x = x.masked_fill(missing, 0)
    if len(x) and not (x.min() >= 0 and x.max() <= 1):
        raise ValueError(
            f"{request.where}: expected pixels in [0, 1] (or uint8 in 0…255), found {x.min():g} to {x.max():g}"
        )
    return x, ~missing if missing.any() else None


def _as_scored(model: VAE, x: Tensor, seed: int) -> Tensor:
    """Grey pixels, for a model of binary ones, drawn as 0 or 1 by the seed: there is no probability for grey."""
    match binarization(model.config.likelihood):
        case "static" | "dynamic":
            generator = torch.Generator().manual_seed(derive(seed, Stream.GENERATION, 3))
            return binarize((x.cpu() * 255).round().to(torch.uint8), generator).to(x.device)
        case "none" if grey := int(((x > 0) & (x < 1)).sum()):
            raise ValueError(
                f"task score: {grey} of {x.numel()} pixels are neither 0 nor 1, and this model was trained on binary "
                "images; give binary ones"
            )
    return x


def _condition(model: VAE, request: Request, rows: int) -> Tensor | None:
    entries = [str(entry) for entry in request.condition]
    values_NK = torch.from_numpy(read_conditions(entries, model.conditions, rows, request.where))
    labels_N, attributes_NA = None, torch.zeros(rows, len(model.examples.attributes))
    for column, values_N in zip(model.conditions, values_NK.T, strict=True):
        if column.name == "class":
            labels_N = values_N.long()
        else:
            attributes_NA[:, model.examples.attributes.index(column)] = values_N
    condition_NK = model.condition(labels_N, attributes_NA)
    return None if condition_NK is None else condition_NK.to(_device(model))


def _log_beta(model: VAE, request: Request, rows: int) -> Tensor | None:
    """[N,1], for a model with β gates."""
    if not 0 < request.beta < math.inf:
        raise ValueError(f"{request.where}: beta must be above 0, got {request.beta}")
    if model.config.beta_gates:
        return torch.full((rows, 1), math.log(request.beta), device=_device(model))
    if request.beta != 1:
        raise ValueError(
            f"{request.where}: this model was trained at one beta and takes no other, got {request.beta}; one that was "
            "trained with model.beta_gates does"
        )
    return None


def _device(model: VAE) -> torch.device:
    """Where the model is, and its inputs have to be."""
    return next(model.parameters()).device


def _array(inputs: Any, request: Request) -> NDArray[Any]:
    """The inputs as one array of numbers; data frames, lists and tensors will do."""
    if inputs is None:
        raise ValueError(f"{request.where} needs inputs, got None")
    array = np.asarray(inputs)
    if array.dtype.kind not in "fiub":
        raise ValueError(
            f"{request.where}: expected an array of numbers, found {array.dtype} of shape {_shape(array.shape)}"
        )
    return array


def _choose(what: str, name: str, choices: Mapping[str, Any]) -> Any:
    if name not in choices:
        near = difflib.get_close_matches(name, choices, n=1)
        hint = f"; did you mean `{near[0]}`?" if near else ""
        raise ValueError(f"unknown {what} {name!r}: this model knows {', '.join(choices)}{hint}")
    return choices[name]


def _shape(shape: Sequence[Any]) -> str:
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"


# MLflow runs this file as the model's code and takes what this names.
set_model(RegisteredVAE())
