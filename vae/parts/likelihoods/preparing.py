"""The values of a batch as a likelihood scores them, and back.

Shapes: B batch, C channels, H height, W width, D columns of a table.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vae.data.schema import Column, ExampleSpec, plausible_bounds
from vae.errors import DataError
from vae.parts.likelihoods.likelihood import LikelihoodPart


def prepare(
    values: Tensor, config: LikelihoodPart, examples: ExampleSpec, generator: torch.Generator
) -> tuple[Tensor, Tensor | None]:
    """Returns a batch's values as the likelihood scores them.

    Args:
        values: uint8 [B,C,H,W] of images; float64 [B,D] of tables, NaN where missing.
        config: Says how grey pixels become binary.
        examples: Says what the columns are.
        generator: Of the pixels that are drawn anew; tables draw nothing.

    Returns:
        x in float32, and which of its values are observed. Images: pixels in [0, 1], and None. Tables: numbers in standard
        deviations from the mean of their column, categories as codes, 0 where missing; and bool [B,D]. A number outside of
        its column's plausible range counts as missing.
    """
    if examples.columns is None:
        return to_examples(values, config, generator), None
    mean_D, std_D, lowest_D, highest_D = _units(examples.columns, values.device)
    observed = (values >= lowest_D) & (values <= highest_D)  # NaN is in no range
    # In float64 up to here: float32 keeps 4 of the 3,600 seconds of an hour, as Unix time.
    return ((values - mean_D) / std_D).float().masked_fill(~observed, 0), observed


def restore(x: Tensor, examples: ExampleSpec) -> Tensor:
    """Returns prepared rows of a table, [...,D], in the columns' own units and in float64; images unchanged.

    Categories are codes.
    """
    if examples.columns is None:
        return x
    mean_D, std_D, _, _ = _units(examples.columns, x.device)
    return mean_D + x * std_D


@lru_cache(maxsize=64)
def _units(columns: tuple[Column, ...], device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Returns the mean, standard deviation, lowest and highest plausible value of each column, float64 [D].

    For categories these are 0, 1, -∞ and ∞.
    """
    mean_std = [(0.0, 1.0) if column.categories else (column.mean, column.std) for column in columns]
    units = np.stack([*np.transpose(mean_std), *plausible_bounds(columns)])
    mean_D, std_D, lowest_D, highest_D = torch.from_numpy(units).to(device)
    return mean_D, std_D, lowest_D, highest_D


def binarize(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Draws each uint8 pixel as 0 or 1, with its grey value / 255 as the probability of 1.

    Args:
        pixels: Grey values, uint8, any shape, on the generator's device.
        generator: Source of the draws.

    Returns:
        float32 of the same shape, in {0, 1}. 0 is always 0 and 255 is always 1.
    """
    threshold = torch.randint(255, pixels.shape, generator=generator, device=pixels.device, dtype=torch.uint8)
    return (threshold < pixels).float()


def to_examples(pixels: Tensor, config: LikelihoodPart, generator: torch.Generator) -> Tensor:
    """Returns uint8 pixels as float32 in [0, 1]; drawn anew as 0 or 1 if the policy is dynamic."""
    if config.binarization_policy == "dynamic":
        return binarize(pixels, generator)
    return pixels.float().div_(255)


def check_binary(pixels: NDArray[np.uint8], where: str) -> None:
    """Refuses grey pixels for a Bernoulli likelihood without a binarisation policy.

    Args:
        pixels: Any shape.
        where: What the pixels are, for the message.

    Raises:
        DataError: If a pixel is neither 0 nor 255; says how many and what to do.
    """
    grey = np.count_nonzero(pixels + np.uint8(1) > 1)  # 255 wraps round to 0
    if grey:
        raise DataError(
            f"{where}: {grey} of {pixels.size} pixels are neither 0 nor 255, and a Bernoulli likelihood has no density "
            "for grey; set model.likelihood.binarization to `dynamic` or `static`, or use a gaussian likelihood"
        )
