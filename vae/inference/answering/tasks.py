"""Every task: what it works on, what it makes, and which models can do it.

Shapes: N rows, L latent.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from vae import inference
from vae.data.constraints import fitting, read_constraints
from vae.data.transforms import transform_of
from vae.errors import ConfigError
from vae.inference.answering.reading import as_scored, inputs_of, read_condition, read_inputs, read_latents, read_pairs
from vae.inference.answering.request import Output, Request, choose
from vae.inference.answering.results import Made, Result, Spread
from vae.inference.importance import LEAST_EFFECTIVE_DRAWS
from vae.inference.restricted import draw_fitting
from vae.model import VAE
from vae.parts.terms import Inputs

FEW_FITTING = 0.01
"""Share of drawn rows that meet the constraints of a request below which a warning says so."""


def _reconstruct(model: VAE, inputs: Inputs, request: Request) -> Result:
    return Made(inference.reconstruct(model, inputs))


def _encode(model: VAE, inputs: Inputs, request: Request) -> Result:
    return inference.encode(model, inputs)


def _decode(model: VAE, latents: Inputs, request: Request) -> Result:
    return Made(
        inference.decode(model, latents.x, latents.condition, _made_by(request), request.seed, latents.log_beta)
    )


def _made_by(request: Request) -> Literal["mean", "sample"]:
    """Returns how examples are made of latents."""
    return "sample" if request.output == "sample" else "mean"


def _generate(model: VAE, nothing: Inputs, request: Request) -> Result:
    if not 0 < request.temperature < math.inf:
        raise ValueError(f"{request.place}: temperature must be above 0 and finite, got {request.temperature}")
    if request.where:
        return Made(_restricted(model, nothing, request))
    return Made(_drawn(model, nothing, request, request.seed))


def _drawn(model: VAE, nothing: Inputs, request: Request, seed: int) -> Tensor:
    return inference.generate(
        model,
        len(nothing.x),
        nothing.condition,
        seed=seed,
        temperature=request.temperature,
        output=_made_by(request),
        sampler=request.sampler,
        log_beta_N1=nothing.log_beta,
    )


def _restricted(model: VAE, nothing: Inputs, request: Request) -> Tensor:
    """Returns new rows of a table that meet the request's constraints, and warns where few drawn rows do."""
    transform, place = transform_of(model.examples), f"{request.place}, where"
    constraints = read_constraints(request.where, model.examples.columns or (), place)
    groups = [0] * len(nothing.x)
    if nothing.condition is not None:
        groups = torch.unique(nothing.condition, dim=0, return_inverse=True)[1].tolist()
    try:
        made = draw_fitting(
            lambda rows_B, seed: _drawn(model, nothing.take(rows_B.to(nothing.x.device)), request, seed),
            lambda x: torch.from_numpy(fitting(transform.restore(x).astype(np.float64), constraints)),
            groups,
            request.seed,
        )
    except ValueError as error:
        raise ValueError(f"{place}: {error} {request.where!r}; ask for less, such as a range of a number") from None
    if made.num_repeated or made.num_fitting < FEW_FITTING * made.num_drawn:
        repeated = f"; {made.num_repeated:,} of the {len(groups):,} rows repeat others" * bool(made.num_repeated)
        warnings.warn(
            f"{place}: {made.num_fitting:,} of {made.num_drawn:,} drawn rows fit, "
            f"{100 * made.num_fitting / made.num_drawn:.2g} %{repeated}",
            stacklevel=2,
        )
    return made.x


def _score(model: VAE, inputs: Inputs, request: Request) -> Result:
    inputs = inputs._replace(x=as_scored(model, inputs.x, request.seed))
    evidence = inference.evidence(model, inputs, num_samples=request.num_samples, seed=request.seed)
    return evidence.effective_draws if request.output == "ess" else evidence.nats


def _denoise(model: VAE, inputs: Inputs, request: Request) -> Result:
    estimate = inference.denoise(model, inputs, num_samples=request.num_samples, seed=request.seed)
    return Spread(estimate.std) if request.output == "std" else Made(estimate.mean)


def _impute(model: VAE, inputs: Inputs, request: Request) -> Result:
    if request.output == "sample":
        drawn = inference.impute_many(model, inputs, request.n, num_samples=request.num_samples, seed=request.seed)
        _warn_of_few_draws(inputs, drawn.effective_draws, request)
        return Made(drawn.values, {"imputation": None}, fills_gaps=True)
    estimate = inference.impute(model, inputs, num_samples=request.num_samples, seed=request.seed)
    if request.output == "ess":
        return estimate.effective_draws
    _warn_of_few_draws(inputs, estimate.effective_draws, request)
    return Spread(estimate.std) if request.output == "std" else Made(estimate.mean, fills_gaps=True)


def _warn_of_few_draws(inputs: Inputs, effective_N: Tensor, request: Request) -> None:
    """Warns of rows with missing entries whose answer rests on too few effective draws."""
    if inputs.observed is None:
        return
    unreliable_N = (effective_N < LEAST_EFFECTIVE_DRAWS) & ~inputs.observed.flatten(1).all(1)
    if count := int(unreliable_N.sum()):
        warnings.warn(
            f"{request.place}: {count:,} of {len(effective_N):,} rows rest on fewer than {LEAST_EFFECTIVE_DRAWS:.0f} "
            "effective draws, so their values and standard deviations are unreliable; "
            f"params {{'output': 'ess'}} gives each row's figure, and num_samples above {request.num_samples} raises it",
            stacklevel=2,
        )


def _interpolate(model: VAE, pairs: tuple[Inputs, Inputs], request: Request) -> Result:
    return Made(inference.interpolate(model, *pairs, num_points=request.n, path=request.path), {"point": None})


def _traverse(model: VAE, inputs: Inputs, request: Request) -> Result:
    latent_dim = model.config.latent_dim
    if wrong := [number for number in request.dimensions if not 0 <= number < latent_dim]:
        listed = ", ".join(map(str, wrong))
        raise ValueError(f"{request.place}: dimensions must be 0 to {latent_dim - 1}, got {listed}")
    if not 0 < request.extent < math.inf:
        raise ValueError(f"{request.place}: extent must be above 0 and finite, got {request.extent}")
    dimensions = tuple(dict.fromkeys(request.dimensions))
    made = inference.traverse(model, inputs, dimensions=dimensions, extent=request.extent, num_points=request.n)
    beside = {"dimensions": made.dimensions, "kl": made.kl, "values": made.values}
    return Made(made.examples, {"dimension": made.dimensions.tolist(), "point": None}, beside)


def _edit(model: VAE, inputs: Inputs, request: Request) -> Result:
    choose("attribute", request.attribute, inference.directions_of(model).names)
    if not math.isfinite(request.strength):
        raise ValueError(f"{request.place}: strength must be finite, got {request.strength}")
    return Made(inference.edit(model, inputs, request.attribute, request.strength, request.method))


def _transfer(model: VAE, given: Inputs | tuple[Inputs, Inputs], request: Request) -> Result:
    inputs, reference = (given, None) if isinstance(given, Inputs) else given
    if inputs.condition is None:
        inputs = inputs._replace(condition=inference.infer_condition(model, inputs, seed=request.seed))
    if reference is None:
        target_NF = read_condition(model, request, len(inputs.x), request.target, "target")
    else:
        target_NF = inference.infer_condition(model, reference, seed=request.seed)
    assert target_NF is not None, "the model is conditional"
    return Made(inference.transfer(model, inputs, target_NF))


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


Takes = Literal["rows", "noisy rows", "rows that may be empty", "pairs", "rows or pairs", "latents", "nothing"]


class Task(NamedTuple):
    """One use of a model."""

    run: Callable[[VAE, Any, Request], Result]
    """Function that does the work, from what `read` returns."""
    gives: str
    """Inputs and results in words, for a model's card."""
    takes: Takes = "rows"
    """Inputs of the task; `rows or pairs` is rows for a request with a target, else pairs."""
    refusal: Callable[[VAE], str | None] = _always
    """Function that returns why a model cannot do the task; None where it can."""
    outputs: tuple[Output, ...] = ("mean",)
    """Values that the parameter `output` may have."""
    at_least: Mapping[str, int] = {}
    """Smallest values of parameters."""
    makes_new: bool = False
    """Whether the task makes examples from latents alone, which are draws where the kind of data takes draws."""

    def output(self, model: VAE, request: Request) -> Output:
        """Returns the value of `output` that a request has for a model."""
        if request.output != "auto":
            return request.output
        return transform_of(model.examples).new_examples if self.makes_new else self.outputs[0]

    def takes_pairs(self, request: Request) -> bool:
        """Returns whether a request works on pairs of rows."""
        return self.takes == "pairs" or (self.takes == "rows or pairs" and not request.target)

    def read(self, model: VAE, inputs: Any, request: Request) -> Any:
        """Reads a caller's inputs as `run` takes them.

        Raises:
            ValueError: If they do not fit the model.
        """
        if self.takes == "nothing":
            return inputs_of(model, torch.empty(request.n, 0), None, request)
        if self.takes == "latents":
            return inputs_of(model, read_latents(model, inputs, request), None, request)
        told = self.takes != "rows or pairs" or bool(request.condition)
        if self.takes_pairs(request):
            return read_pairs(model, inputs, request, told=told)
        noisy, empty = self.takes == "noisy rows", self.takes == "rows that may be empty"
        return read_inputs(model, inputs, request, noisy=noisy, told=told, empty=empty)


_ONE_DRAW = {"num_samples": 1}
TASKS: Mapping[str, Task] = {
    "reconstruct": Task(_reconstruct, "rows to rows"),
    "encode": Task(_encode, "rows to mean and std of their latents, [N,L] each"),
    "decode": Task(_decode, "latents [N,L] to rows", "latents", outputs=("mean", "sample"), makes_new=True),
    "generate": Task(_generate, "n new rows", "nothing", outputs=("mean", "sample"), at_least={"n": 1}, makes_new=True),
    "score": Task(
        _score,
        "rows to log p(x) in nats, [N]",
        "rows that may be empty",
        outputs=("mean", "ess"),
        at_least=_ONE_DRAW,
    ),
    "denoise": Task(_denoise, "noisy rows to clean ones", "noisy rows", outputs=("mean", "std"), at_least=_ONE_DRAW),
    "impute": Task(
        _impute,
        "rows with gaps to complete ones; n of each with output sample",
        refusal=_needs_experience_of_gaps,
        outputs=("mean", "std", "sample", "ess"),
        at_least={"n": 1, **_ONE_DRAW},
    ),
    "interpolate": Task(_interpolate, "pairs of rows to paths of n points", "pairs", _needs_numbers, at_least={"n": 2}),
    "traverse": Task(
        _traverse, "rows with each dimension of the latent set to n values", refusal=_needs_numbers, at_least={"n": 1}
    ),
    "edit": Task(_edit, "rows with more or less of an attribute", refusal=_needs_directions),
    "transfer": Task(
        _transfer,
        "rows under a target condition, or under that of a reference row",
        "rows or pairs",
        _needs_condition,
    ),
}
