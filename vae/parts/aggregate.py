"""A mixture fitted to the aggregate posterior after training, from which a model may generate instead of its prior.

Shapes: B batch, L latent, K components.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vae.parts.distributions import choose


class AggregateMixture(nn.Module):
    """A mixture of full-covariance Gaussians over the latent.

    Latents from it look like those of real examples where the prior does not fit them (Ghosh et al., From Variational to
    Deterministic Autoencoders, 2020, section 4, https://arxiv.org/abs/1903.12436).
    """

    def __init__(self, components: int, latent_dim: int) -> None:
        super().__init__()
        self.register_buffer("log_weights", torch.zeros(components))
        self.register_buffer("means", torch.zeros(components, latent_dim))
        self.register_buffer("factors", torch.zeros(components, latent_dim, latent_dim))
        self.log_weights: Tensor
        """Logarithms of the weights, [K]."""
        self.means: Tensor
        """Means of the components, [K,L]."""
        self.factors: Tensor
        """Lower Cholesky factors of the covariances, [K,L,L]"""

    def sample(self, noise_BN: Tensor, temperature: float = 1.0) -> Tensor:
        """Draws [B,L] from standard normal noise [B,1+L]; the first number chooses the component.

        The temperature scales the other numbers.
        """
        index_B = choose(self.log_weights, noise_BN[:, 0])
        return self.means[index_B] + torch.einsum("bij,bj->bi", self.factors[index_B], temperature * noise_BN[:, 1:])


def fit_aggregate(z_NL: NDArray[np.float32], components: int, seed: int) -> AggregateMixture:
    """Fits a mixture by expectation-maximisation.

    Args:
        z_NL: A draw from the posterior of each of many examples.
        components: Largest number of Gaussians; fewer if there are less than ten draws for each.
        seed: Seed of the initial components.
    """
    # A second to import, and a registered model does without them.
    from sklearn.mixture import GaussianMixture
    from threadpoolctl import threadpool_limits

    components = max(1, min(components, len(z_NL) // 10))
    with threadpool_limits(1):  # two threads took 12 s for what one does in 0.2, where the cores are shared
        found = GaussianMixture(components, reg_covar=1e-4, random_state=seed % 2**32).fit(z_NL.astype(np.float64))
    mixture = AggregateMixture(components, z_NL.shape[1])
    mixture.log_weights.copy_(torch.as_tensor(found.weights_).log())
    mixture.means.copy_(torch.as_tensor(found.means_))
    mixture.factors.copy_(torch.linalg.cholesky(torch.as_tensor(found.covariances_)))
    return mixture
