"""The maximum mean discrepancy between the aggregate posterior and the prior."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from vae.parts.ranks import gather
from vae.parts.regularizers.regularizer import RegularizerPart
from vae.parts.terms import Terms

IMQ_SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
Kernel = Literal["imq", "rbf"]


class Mmd(RegularizerPart):
    """The maximum mean discrepancy between aggregate posterior and prior (Zhao et al. 2019, InfoVAE)."""

    compares_with_prior: ClassVar[bool] = True

    kind: Literal["mmd"] = "mmd"
    weight: Annotated[float, Field(gt=0)] = 100.0
    """Weight of the discrepancy."""
    kernel: Kernel = "imq"
    """Kernel of the discrepancy. imq: inverse multiquadratics of seven scales. rbf: a Gaussian of width √latent_dim."""

    @property
    def summary(self) -> str:
        return f"{self.weight:g} · MMD"

    def lightened(self, factor: float) -> dict[str, Any]:
        return self.model_dump() | {"weight": float(f"{factor * self.weight:.2g}")}

    def penalty(self, z_BL: Tensor, terms: Terms, reference_BL: Tensor | None, num_examples: int) -> Tensor:
        assert reference_BL is not None, "the caller draws from the prior"
        return self.weight * maximum_mean_discrepancy(z_BL, gather(reference_BL), self.kernel)


def maximum_mean_discrepancy(x_BL: Tensor, y_BL: Tensor, kernel: Kernel) -> Tensor:
    """Returns an unbiased estimate of MMD²(x, y), which may be below 0; B is at least 2.

    References:
        Gretton et al., A Kernel Two-Sample Test (2012), eq. 3. https://jmlr.org/papers/v13/gretton12a.html
        Tolstikhin et al., Wasserstein Auto-Encoders (2018), for the inverse multiquadratics. https://arxiv.org/abs/1711.01558
    """
    count = len(x_BL)
    within_x, within_y, between = (_kernel(a, b, kernel) for a, b in ((x_BL, x_BL), (y_BL, y_BL), (x_BL, y_BL)))
    own = within_x.sum() - within_x.diagonal().sum() + within_y.sum() - within_y.diagonal().sum()
    return own / (count * (count - 1)) - 2 * between.mean()


def _kernel(a_BL: Tensor, b_BL: Tensor, kernel: Kernel) -> Tensor:
    """Returns the kernel's value of each pair, [B,B]."""
    latent_dim = a_BL.shape[1]
    squares_B1, squares_B = a_BL.square().sum(-1, keepdim=True), b_BL.square().sum(-1)
    distances_BB = torch.addmm(squares_B1 + squares_B, a_BL, b_BL.T, alpha=-2).clamp(min=0)
    if kernel == "rbf":
        return torch.exp(-distances_BB / (2 * latent_dim))
    return sum((scale / (scale + distances_BB) for scale in (2 * latent_dim * s for s in IMQ_SCALES)), start=0.0)  # pyright: ignore
