"""Normalising flows over the latent: the only file that imports zuko."""

from __future__ import annotations

from collections.abc import Sequence

import zuko
from torch import nn


def autoregressive_flow(
    latent_dim: int, context_dim: int, transforms: int, hidden: Sequence[int], *, splines: bool
) -> nn.Module:
    """Returns a module that maps a context [B,context_dim], or nothing, to a transform of [S,B,latent_dim].

    The transform is quick forwards (`call_and_ladj`) and takes `latent_dim` passes backwards (`inv`).

    Args:
        latent_dim: Dimensions of what is transformed.
        context_dim: 0 for none.
        transforms: How many, in alternating order of the dimensions.
        hidden: Units of each one's masked network.
        splines: Rational-quadratic splines (Durkan et al. 2019) instead of affine maps (Papamakarios et al. 2017).
    """
    kind = zuko.flows.NSF if splines else zuko.flows.MAF
    return kind(latent_dim, context_dim, transforms=transforms, hidden_features=tuple(hidden)).transform
