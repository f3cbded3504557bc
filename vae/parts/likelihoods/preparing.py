"""Preparation of a batch's values by the policy of a likelihood's configuration."""

from __future__ import annotations

from torch import Tensor

from vae.data.schema import ExampleSpec
from vae.data.transforms import transform_of
from vae.draws import RowDraws
from vae.parts.likelihoods.likelihood import LikelihoodPart


def prepare(
    values: Tensor, config: LikelihoodPart, examples: ExampleSpec, source: RowDraws
) -> tuple[Tensor, Tensor | None]:
    """Returns a batch's values as the likelihood scores them, and which of them are observed.

    Args:
        values: uint8 [B,C,H,W] of images; float64 [B,D] of tables, NaN where missing.
        config: Configuration that says how grey pixels become binary.
        examples: Schema of the values.
        source: Source of the pixels that are drawn anew; tables draw nothing.

    Returns:
        x in float32, and a mask; see `vae.data.transforms`.
    """
    return transform_of(examples).prepare(values, config.binarization_policy, source)
