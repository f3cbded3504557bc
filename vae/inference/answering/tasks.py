"""Every task: how it answers a request, what it takes and gives, and which models can do it.

Shapes: N rows, L latent.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from vae import inference
from vae.errors import ConfigError
from vae.inference.answering.reading import (
    as_scored,
    read_condition,
    read_inputs,
    read_latents,
    read_log_beta,
    read_pairs,
)
from vae.inference.answering.request import Output, Request, choose
from vae.inference.answering.writing import write_examples, write_filled, write_spreads
from vae.inference.importance import LEAST_EFFECTIVE_DRAWS
from vae.model import VAE
from vae.parts.terms import Inputs


def _reconstruct(model: VAE, examples: Any, request: Request) -> Any:
    return write_examples(model, inference.reconstruct(model, read_inputs(model, examples, request)))


def _encode(model: VAE, examples: Any, request: Request) -> dict[str, NDArray[np.float32]]:
    code = inference.encode(model, read_inputs(model, examples, request))
    return {name: value.cpu().numpy() for name, value in code._asdict().items()}


def _decode(model: VAE, latents: Any, request: Request) -> Any:
    z_NL = read_latents(model, latents, request)
    condition_NK, log_beta_N1 = read_condition(model, request, len(z_NL)), read_log_beta(model, request, len(z_NL))
    output = "sample" if request.output == "sample" else "mean"
    return write_examples(model, inference.decode(model, z_NL, condition_NK, output, request.seed, log_beta_N1))


def _generate(model: VAE, nothing: Any, request: Request) -> Any:
    if not 0 < request.temperature < math.inf:
        raise ValueError(f"task generate: temperature must be above 0 and finite, got {request.temperature}")
    generated = inference.generate(
        model,
        request.n,
        read_condition(model, request, request.n),
        seed=request.seed,
        temperature=request.temperature,
        output="sample" if request.output == "sample" else "mean",
        sampler=request.sampler,
        log_beta_N1=read_log_beta(model, request, request.n),
    )
    return write_examples(model, generated)


def _score(model: VAE, examples: Any, request: Request) -> NDArray[np.float32]:
    inputs = read_inputs(model, examples, request, empty=True)
    inputs = inputs._replace(x=as_scored(model, inputs.x, request.seed))
    evidence = inference.evidence(model, inputs, num_samples=request.num_samples, seed=request.seed)
    return (evidence.effective_draws if request.output == "ess" else evidence.nats).cpu().numpy()


def _denoise(model: VAE, examples: Any, request: Request) -> Any:
    inputs = read_inputs(model, examples, request, noisy=True)
    estimate = inference.denoise(model, inputs, num_samples=request.num_samples, seed=request.seed)
    return write_spreads(model, estimate.std) if request.output == "std" else write_examples(model, estimate.mean)


def _impute(model: VAE, examples: Any, request: Request) -> Any:
    inputs = read_inputs(model, examples, request)
    if request.output == "sample":
        drawn = inference.impute_many(model, inputs, request.n, num_samples=request.num_samples, seed=request.seed)
        _warn_of_few_draws(inputs, drawn.effective_draws, request)
        return write_filled(model, examples, write_examples(model, drawn.values, "imputation"), request)
    estimate = inference.impute(model, inputs, num_samples=request.num_samples, seed=request.seed)
    if request.output == "ess":
        return estimate.effective_draws.cpu().numpy()
    _warn_of_few_draws(inputs, estimate.effective_draws, request)
    if request.output == "std":
        return write_spreads(model, estimate.std)
    return write_filled(model, examples, write_examples(model, estimate.mean), request)


def _warn_of_few_draws(inputs: Inputs, effective_N: Tensor, request: Request) -> None:
    """Warns of rows with missing entries whose answer rests on too few effective draws."""
    if inputs.observed is None:
        return
    unreliable_N = (effective_N < LEAST_EFFECTIVE_DRAWS) & ~inputs.observed.flatten(1).all(1)
    if count := int(unreliable_N.sum()):
        warnings.warn(
            f"{request.where}: {count:,} of {len(effective_N):,} rows rest on fewer than {LEAST_EFFECTIVE_DRAWS:.0f} "
            "effective draws, so their values and standard deviations are unreliable; "
            f"params {{'output': 'ess'}} gives each row's figure, and num_samples above {request.num_samples} raises it",
            stacklevel=2,
        )


def _interpolate(model: VAE, pairs: Any, request: Request) -> Any:
    if request.n < 2:
        raise ValueError(f"task interpolate: n must be at least 2, both ends of a path, got {request.n}")
    first, second = read_pairs(model, pairs, request)
    path = inference.interpolate(model, first, second, num_points=request.n, path=request.path)
    return write_examples(model, path, "point")


def _traverse(model: VAE, examples: Any, request: Request) -> Any:
    latent_dim = model.config.latent_dim
    if wrong := [number for number in request.dimensions if not 0 <= number < latent_dim]:
        raise ValueError(f"task traverse: dimensions must be 0 to {latent_dim - 1}, got {', '.join(map(str, wrong))}")
    if not 0 < request.extent < math.inf:
        raise ValueError(f"task traverse: extent must be above 0 and finite, got {request.extent}")
    inputs = read_inputs(model, examples, request)
    dimensions = tuple(dict.fromkeys(request.dimensions))
    found = inference.traverse(model, inputs, dimensions=dimensions, extent=request.extent, num_points=request.n)
    if model.examples.columns is not None:
        return write_examples(model, found.examples, "dimension", "point", labels=(found.dimensions.tolist(), None))
    return {name: value.cpu().numpy() for name, value in found._asdict().items()}


def _edit(model: VAE, examples: Any, request: Request) -> Any:
    choose("attribute", request.attribute, inference.directions_of(model).names)
    if not math.isfinite(request.strength):
        raise ValueError(f"task edit: strength must be finite, got {request.strength}")
    inputs = read_inputs(model, examples, request)
    return write_examples(model, inference.edit(model, inputs, request.attribute, request.strength, request.method))


def _transfer(model: VAE, examples: Any, request: Request) -> Any:
    if request.target:
        inputs, reference = read_inputs(model, examples, request, told=bool(request.condition)), None
    else:
        inputs, reference = read_pairs(model, examples, request, told=bool(request.condition))
    if not request.condition:
        inputs = inputs._replace(condition=inference.infer_condition(model, inputs, seed=request.seed))
    if reference is None:
        target_NK = read_condition(model, request, len(inputs.x), request.target, "target")
    else:
        target_NK = inference.infer_condition(model, reference, seed=request.seed)
    assert target_NK is not None, "the model is conditional"
    return write_examples(model, inference.transfer(model, inputs, target_NK))


# --- what each model can do -----------------------------------------------------------------------------------------


def _always(model: VAE) -> str | None:
    return None


def _needs_numbers(model: VAE) -> str | None:
    if model.has_codes:
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
    "score": Task(_score, "rows to log p(x) in nats, [N]", outputs=("mean", "ess"), counts=("num_samples",)),
    "denoise": Task(_denoise, "noisy rows to clean ones", outputs=("mean", "std"), counts=("num_samples",)),
    "impute": Task(
        _impute,
        "rows with gaps to complete ones; n of each with output sample",
        _needs_experience_of_gaps,
        ("mean", "std", "sample", "ess"),
        ("n", "num_samples"),
    ),
    "interpolate": Task(_interpolate, "pairs of rows to paths of n points", _needs_numbers),
    "traverse": Task(
        _traverse, "rows with each dimension of the latent set to n values", _needs_numbers, counts=("n",)
    ),
    "edit": Task(_edit, "rows with more or less of an attribute", _needs_directions),
    "transfer": Task(_transfer, "rows under a target condition, or under that of a reference row", _needs_condition),
}
