"""From what a caller gives to what a model takes; everything that does not fit is refused here.

Shapes: N rows, L latent, D columns, K width of a condition.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vae.data.conditions import read_conditions
from vae.data.schema import Column
from vae.data.tables import read_rows
from vae.inference.answering.request import Request
from vae.model import VAE
from vae.parts.likelihoods.preparing import binarize, prepare
from vae.parts.terms import Inputs
from vae.seeds import Stream, derive

log = logging.getLogger(__name__)


def read_inputs(
    model: VAE, examples: Any, request: Request, *, noisy: bool = False, told: bool = True, empty: bool = False
) -> Inputs:
    """Rows as the model takes them: `noisy` ones may leave the range of pixels, `told` ones have a condition, and of
    `empty` ones nothing need be observed.
    """
    if examples is None:
        raise ValueError(f"{request.where} needs inputs, got None")
    if model.examples.columns is None:
        x, observed = _images(model, examples, request, noisy=noisy)
    else:
        values_ND = torch.from_numpy(read_rows(examples, model.examples.columns, request.where))
        x, observed = prepare(values_ND, model.config.likelihood, model.examples, torch.Generator())
        _warn_of_absurd(model.examples.columns, values_ND, observed, request)
    if observed is not None and not empty and not (there_N := observed.flatten(1).any(1)).all():
        raise ValueError(
            f"{request.where}: nothing is observed of {_rows((~there_N).nonzero().flatten().tolist())}; leave such rows "
            "out, or draw new ones with generate"
        )
    x, observed = x.to(_device(model)), None if observed is None else observed.to(_device(model))
    condition = read_condition(model, request, len(x)) if told else None
    return Inputs(x, observed, None, condition, read_log_beta(model, request, len(x)))


def _warn_of_absurd(columns: Sequence[Column], values_ND: Tensor, observed_ND: Tensor | None, request: Request) -> None:
    """Logs how many numbers count as missing because they are outside of their column's plausible range, and the first."""
    assert observed_ND is not None, "of a table"
    absurd = (~observed_ND & ~values_ND.isnan()).nonzero().tolist()
    if absurd:
        row, number = absurd[0]
        column = columns[number]
        log.warning(
            "%s: %d values are absurd and count as missing; the first: column %r, row %d: %g is not within %g to %g",
            *(request.where, len(absurd), column.name, row, values_ND[row, number], column.lowest, column.highest),
        )


def read_pairs(model: VAE, pairs: Any, request: Request, *, told: bool = True) -> tuple[Inputs, Inputs]:
    """The first and the second row of each pair: images [N,2,…], or two successive rows of a table."""
    if pairs is None:
        raise ValueError(f"{request.where} needs inputs, got None")
    if model.examples.columns is not None:
        both = read_inputs(model, pairs, request, told=told)
        if len(both.x) % 2:
            raise ValueError(f"{request.where}: expected pairs, two successive rows each, found {len(both.x)} rows")
        return _every_second(both, 0), _every_second(both, 1)
    array = _array(pairs, request)
    if array.ndim < 3 or array.shape[1] != 2:
        raise ValueError(f"{request.where}: expected pairs of images, (N, 2, …), found {_shape(array.shape)}")
    both = read_inputs(model, array.reshape(-1, *array.shape[2:]), request, told=told)
    return _every_second(both, 0), _every_second(both, 1)


def _every_second(inputs: Inputs, start: int) -> Inputs:
    rest = (None if part is None else part[start::2] for part in inputs[1:])
    return Inputs(inputs.x[start::2], *rest)


def _images(model: VAE, images: Any, request: Request, *, noisy: bool = False) -> tuple[Tensor, Tensor | None]:
    """Images [N,C,H,W], float32 in [0, 1] and 0 where missing, and which pixels are there; None where all are. Refuses any
    other size: nothing is resized in silence.
    """
    array = _array(images, request)
    channels, height, width = shape = model.examples.shape
    allowed = [shape, (model.examples.num_values,), *([(height, width)] if channels == 1 else [])]
    if array.ndim < 2 or array.shape[1:] not in allowed:
        expected = " or ".join(_shape(("N", *one)) for one in allowed)
        raise ValueError(f"{request.where}: expected images of shape {expected}, found {_shape(array.shape)}")
    array = array.reshape(len(array), *shape)
    x = torch.from_numpy(array.astype(np.float32) / (255 if array.dtype == np.uint8 else 1))
    observed = None
    if array.dtype.kind == "f" and (missing := x.isnan()).any():  # whole numbers have no NaN to look for
        x, observed = x.masked_fill(missing, 0), ~missing
    if noisy and not x.isfinite().all():
        raise ValueError(f"{request.where}: expected finite pixels, or NaN where one is missing; found an infinite one")
    if len(x) and not noisy and not (x.min() >= 0 and x.max() <= 1):
        raise ValueError(
            f"{request.where}: expected pixels in [0, 1] (or uint8 in 0…255), found {x.min():g} to {x.max():g}"
        )
    return x, observed


def as_scored(model: VAE, x: Tensor, seed: int) -> Tensor:
    """Grey pixels, for a model of binary ones, drawn as 0 or 1 by the seed: there is no probability for grey."""
    match model.config.likelihood.binarization_policy:
        case "static" | "dynamic":
            generator = torch.Generator().manual_seed(derive(seed, Stream.GENERATION, 3))
            return binarize((x.cpu() * 255).round().to(torch.uint8), generator).to(x.device)
        case "none" if grey := int(((x > 0) & (x < 1)).sum()):
            raise ValueError(
                f"task score: {grey} of {x.numel()} pixels are neither 0 nor 1, and this model was trained on binary "
                "images; give binary ones"
            )
    return x


def read_latents(model: VAE, latents: Any, request: Request) -> Tensor:
    """Latents [N,L], complete and finite."""
    z_NL = _array(latents, request)
    latent_dim = model.config.latent_dim
    if z_NL.ndim != 2 or z_NL.shape[1] != latent_dim:
        raise ValueError(f"{request.where}: expected latents of shape (N, {latent_dim}), found {_shape(z_NL.shape)}")
    if wrong := z_NL.size - int(np.isfinite(z_NL).sum()):
        raise ValueError(f"{request.where}: {wrong} of {z_NL.size} values are not finite; give complete latents")
    return torch.from_numpy(z_NL.astype(np.float32)).to(_device(model))


def read_condition(
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
    condition_NK = model.condition(labels_N, attributes_NA)
    return None if condition_NK is None else condition_NK.to(_device(model))


def read_log_beta(model: VAE, request: Request, rows: int) -> Tensor | None:
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


def _device(model: VAE) -> torch.device:
    """Where the model is, and its inputs have to be."""
    return next(model.parameters()).device


def _rows(numbers: Sequence[int]) -> str:
    """The first few of some rows, counted from 0."""
    shown = ", ".join(map(str, numbers[:5]))
    return f"row{'s' * (len(numbers) > 1)} {shown}{f' … ({len(numbers):,} in all)' * (len(numbers) > 5)}"


def _shape(shape: Sequence[Any]) -> str:
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"
