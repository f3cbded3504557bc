"""FactorVAE's discriminator, with an optimiser of its own.

Shapes: B batch, L latent.
"""

from __future__ import annotations

import torch
from torch import Tensor, distributed, nn
from torch.func import functional_call
from torch.nn import functional as F

from vae.config import Adversary


class Discriminator:
    """Tells draws of q(z) from draws of the product of its marginals, and so estimates their total correlation.

    The same on every rank: it starts from one seed, and its gradients are averaged. Its one output is the logit; the
    paper's has two outputs, whose difference is that logit.

    References:
        Kim & Mnih, Disentangling by Factorising (2018), section 3, algorithm 2 and appendix A for the layers and Adam.
        https://arxiv.org/abs/1802.05983
    """

    def __init__(self, config: Adversary, latent_dim: int, seed: int, device: torch.device | str = "cpu") -> None:
        self.config = config
        layers: list[nn.Module] = []
        features = latent_dim
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for hidden in config.hidden:
                layers += [nn.Linear(features, hidden), nn.LeakyReLU(0.2)]
                features = hidden
            self.network = nn.Sequential(*layers, nn.Linear(features, 1)).to(device)
        self.optimizer = torch.optim.Adam(
            self.network.parameters(), lr=config.learning_rate, betas=config.adam_betas, fused=True
        )

    def penalty(self, z_BL: Tensor) -> Tensor:
        """The weighted estimate of the total correlation, in nats: the mean logit of its density ratio.

        Its gradient reaches the encoder and not the discriminator.
        """
        frozen = {name: parameter.detach() for name, parameter in self.network.named_parameters()}
        return self.config.weight * functional_call(self.network, frozen, (z_BL,)).float().mean()

    def learn(self, z_BL: Tensor, generator: torch.Generator) -> Tensor:
        """One step on draws, which are cut off from the encoder; returns the cross entropy in nats."""
        z_BL = z_BL.detach()
        logits = self.network(torch.cat([z_BL, permute_dimensions(z_BL, generator)])).float().squeeze(-1)
        targets = torch.cat([torch.ones_like(logits[: len(z_BL)]), torch.zeros_like(logits[len(z_BL) :])])
        loss = F.binary_cross_entropy_with_logits(logits, targets)
        loss.backward()
        if distributed.is_available() and distributed.is_initialized():
            self._average_gradients()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    def _average_gradients(self) -> None:
        gradients = [parameter.grad for parameter in self.network.parameters() if parameter.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(flat)
        flat /= distributed.get_world_size()
        for gradient, averaged in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(averaged.view_as(gradient))


def permute_dimensions(z_BL: Tensor, generator: torch.Generator) -> Tensor:
    """Each dimension in an order of its own over the batch: draws of the product of the marginals (algorithm 1)."""
    keys = torch.rand(z_BL.shape, generator=generator, device=z_BL.device)
    return z_BL.gather(0, keys.argsort(dim=0))
