"""Directions in the latent that mean an attribute, learned from labels after training and stored with the model.

Shapes: N rows, L latent, E directions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vae.data.schema import Column
from vae.errors import ConfigError

Method = Literal["means", "probe"]
MOST_CATEGORIES = 64
"""Categories of an attribute that get a direction, at most: the most frequent. A fit takes the cube of their number."""


class Directions(nn.Module):
    """A direction for each number among the attributes, and one for each category.

    A step of 1 along a number's direction stands for one standard deviation of it in the training split; along a
    category's, for the way from the mean of all other rows to the mean of that category's.
    """

    effects: Mapping[Method, Sequence[float]] | None = None
    """Distance that a step of 1 along each direction moves the decoded example, E numbers for each method: the root mean
    square over rows and values, of pixels in [0, 1] and numbers in standard deviations. None for models saved without."""

    def __init__(self, names: Sequence[str], latent_dim: int) -> None:
        super().__init__()
        self.names = tuple(names)
        """`size` of a number, `shape=heart` of a category."""
        self.register_buffer("means", torch.zeros(len(names), latent_dim))
        self.register_buffer("probes", torch.zeros(len(names), latent_dim))
        self.means: Tensor
        """Movement of the mean latent, [E,L]: a regression of z on all the attributes together, so that what comes with an
        attribute by chance or design is not taken for it."""
        self.probes: Tensor
        """The normal of a linear probe of the attribute, with a length that moves the probe's answer as far, [E,L]: the
        weights of a least-squares prediction of the attribute from z."""

    def of(self, name: str, method: Method) -> Tensor:
        """Returns a direction [L].

        Raises:
            ConfigError: If there is none of that name.
        """
        if name not in self.names:
            raise ConfigError(f"no direction means {name!r}; this model has {', '.join(self.names)}")
        return (self.means if method == "means" else self.probes)[self.names.index(name)]


def fit_directions(
    z_NL: NDArray[np.float32],
    columns: Sequence[Column],
    values_NA: NDArray[np.float32],
    variance_L: NDArray[np.float32],
) -> Directions:
    """Learns directions from latents and what is known of their rows.

    The probe predicts the attribute from draws of the posterior, whose covariance is that of the means plus the mean
    variance. That variance acts as a ridge of the right size for every dimension (Bishop 1995): where the posterior is as
    wide as the prior, the decoder does not use the dimension, and the probe gives it no weight.

    Args:
        z_NL: The mean of the posterior of each row.
        columns: The attributes, the class among them. Constant attributes get no direction.
        values_NA: Their values, categories as codes.
        variance_L: Variance of the posterior in each dimension, averaged over rows.

    References:
        Bishop, Training with noise is equivalent to Tikhonov regularization (1995).
        https://doi.org/10.1162/neco.1995.7.1.108
    """
    contrasts = [
        contrast
        for column, values_N in zip(columns, values_NA.T.astype(np.float64), strict=True)
        for contrast in _contrasts(column, values_N)
    ]
    directions = Directions([name for name, _, _ in contrasts], z_NL.shape[1])
    if not contrasts:
        return directions
    z_NL = z_NL.astype(np.float64) - z_NL.mean(0, dtype=np.float64)
    design_NE = np.stack([centred_N for _, centred_N, _ in contrasts], axis=1)
    slope_EL = np.linalg.lstsq(design_NE, z_NL, rcond=None)[0]
    precision_LL = np.linalg.pinv(z_NL.T @ z_NL / len(z_NL) + np.diag(variance_L), hermitian=True)
    normal_EL = design_NE.T @ z_NL / len(z_NL) @ precision_LL
    means_EL = np.stack([weights_E @ slope_EL for weights_E in _weights(contrasts)])
    along_E = (means_EL * normal_EL).sum(1) / np.maximum((normal_EL**2).sum(1), 1e-12)
    directions.means.copy_(torch.from_numpy(means_EL))
    directions.probes.copy_(torch.from_numpy(along_E[:, None] * normal_EL))
    return directions


class _Contrast(NamedTuple):
    name: str
    centred: NDArray[np.float64]
    """A number in standard deviations, or membership less its mean, [N]"""
    share: float | None
    """Share of the rows that belong to a category; None for a number."""


def _contrasts(column: Column, values_N: NDArray[np.float64]) -> Iterator[_Contrast]:
    if column.categories is None:
        if spread := values_N.std():
            yield _Contrast(column.name, (values_N - values_N.mean()) / spread, None)
        return
    frequency_K = np.bincount(values_N[~np.isnan(values_N)].astype(int), minlength=len(column.categories))
    for code in sorted(np.argsort(-frequency_K, kind="stable")[:MOST_CATEGORIES].tolist()):
        category = column.categories[code]
        member_N = values_N == code
        if 0 < (share := float(member_N.mean())) < 1:
            yield _Contrast(f"{column.name}={category}", member_N - share, share)


def _weights(contrasts: Sequence[_Contrast]) -> Iterator[NDArray[np.float64]]:
    """Yields the weights of the slopes [E] for each direction: a number's own; a category's minus the others' mean."""
    attributes = [contrast.name.partition("=")[0] for contrast in contrasts]
    for number, contrast in enumerate(contrasts):
        weights_E = np.zeros(len(contrasts))
        if contrast.share is not None:
            for other, sibling in enumerate(contrasts):
                if attributes[other] == attributes[number] and sibling.share is not None:
                    weights_E[other] = -sibling.share / (1 - contrast.share)
        weights_E[number] = 1.0
        yield weights_E
