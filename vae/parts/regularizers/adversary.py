"""FactorVAE's adversary: a discriminator with an optimiser of its own.

Shapes: B batch, L latent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, distributed, nn
from torch.func import functional_call
from torch.nn import functional as F

from vae.draws import RowDraws
from vae.parts.part import HiddenUnits
from vae.parts.ranks import gather, own_places, weight_of
from vae.parts.regularizers.regularizer import RegularizerPart
from vae.parts.terms import Terms

if TYPE_CHECKING:
    from vae.config.model import ModelConfig
    from vae.config.objective import ObjectiveConfig

AdamBeta = Annotated[float, Field(ge=0, lt=1)]


class Adversary(RegularizerPart):
    """FactorVAE's penalty: the total correlation by a discriminator with its own optimiser (Kim & Mnih 2018)."""

    has_optimizer: ClassVar[bool] = True
    not_stackable: ClassVar[str | None] = (
        "objective.regularizers: an adversary has a network and an optimiser of its own, which lanes do not stack"
    )

    kind: Literal["adversary"] = "adversary"
    weight: Annotated[float, Field(gt=0)] = 35.0
    """Weight of the total correlation; the paper's γ."""
    hidden: HiddenUnits = (256, 256, 256)
    """Units of each hidden layer of the discriminator. The paper's six of 1000, which preset `factor_vae` has, take 20
    times as long on a CPU."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-4
    """Learning rate of the discriminator's Adam; the paper's."""
    adam_betas: tuple[AdamBeta, AdamBeta] = (0.5, 0.9)
    """Decays per step of the averages of the gradient and of its square in the discriminator's Adam; the paper's."""

    @property
    def summary(self) -> str:
        return f"{self.weight:g} · total correlation by a discriminator"

    def penalty(self, z_BL: Tensor, terms: Terms, reference_BL: Tensor | None, num_examples: int) -> Tensor:
        raise TypeError("the penalty of an adversary is that of its Discriminator, which has a state")

    def discriminator(self, latent_dim: int, seed: int, device: torch.device | str = "cpu") -> Discriminator:
        return Discriminator(self, latent_dim, seed, device)

    def check_objective(self, model: ModelConfig, objective: ObjectiveConfig, batch_size: int) -> None:
        super().check_objective(model, objective, batch_size)
        if sum(regularizer.has_optimizer for regularizer in objective.regularizers) > 1:
            raise ValueError("objective.regularizers: one adversary at most, because each has an optimiser of its own")


class Discriminator:
    """A classifier of draws from q(z) and from the product of its marginals, which estimates the total correlation.

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
        """Returns the weighted estimate of the total correlation, in nats: the mean logit of its density ratio.

        Its gradient reaches the encoder and not the discriminator.
        """
        frozen = {name: parameter.detach() for name, parameter in self.network.named_parameters()}
        return self.config.weight * functional_call(self.network, frozen, (z_BL,)).float().mean()

    def learn(self, z_BL: Tensor, source: RowDraws) -> Tensor:
        """Takes one step on this rank's draws, cut off from the encoder; returns their cross entropy in nats.

        Dimensions are permuted over the draws of all ranks; the source is the same on each.
        """
        z_BL = z_BL.detach()
        permuted_BL = permute_dimensions(gather(z_BL), source)
        if (own := own_places()) is not None:
            permuted_BL = permuted_BL[own.start : own.stop]
        logits = self.network(torch.cat([z_BL, permuted_BL])).float().squeeze(-1)
        targets = torch.cat([torch.ones_like(logits[: len(z_BL)]), torch.zeros_like(logits[len(z_BL) :])])
        loss = F.binary_cross_entropy_with_logits(logits, targets)
        (weight_of(len(z_BL)) * loss).backward()
        if own is not None:
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


def permute_dimensions(z_BL: Tensor, source: RowDraws) -> Tensor:
    """Returns each dimension permuted over the batch: draws of the product of the marginals (algorithm 1)."""
    keys = source.uniform(*z_BL.shape)
    return z_BL.gather(0, keys.argsort(dim=0))
