"""From what a caller gives to a task, and from its result to what the caller gets: every check of a request is here.

Shapes: N rows, L latent, T points of a path, D dimensions, K width of a condition.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vae import inference
from vae.conditions import read_conditions
from vae.directions import Method
from vae.errors import ConfigError
from vae.inference import Interpolation, Sampler
from vae.likelihoods import binarization, binarize, prepare, restore
from vae.model import VAE, Inputs
from vae.posteriors import VectorQuantizedPosterior
from vae.seeds import Stream, derive
from vae.tables import keep_observed, read_rows, write_rows, write_spread

Output = Literal["mean", "std", "sample"]


@dataclass(frozen=True)
class Request:
    """The parameters of one call; each task looks at its own."""

    task: str = "reconstruct"
    n: int = 16
    """Examples to generate, imputations of a row, points of a path, values of a dimension."""
    condition: Sequence[str] = ()
    """What the rows are: one entry for each, or one for all."""
    target: Sequence[str] = ()
    """The condition to transfer rows to, as `condition`."""
    seed: int = 0
    temperature: float = 1.0
    output: Output = "mean"
    """The expected example, its standard deviation, or draws of it."""
    num_samples: int = 100
    """Draws of the latent for each row."""
    sampler: Sampler = "prior"
    beta: float = 1.0
    """For models with β gates."""
    path: Interpolation = "linear"
    dimensions: Sequence[int] = ()
    """Of the latent, to traverse; none stands for all."""
    extent: float = 3.0
    """How far from 0 a dimension is taken."""
    attribute: str = ""
    """The direction to edit along."""
    strength: float = 1.0
    """How far along it."""
    method: Method = "means"
    """How the direction was learned."""

    @property
    def where(self) -> str:
        """What asks, for messages."""
        return f"task {self.task}"


CHOICES: Mapping[str, tuple[str, ...]] = {
    "output": ("mean", "std", "sample"),
    "sampler": ("prior", "aggregate"),
    "path": ("linear", "spherical", "geodesic"),
    "method": ("means", "probe"),
}


def answer(model: VAE, inputs: Any, params: Mapping[str, Any]) -> Any:
    """What a task gives: an array [N,...], arrays by name, or a data frame.

    Raises:
        ValueError: If a parameter, the inputs, or the model do not fit the task; says what would.
    """
    names = [*Request.__dataclass_fields__]
    for name in params:
        _choose("parameter", name, names)
    request = Request(**params)
    _choose("task", request.task, [*TASKS])
    for name, choices in CHOICES.items():
        _choose(name, getattr(request, name), choices)
    task = TASKS[request.task]
    if refusal := task.refusal(model):
        raise ValueError(f"{request.where}: {refusal}")
    if request.output not in task.outputs:
        raise ValueError(f"{request.where}: output must be {' or '.join(task.outputs)}, got {request.output!r}")
    for name in task.counts:
        if getattr(request, name) < 1:
            raise ValueError(f"{request.where}: {name} must be at least 1, got {getattr(request, name)}")
    return task.run(model, inputs, request)


# --- tasks ----------------------------------------------------------------------------------------------------------


def _reconstruct(model: VAE, examples: Any, request: Request) -> Any:
    return _outputs(model, inference.reconstruct(model, _inputs(model, examples, request)))


def _encode(model: VAE, examples: Any, request: Request) -> dict[str, NDArray[np.float32]]:
    code = inference.encode(model, _inputs(model, examples, request))
    return {name: value.numpy() for name, value in code._asdict().items()}


def _decode(model: VAE, latents: Any, request: Request) -> Any:
    z_NL = _array(latents, request)
    latent_dim = model.config.latent_dim
    if z_NL.ndim != 2 or z_NL.shape[1] != latent_dim:
        raise ValueError(f"task decode: expected latents of shape (N, {latent_dim}), found {_shape(z_NL.shape)}")
    if wrong := z_NL.size - int(np.isfinite(z_NL).sum()):
        raise ValueError(f"task decode: {wrong} of {z_NL.size} values are not finite; give complete latents")
    z_NL = torch.from_numpy(z_NL.astype(np.float32))
    condition_NK, log_beta_N1 = _condition(model, request, len(z_NL)), _log_beta(model, request, len(z_NL))
    output = "sample" if request.output == "sample" else "mean"
    return _outputs(model, inference.decode(model, z_NL, condition_NK, output, request.seed, log_beta_N1))


def _generate(model: VAE, nothing: Any, request: Request) -> Any:
    if not 0 < request.temperature < math.inf:
        raise ValueError(f"task generate: temperature must be above 0 and finite, got {request.temperature}")
    generated = inference.generate(
        model,
        request.n,
        _condition(model, request, request.n),
        seed=request.seed,
        temperature=request.temperature,
        output="sample" if request.output == "sample" else "mean",
        sampler=request.sampler,
        log_beta_N1=_log_beta(model, request, request.n),
    )
    return _outputs(model, generated)


def _score(model: VAE, examples: Any, request: Request) -> NDArray[np.float32]:
    inputs = _inputs(model, examples, request, empty=True)
    inputs = inputs._replace(x=_as_scored(model, inputs.x, request.seed))
    return inference.score(model, inputs, num_samples=request.num_samples, seed=request.seed).numpy()


def _denoise(model: VAE, examples: Any, request: Request) -> Any:
    inputs = _inputs(model, examples, request, noisy=True)
    estimate = inference.denoise(model, inputs, num_samples=request.num_samples, seed=request.seed)
    return _spread(model, estimate.std) if request.output == "std" else _outputs(model, estimate.mean)


def _impute(model: VAE, examples: Any, request: Request) -> Any:
    inputs = _inputs(model, examples, request)
    if request.output == "sample":
        drawn = inference.impute_many(model, inputs, request.n, num_samples=request.num_samples, seed=request.seed)
        return _filled(model, examples, _outputs(model, drawn, "imputation"), request)
    estimate = inference.impute(model, inputs, num_samples=request.num_samples, seed=request.seed)
    if request.output == "std":
        return _spread(model, estimate.std)
    return _filled(model, examples, _outputs(model, estimate.mean), request)


def _interpolate(model: VAE, pairs: Any, request: Request) -> Any:
    if request.n < 2:
        raise ValueError(f"task interpolate: n must be at least 2, both ends of a path, got {request.n}")
    first, second = _pairs(model, pairs, request)
    path = inference.interpolate(model, first, second, num_points=request.n, path=request.path)
    return _outputs(model, path, "point")


def _traverse(model: VAE, examples: Any, request: Request) -> Any:
    latent_dim = model.config.latent_dim
    if wrong := [number for number in request.dimensions if not 0 <= number < latent_dim]:
        raise ValueError(f"task traverse: dimensions must be 0 to {latent_dim - 1}, got {', '.join(map(str, wrong))}")
    if not 0 < request.extent < math.inf:
        raise ValueError(f"task traverse: extent must be above 0 and finite, got {request.extent}")
    inputs = _inputs(model, examples, request)
    dimensions = tuple(dict.fromkeys(request.dimensions))
    found = inference.traverse(model, inputs, dimensions=dimensions, extent=request.extent, num_points=request.n)
    if model.examples.columns is not None:
        return _outputs(model, found.examples, "dimension", "point", labels=(found.dimensions.tolist(), None))
    return {name: value.numpy() for name, value in found._asdict().items()}


def _edit(model: VAE, examples: Any, request: Request) -> Any:
    _choose("attribute", request.attribute, inference.directions_of(model).names)
    if not math.isfinite(request.strength):
        raise ValueError(f"task edit: strength must be finite, got {request.strength}")
    inputs = _inputs(model, examples, request)
    return _outputs(model, inference.edit(model, inputs, request.attribute, request.strength, request.method))


def _transfer(model: VAE, examples: Any, request: Request) -> Any:
    if request.target:
        inputs, reference = _inputs(model, examples, request, told=bool(request.condition)), None
    else:
        inputs, reference = _pairs(model, examples, request, told=bool(request.condition))
    if not request.condition:
        inputs = inputs._replace(condition=inference.infer_condition(model, inputs, seed=request.seed))
    if reference is None:
        target_NK = _condition(model, request, len(inputs.x), request.target, "target")
    else:
        target_NK = inference.infer_condition(model, reference, seed=request.seed)
    assert target_NK is not None, "the model is conditional"
    return _outputs(model, inference.transfer(model, inputs, target_NK))


# --- what each model can do -----------------------------------------------------------------------------------------


def _always(model: VAE) -> str | None:
    return None


def _needs_numbers(model: VAE) -> str | None:
    if isinstance(model.posterior, VectorQuantizedPosterior):
        return (
            "this model's latent is made of codes, between which there is nothing; use one with a continuous posterior"
        )
    return None


def _needs_experience_of_gaps(model: VAE) -> str | None:
    if model.experience.missing:
        return None
    return (
        "this model was trained on complete examples and has not learned what a gap means; train one on data with missing "
        "entries or with data.missing. This one can reconstruct, denoise and score complete rows"
    )


def _needs_directions(model: VAE) -> str | None:
    try:
        inference.directions_of(model)
    except ConfigError as error:
        return str(error)
    return None


def _needs_condition(model: VAE) -> str | None:
    if model.conditions:
        return None
    return "this model takes no condition, so there is nothing to transfer rows to; train one with model.condition"


class Task(NamedTuple):
    """One use of a model."""

    run: Callable[[VAE, Any, Request], Any]
    gives: str
    """What a caller gives and gets, for a card."""
    refusal: Callable[[VAE], str | None] = _always
    """Why a model cannot do it; None where it can."""
    outputs: tuple[Output, ...] = ("mean",)
    """What `output` may be."""
    counts: tuple[str, ...] = ()
    """Parameters that must be at least 1."""


TASKS: Mapping[str, Task] = {
    "reconstruct": Task(_reconstruct, "rows to rows"),
    "encode": Task(_encode, "rows to mean and std of their latents, [N,L] each"),
    "decode": Task(_decode, "latents [N,L] to rows", outputs=("mean", "sample")),
    "generate": Task(_generate, "n new rows", outputs=("mean", "sample"), counts=("n",)),
    "score": Task(_score, "rows to log p(x) in nats, [N]", counts=("num_samples",)),
    "denoise": Task(_denoise, "noisy rows to clean ones", outputs=("mean", "std"), counts=("num_samples",)),
    "impute": Task(
        _impute,
        "rows with gaps to complete ones; n of each with output sample",
        _needs_experience_of_gaps,
        ("mean", "std", "sample"),
        ("n", "num_samples"),
    ),
    "interpolate": Task(_interpolate, "pairs of rows to paths of n points", _needs_numbers),
    "traverse": Task(
        _traverse, "rows with each dimension of the latent set to n values", _needs_numbers, counts=("n",)
    ),
    "edit": Task(_edit, "rows with more or less of an attribute", _needs_directions),
    "transfer": Task(_transfer, "rows under a target condition, or under that of a reference row", _needs_condition),
}


def abilities(model: VAE) -> dict[str, str | None]:
    """Every task, and why the model cannot do it; None where it can."""
    return {name: task.refusal(model) for name, task in TASKS.items()}


# --- from what a caller gives to what a model takes, and back -------------------------------------------------------


def _inputs(
    model: VAE, examples: Any, request: Request, *, noisy: bool = False, told: bool = True, empty: bool = False
) -> Inputs:
    """Rows as the model takes them: `noisy` ones may leave the range of pixels, `told` ones have a condition, and of
    `empty` ones nothing need be observed."""
    if examples is None:
        raise ValueError(f"{request.where} needs inputs, got None")
    if model.examples.columns is None:
        x, observed = _images(model, examples, request, noisy=noisy)
    else:
        values_ND = torch.from_numpy(read_rows(examples, model.examples.columns, request.where))
        x, observed = prepare(values_ND, model.config.likelihood, model.examples, torch.Generator())
    if observed is not None and not empty and not (there_N := observed.flatten(1).any(1)).all():
        raise ValueError(
            f"{request.where}: nothing is observed of {_rows((~there_N).nonzero().flatten().tolist())}; leave such rows "
            "out, or draw new ones with generate"
        )
    condition = _condition(model, request, len(x)) if told else None
    return Inputs(x, observed, None, condition, _log_beta(model, request, len(x)))


def _pairs(model: VAE, pairs: Any, request: Request, *, told: bool = True) -> tuple[Inputs, Inputs]:
    """The first and the second row of each pair: images [N,2,…], or two successive rows of a table."""
    if pairs is None:
        raise ValueError(f"{request.where} needs inputs, got None")
    if model.examples.columns is not None:
        both = _inputs(model, pairs, request, told=told)
        if len(both.x) % 2:
            raise ValueError(f"{request.where}: expected pairs, two successive rows each, found {len(both.x)} rows")
        return _every_second(both, 0), _every_second(both, 1)
    array = _array(pairs, request)
    if array.ndim < 3 or array.shape[1] != 2:
        raise ValueError(f"{request.where}: expected pairs of images, (N, 2, …), found {_shape(array.shape)}")
    both = _inputs(model, array.reshape(-1, *array.shape[2:]), request, told=told)
    return _every_second(both, 0), _every_second(both, 1)


def _every_second(inputs: Inputs, start: int) -> Inputs:
    rest = (None if part is None else part[start::2] for part in inputs[1:])
    return Inputs(inputs.x[start::2], *rest)


def _outputs(model: VAE, x: Tensor, *levels: str, labels: Sequence[Sequence[Any] | None] = ()) -> Any:
    """Examples [N,…,*shape]: images as an array; rows of a table as a data frame, whose index says which of the `levels`
    between N and the shape each belongs to."""
    if model.examples.columns is None:
        return x.numpy()
    values = restore(x, model.examples).flatten(0, -2).numpy()
    if not levels:
        return write_rows(values, model.examples.columns)
    given = [None, *(labels or [None] * len(levels))]
    inner = [range(size) if label is None else label for size, label in zip(x.shape, given, strict=False)]
    return write_rows(values, model.examples.columns, dict(zip(["row", *levels], inner, strict=True)))


def _spread(model: VAE, std: Tensor) -> Any:
    """Standard deviations of examples: of images an array, of a table's rows a data frame of numbers."""
    if model.examples.columns is None:
        return std.numpy()
    return write_spread(std.numpy(), model.examples.columns)


def _filled(model: VAE, examples: Any, found: Any, request: Request) -> Any:
    """A table's rows with the caller's own values wherever there were any; images are so already."""
    if model.examples.columns is None:
        return found
    return keep_observed(found, examples, model.examples.columns, request.where)


def _rows(numbers: Sequence[int]) -> str:
    """The first few of some rows, counted from 0."""
    shown = ", ".join(map(str, numbers[:5]))
    return f"row{'s' * (len(numbers) > 1)} {shown}{f' … ({len(numbers):,} in all)' * (len(numbers) > 5)}"


def _images(model: VAE, images: Any, request: Request, *, noisy: bool = False) -> tuple[Tensor, Tensor | None]:
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
    if noisy and not x.isfinite().all():
        raise ValueError(f"{request.where}: expected finite pixels, or NaN where one is missing; found an infinite one")
    if len(x) and not noisy and not (x.min() >= 0 and x.max() <= 1):
        raise ValueError(
            f"{request.where}: expected pixels in [0, 1] (or uint8 in 0…255), found {x.min():g} to {x.max():g}"
        )
    return x, ~missing if missing.any() else None


def _as_scored(model: VAE, x: Tensor, seed: int) -> Tensor:
    """Grey pixels, for a model of binary ones, drawn as 0 or 1 by the seed: there is no probability for grey."""
    match binarization(model.config.likelihood):
        case "static" | "dynamic":
            generator = torch.Generator().manual_seed(derive(seed, Stream.GENERATION, 3))
            return binarize((x * 255).round().to(torch.uint8), generator)
        case "none" if grey := int(((x > 0) & (x < 1)).sum()):
            raise ValueError(
                f"task score: {grey} of {x.numel()} pixels are neither 0 nor 1, and this model was trained on binary "
                "images; give binary ones"
            )
    return x


def _condition(
    model: VAE, request: Request, rows: int, given: Sequence[str] | None = None, name: str = "condition"
) -> Tensor | None:
    """The condition [N,K] of rows, from what the request says under a parameter's name."""
    entries = [str(entry) for entry in (request.condition if given is None else given)]
    where = request.where if name == "condition" else f"{request.where}, {name}"
    values_NK = torch.from_numpy(read_conditions(entries, model.conditions, rows, where))
    labels_N, attributes_NA = None, torch.zeros(rows, len(model.examples.attributes))
    for column, values_N in zip(model.conditions, values_NK.T, strict=True):
        if column.name == "class":
            labels_N = values_N.long()
        else:
            attributes_NA[:, model.examples.attributes.index(column)] = values_N
    return model.condition(labels_N, attributes_NA)


def _log_beta(model: VAE, request: Request, rows: int) -> Tensor | None:
    """[N,1], for a model with β gates."""
    if not 0 < request.beta < math.inf:
        raise ValueError(f"{request.where}: beta must be above 0, got {request.beta}")
    if model.config.beta_gates:
        return torch.full((rows, 1), math.log(request.beta))
    if request.beta != 1:
        raise ValueError(
            f"{request.where}: this model was trained at one beta and takes no other, got {request.beta}; one that was "
            "trained with model.beta_gates does"
        )
    return None


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


def _choose(what: str, name: str, choices: Sequence[str]) -> None:
    if name not in choices:
        near = difflib.get_close_matches(name, choices, n=1)
        hint = f"; did you mean `{near[0]}`?" if near else ""
        raise ValueError(f"unknown {what} {name!r}: this model knows {', '.join(choices)}{hint}")


def _shape(shape: Sequence[Any]) -> str:
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"
