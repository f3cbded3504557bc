"""Reading of what a caller gives a task; everything that does not fit the model is refused here.

Shapes: N rows, L latent, K conditions, F features of a condition.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vae.data.conditions import encode_conditions, read_conditions
from vae.data.transforms import transform_of
from vae.data.transforms.images import as_array, shape_text
from vae.inference.answering.request import Request
from vae.inference.coding import draws_of
from vae.model import VAE
from vae.parts.terms import Inputs


def read_inputs(
    model: VAE, examples: Any, request: Request, *, noisy: bool = False, told: bool = True, empty: bool = False
) -> Inputs:
    """Reads a caller's rows as the model takes them.

    Args:
        model: The model.
        examples: Images or a table's rows.
        request: Parameters of the call.
        noisy: Whether pixels may lie outside [0, 1].
        told: Whether to read the rows' condition.
        empty: Whether a row may have no observed value.

    Raises:
        ValueError: If the rows or their conditions do not fit the model.
    """
    x, observed = transform_of(model.examples).read(examples, request.place, noisy=noisy)
    return inputs_of(model, x, observed, request, told=told, empty=empty)


def read_pairs(model: VAE, pairs: Any, request: Request, *, told: bool = True) -> tuple[Inputs, Inputs]:
    """Reads the first and the second row of each pair: images [N,2,…], or two successive rows of a table."""
    both = inputs_of(model, *transform_of(model.examples).read_pairs(pairs, request.place), request, told=told)
    return _every_second(both, 0), _every_second(both, 1)


def _every_second(inputs: Inputs, start: int) -> Inputs:
    rest = (None if part is None else part[start::2] for part in inputs[1:])
    return Inputs(inputs.x[start::2], *rest)


def inputs_of(
    model: VAE,
    x: Tensor,
    observed: Tensor | None,
    request: Request,
    *,
    conditions_NK: NDArray[np.float32] | None = None,
    told: bool = True,
    empty: bool = False,
) -> Inputs:
    """Returns rows, latents or nothing as a task takes them, on the model's device.

    Args:
        model: The model.
        x: Prepared rows, latents [N,L], or [N,0] where a task draws everything.
        observed: Mask of the observed values; None where all are.
        request: Parameters of the call.
        conditions_NK: Conditions of the rows as values; None for those of the request.
        told: Whether to add the rows' condition.
        empty: Whether a row may have no observed value.

    Raises:
        ValueError: If a row is empty, or the request's conditions do not fit the model.
    """
    if observed is not None and not empty and not (any_N := observed.flatten(1).any(1)).all():
        raise ValueError(
            f"{request.place}: nothing is observed of {_rows((~any_N).nonzero().flatten().tolist())}; leave such rows "
            "out, or draw new ones with generate"
        )
    device, condition_NF = _device(model), None
    if conditions_NK is not None:
        condition_NF = _encoded(model, conditions_NK)
    elif told:
        condition_NF = read_condition(model, request, len(x))
    log_beta_N1 = read_log_beta(model, request, len(x))
    return Inputs(x.to(device), None if observed is None else observed.to(device), None, condition_NF, log_beta_N1)


def as_scored(model: VAE, x: Tensor, seed: int) -> Tensor:
    """Draws grey pixels as 0 or 1 for a model of binary ones, by the seed: grey has no probability there."""
    match model.config.likelihood.binarization_policy:
        case "static" | "dynamic":
            return draws_of(x, seed, "pixels").binary((x * 255).round().to(torch.uint8))
        case "none" if grey := int(((x > 0) & (x < 1)).sum()):
            raise ValueError(
                f"task score: {grey} of {x.numel()} pixels are neither 0 nor 1, and this model was trained on binary "
                "images; give binary ones"
            )
    return x


def read_latents(model: VAE, latents: Any, request: Request) -> Tensor:
    """Reads latents [N,L], complete and finite."""
    z_NL = as_array(latents, request.place)
    latent_dim = model.config.latent_dim
    if z_NL.ndim != 2 or z_NL.shape[1] != latent_dim:
        raise ValueError(
            f"{request.place}: expected latents of shape (N, {latent_dim}), found {shape_text(z_NL.shape)}"
        )
    if wrong := z_NL.size - int(np.isfinite(z_NL).sum()):
        raise ValueError(f"{request.place}: {wrong} of {z_NL.size} values are not finite; give complete latents")
    return torch.from_numpy(z_NL.astype(np.float32))


def read_condition(
    model: VAE, request: Request, rows: int, given: Sequence[str] | None = None, name: str = "condition"
) -> Tensor | None:
    """Reads the condition [N,F] of rows from a parameter of the request; None for a model without one."""
    entries = [str(entry) for entry in (request.condition if given is None else given)]
    where = request.place if name == "condition" else f"{request.place}, {name}"
    return _encoded(model, read_conditions(entries, model.conditions, rows, where))


def _encoded(model: VAE, conditions_NK: NDArray[np.float32]) -> Tensor | None:
    condition_NF = encode_conditions(model.conditions, [*torch.from_numpy(conditions_NK).T])
    return None if condition_NF is None else condition_NF.to(_device(model))


def read_log_beta(model: VAE, request: Request, rows: int) -> Tensor | None:
    """Reads log β of rows, [N,1]; None for a model without β gates."""
    if not 0 < request.beta < math.inf:
        raise ValueError(f"{request.place}: beta must be above 0, got {request.beta}")
    if model.config.beta_gates:
        return torch.full((rows, 1), math.log(request.beta), device=_device(model))
    if request.beta != 1:
        raise ValueError(
            f"{request.place}: this model was trained at one beta and takes no other, got {request.beta}; one that was "
            "trained with model.beta_gates does"
        )
    return None


def _device(model: VAE) -> torch.device:
    return next(model.parameters()).device


def _rows(numbers: Sequence[int]) -> str:
    """Returns the first few of some row numbers, counted from 0, in words."""
    shown = ", ".join(map(str, numbers[:5]))
    return f"row{'s' * (len(numbers) > 1)} {shown}{f' … ({len(numbers):,} in all)' * (len(numbers) > 5)}"
