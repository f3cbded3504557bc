"""The covariance penalty of DIP-VAE."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import Tensor

from vae.parts.regularizers.regularizer import RegularizerPart, gathered
from vae.parts.terms import Terms


class Dip(RegularizerPart):
    """The distance from the covariance of the inferred latents to the identity (Kumar et al. 2018)."""

    needs_moments: ClassVar[bool] = True

    kind: Literal["dip"] = "dip"
    variant: Literal["i", "ii"] = "i"
    """Covariance to use. i: that of the posteriors' means. ii: that of their draws, which adds the mean variances."""
    off_diagonal: Annotated[float, Field(ge=0)] = 10.0
    """Weight of the squared covariances."""
    diagonal: Annotated[float, Field(ge=0)] = 100.0
    """Weight of the squared differences between the variances and 1."""

    @property
    def summary(self) -> str:
        return f"DIP-{self.variant.upper()} {self.off_diagonal:g}, {self.diagonal:g}"

    def penalty(self, z_BL: Tensor, terms: Terms, reference_BL: Tensor | None, num_examples: int) -> Tensor:
        posterior = gathered(terms)
        return disentangled_inferred_prior(self, posterior.mean, posterior.log_std)


def disentangled_inferred_prior(config: Dip, mean_BL: Tensor, log_std_BL: Tensor) -> Tensor:
    """Returns λ_od Σ_{i≠j} C_ij² + λ_d Σ_i (C_ii − 1)² with C the covariance of the latents over the batch.

    References:
        Kumar, Sattigeri & Balakrishnan, Variational Inference of Disentangled Latent Concepts (2018), eq. 6 and 7.
        https://arxiv.org/abs/1711.00848
    """
    centred = mean_BL - mean_BL.mean(0)
    covariance = centred.T @ centred / len(mean_BL)
    diagonal = covariance.diagonal()
    off_diagonal = covariance.square().sum() - diagonal.square().sum()
    if config.variant == "ii":  # the posteriors' own variances lie on the diagonal
        diagonal = diagonal + (2 * log_std_BL).exp().mean(0)
    return config.off_diagonal * off_diagonal + config.diagonal * (diagonal - 1).square().sum()
