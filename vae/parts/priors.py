"""Priors p(z): what the latent looks like before an example is seen.

Shapes: S samples, B batch, L latent, K components, N noise, G pieces of a quantised latent. Densities are in nats. A
prior's module gives a distribution: `log_prob(draw)` [S,B], `kl(posterior, draw)` for each dimension where there is a
closed form, and `sample(noise, temperature)` [B,L] out of standard normal noise [B,N].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, assert_never

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vae.config import (
    AutoregressiveCodes,
    ConditionalPrior,
    FlowPrior,
    GaussianMixture,
    HierarchicalPrior,
    ModelConfig,
    StandardNormal,
    UniformCodes,
    Vamp,
    VectorQuantized,
)
from vae.data.schema import ExampleSpec
from vae.parts.distributions import Gaussian, Mixture, choose, standard_normal_log_prob
from vae.parts.posteriors import Draw

Encode = Callable[[Tensor, Tensor | None], Gaussian]
"""Examples [K,*shape] and their conditions to their posteriors: what a VampPrior needs of the model it belongs to."""


class Prior(Protocol):
    """p(z), or p(z|y), for a batch."""

    def log_prob(self, draw: Draw) -> Tensor:
        """Log p(z) of draws in nats, [S,B]."""
        ...

    def kl(self, posterior: Any, draw: Draw) -> Tensor | None:
        """KL(q ‖ p) in nats for each dimension, [1 or S,B,L]; None where only draws can tell."""
        ...

    def sample(self, noise_BN: Tensor, temperature: float = 1.0) -> Tensor:
        """Latents [B,L], or codes [B,G] of a quantised latent.

        A temperature below 1 stays nearer to what is typical: it scales the noise of what is continuous, sharpens what
        codes are chosen by, and leaves the choice of a mixture's component alone.
        """
        ...


def build_prior(config: ModelConfig, condition_dim: int, examples: ExampleSpec) -> PriorModule:
    """The prior's module."""
    latent_dim = config.latent_dim
    match config.prior:
        case StandardNormal():
            return StandardNormalPrior(latent_dim)
        case GaussianMixture(components=components):
            return MixturePrior(components, latent_dim)
        case Vamp(components=components):
            return VampPrior(components, latent_dim, examples.shape, condition_dim)
        case FlowPrior() as flow:
            return FlowPriorModule(flow, latent_dim)
        case ConditionalPrior(hidden=hidden):
            return ConditionalPriorModule(condition_dim, hidden, latent_dim)
        case HierarchicalPrior(groups=groups, hidden=hidden):
            return HierarchicalPriorModule(groups, hidden, latent_dim)
        case UniformCodes():
            assert isinstance(config.posterior, VectorQuantized), "the configuration refuses another"
            return UniformCodesPrior(config.posterior.codes, latent_dim // config.posterior.code_dim)
        case AutoregressiveCodes(hidden=hidden):
            assert isinstance(config.posterior, VectorQuantized), "the configuration refuses another"
            pieces = latent_dim // config.posterior.code_dim
            return AutoregressiveCodesPrior(config.posterior.codes, pieces, hidden)
        case _:
            assert_never(config.prior)


# --- N(0, I) --------------------------------------------------------------------------------------------------------


class StandardNormalPrior(nn.Module):
    """p(z) = N(0, I)."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.noise_dim = latent_dim

    def forward(self, condition_BK: Tensor | None, encode: Encode) -> StandardNormalPrior:
        return self

    def log_prob(self, draw: Draw) -> Tensor:
        return standard_normal_log_prob(draw.z)

    def kl(self, posterior: Any, draw: Draw) -> Tensor | None:
        r"""In closed form for a Gaussian posterior (Kingma & Welling 2014, appendix B)."""
        if not isinstance(posterior, Gaussian):
            return None
        log_variance = 2 * posterior.log_std
        return 0.5 * (torch.addcmul(log_variance.expm1(), posterior.mean, posterior.mean) - log_variance)[None]

    def sample(self, noise_BN: Tensor, temperature: float = 1.0) -> Tensor:
        return temperature * noise_BN


# --- mixtures -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MixtureDistribution:
    """A mixture as a prior."""

    mixture: Mixture

    def log_prob(self, draw: Draw) -> Tensor:
        return self.mixture.log_prob(draw.z)

    def kl(self, posterior: Any, draw: Draw) -> Tensor | None:
        return None

    def sample(self, noise_BN: Tensor, temperature: float = 1.0) -> Tensor:
        return self.mixture.sample(noise_BN, temperature)


class MixturePrior(nn.Module):
    """A learned mixture of diagonal Gaussians."""

    def __init__(self, components: int, latent_dim: int) -> None:
        super().__init__()
        self.noise_dim = 1 + latent_dim
        self.logits = nn.Parameter(torch.zeros(components))
        self.means = nn.Parameter(torch.randn(components, latent_dim))
        self.log_stds = nn.Parameter(torch.zeros(components, latent_dim))

    def forward(self, condition_BK: Tensor | None, encode: Encode) -> MixtureDistribution:
        return MixtureDistribution(Mixture(self.logits.log_softmax(-1), Gaussian(self.means, self.log_stds)))


class VampPrior(nn.Module):
    """p(z) = 1/K Σ q(z|u_k): the posteriors of K learned pseudo-inputs, through the model's own encoder.

    References:
        Tomczak & Welling, VAE with a VampPrior (2018), eq. 9. https://arxiv.org/abs/1705.07120
    """

    def __init__(self, components: int, latent_dim: int, shape: tuple[int, ...], condition_dim: int) -> None:
        super().__init__()
        self.noise_dim = 1 + latent_dim
        self.pseudo_inputs = nn.Parameter(torch.rand(components, *shape))
        # What each pseudo-input's example was told as its condition.
        self.register_buffer("conditions", torch.zeros(components, condition_dim))
        self.conditions: Tensor
        """[K,condition]"""

    def forward(self, condition_BK: Tensor | None, encode: Encode) -> MixtureDistribution:
        components = encode(self.inputs(), self.conditions if self.conditions.shape[1] else None)
        count = len(self.pseudo_inputs)
        log_weights = torch.full((count,), 1.0 / count, device=self.pseudo_inputs.device).log()
        return MixtureDistribution(Mixture(log_weights, components))

    def inputs(self) -> Tensor:
        """The pseudo-inputs [K,*shape]; of images, clamped to the range of pixels."""
        return self.pseudo_inputs.clamp(0, 1) if self.pseudo_inputs.ndim == 4 else self.pseudo_inputs

    @torch.no_grad()
    def start_at(self, x: Tensor, condition_NK: Tensor | None) -> None:
        """Begins with real examples [N,*shape], N at least the number of components."""
        count = len(self.pseudo_inputs)
        self.pseudo_inputs.copy_(x[:count])
        if condition_NK is not None:
            self.conditions.copy_(condition_NK[:count])


# --- flows ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FlowedNormal:
    """N(0, I) carried backwards through a transform."""

    transform: Any

    def log_prob(self, draw: Draw) -> Tensor:
        with torch.autocast(draw.z.device.type, enabled=False):  # the log-determinant is a sum over the latent
            noise, log_det = self.transform.call_and_ladj(draw.z)
        return standard_normal_log_prob(noise) + log_det

    def kl(self, posterior: Any, draw: Draw) -> Tensor | None:
        return None

    def sample(self, noise_BN: Tensor, temperature: float = 1.0) -> Tensor:
        return self.transform.inv(temperature * noise_BN)


class FlowPriorModule(nn.Module):
    """A normalising flow, quick in the direction of its density."""

    def __init__(self, config: FlowPrior, latent_dim: int) -> None:
        from vae.parts.flows import autoregressive_flow  # a registered model without a flow does without zuko

        super().__init__()
        self.noise_dim = latent_dim
        self.flow = autoregressive_flow(
            latent_dim, 0, config.transforms, config.hidden, splines=config.transform == "nsf"
        )

    def forward(self, condition_BK: Tensor | None, encode: Encode) -> FlowedNormal:
        return FlowedNormal(self.flow())


# --- conditional ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GaussianDistribution:
    """Independent Gaussians as a prior, one for each example."""

    gaussian: Gaussian

    def log_prob(self, draw: Draw) -> Tensor:
        return self.gaussian.log_prob(draw.z)

    def kl(self, posterior: Any, draw: Draw) -> Tensor | None:
        return posterior.kl(self.gaussian)[None] if isinstance(posterior, Gaussian) else None

    def sample(self, noise_BN: Tensor, temperature: float = 1.0) -> Tensor:
        return self.gaussian.sample(temperature * noise_BN)


class ConditionalPriorModule(nn.Module):
    """p(z|y) = N(μ(y), diag σ²(y))."""

    def __init__(self, condition_dim: int, hidden: tuple[int, ...], latent_dim: int) -> None:
        super().__init__()
        self.noise_dim = latent_dim
        layers: list[nn.Module] = []
        for features in hidden:
            layers += [nn.Linear(condition_dim, features), nn.SiLU()]
            condition_dim = features
        self.layers = nn.Sequential(*layers, nn.Linear(condition_dim, 2 * latent_dim))

    def forward(self, condition_BK: Tensor | None, encode: Encode) -> GaussianDistribution:
        assert condition_BK is not None, "the configuration asks for a condition"
        return GaussianDistribution(Gaussian(*self.layers(condition_BK).float().chunk(2, dim=-1)))


# --- hierarchical ---------------------------------------------------------------------------------------------------


class HierarchicalPriorModule(nn.Module):
    """p(z) = N(z_1; 0, I) Π N(z_g; μ_g(z_{<g}), σ_g(z_{<g})), the top group first."""

    def __init__(self, groups: int, hidden: int, latent_dim: int) -> None:
        super().__init__()
        self.noise_dim = latent_dim
        self.num_groups = groups
        width = latent_dim // groups
        self.groups = nn.ModuleList(
            nn.Sequential(nn.Linear(number * width, hidden), nn.SiLU(), nn.Linear(hidden, 2 * width))
            for number in range(1, groups)
        )
        self.width = width

    def forward(self, condition_BK: Tensor | None, encode: Encode) -> HierarchicalPriorModule:
        return self

    def group(self, number: int, above: Tensor) -> Gaussian:
        """p(z_g | the groups above) […,L/G], of the groups above […,number·L/G]."""
        if not number:
            zeros = above.new_zeros(*above.shape[:-1], self.width)
            return Gaussian(zeros, zeros)
        return Gaussian(*self.groups[number - 1](above).float().chunk(2, dim=-1))

    def log_prob(self, draw: Draw) -> Tensor:
        parts = draw.z.split(self.width, dim=-1)
        terms = [
            self.group(number, draw.z[..., : number * self.width]).log_prob(part) for number, part in enumerate(parts)
        ]
        return torch.stack(terms).sum(0)

    def kl(self, posterior: Any, draw: Draw) -> Tensor | None:
        """Of a ladder: each group's in closed form, given the drawn groups above it."""
        return torch.cat([q.kl(p) for q, p in draw.groups], dim=-1) if draw.groups else None

    def sample(self, noise_BN: Tensor, temperature: float = 1.0) -> Tensor:
        z_BL = noise_BN[:, :0]
        for number, noise in enumerate(noise_BN.split(self.width, dim=-1)):
            z_BL = torch.cat([z_BL, self.group(number, z_BL).sample(temperature * noise)], dim=-1)
        return z_BL


# --- codes ----------------------------------------------------------------------------------------------------------


class UniformCodesPrior(nn.Module):
    """Each piece is one of K codes with probability 1/K."""

    def __init__(self, codes: int, pieces: int) -> None:
        super().__init__()
        self.noise_dim = pieces
        self.num_codes = codes

    def forward(self, condition_BK: Tensor | None, encode: Encode) -> UniformCodesPrior:
        return self

    def log_prob(self, draw: Draw) -> Tensor:
        return -self.kl(None, draw).sum(-1)

    def kl(self, posterior: Any, draw: Draw) -> Tensor:
        """−log p of each code, which is certain given the example, [1,B,G]."""
        assert draw.codes is not None, "the configuration asks for codes"
        return torch.full(draw.codes.shape, float(self.num_codes), device=draw.codes.device).log()[None]

    def sample(self, noise_BN: Tensor, temperature: float = 1.0) -> Tensor:
        uniform = torch.special.ndtr(noise_BN)
        return (uniform * self.num_codes).long().clamp(max=self.num_codes - 1)


class AutoregressiveCodesPrior(nn.Module):
    """p(codes) = Π p(code_g | codes before), by a gated recurrent network; codes carry no gradient."""

    def __init__(self, codes: int, pieces: int, hidden: int) -> None:
        super().__init__()
        self.noise_dim = pieces
        self.embedding = nn.Embedding(codes + 1, hidden)  # the last one begins
        self.recurrent = nn.GRU(hidden, hidden, batch_first=True)
        self.head = nn.Linear(hidden, codes)

    def forward(self, condition_BK: Tensor | None, encode: Encode) -> AutoregressiveCodesPrior:
        return self

    def log_prob(self, draw: Draw) -> Tensor:
        return -self.kl(None, draw).sum(-1)

    def kl(self, posterior: Any, draw: Draw) -> Tensor:
        """−log p of each code given those before, [1,B,G]."""
        codes_BG = draw.codes
        assert codes_BG is not None, "the configuration asks for codes"
        before_BG = torch.cat([self._begin(len(codes_BG), codes_BG), codes_BG[:, :-1]], dim=1)
        logits_BGK = self.head(self.recurrent(self.embedding(before_BG))[0]).float()
        return F.cross_entropy(logits_BGK.transpose(1, 2), codes_BG, reduction="none")[None]

    def sample(self, noise_BN: Tensor, temperature: float = 1.0) -> Tensor:
        code_B1, state, codes = self._begin(len(noise_BN), noise_BN.new_zeros(0).long()), None, []
        for noise_B in noise_BN.unbind(-1):
            out, state = self.recurrent(self.embedding(code_B1), state)
            code_B1 = choose((self.head(out[:, 0]).float() / temperature).log_softmax(-1), noise_B)[:, None]
            codes.append(code_B1)
        return torch.cat(codes, dim=1)

    def _begin(self, batch: int, like: Tensor) -> Tensor:
        return torch.full((batch, 1), self.embedding.num_embeddings - 1, device=like.device)


PriorModule = (
    StandardNormalPrior
    | MixturePrior
    | VampPrior
    | FlowPriorModule
    | ConditionalPriorModule
    | HierarchicalPriorModule
    | UniformCodesPrior
    | AutoregressiveCodesPrior
)
