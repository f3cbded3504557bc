"""The Bernoulli likelihood of binary pixels."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from vae.data.schema import ExampleSpec
from vae.parts.likelihoods.likelihood import (
    Binarization,
    Family,
    ImageLikelihood,
    Likelihood,
    PixelLikelihoodPart,
    Support,
    in_full,
    uniform,
)


class Bernoulli(PixelLikelihoodPart):
    """p(x|z) of binary pixels. Grey pixels have no Bernoulli density; `binarization` makes them binary."""

    support: ClassVar[Support] = "binary"
    is_binary: ClassVar[bool] = True

    kind: Literal["bernoulli"] = "bernoulli"
    binarization: Binarization = "dynamic"
    """Policy by which grey pixels become binary. none: the data is binary already, anything else is refused. static: one
    fixed draw per pixel. dynamic: each pixel is drawn anew, with its grey value as probability, at every presentation."""

    @property
    def summary(self) -> str:
        pixels = {
            "none": "binary pixels",
            "static": "grey pixels binarised once",
            "dynamic": "grey pixels binarised anew at every presentation",
        }
        return f"Bernoulli, {pixels[self.binarization]}"

    @property
    def binarization_policy(self) -> Binarization:
        return self.binarization

    @property
    def learns_noise(self) -> bool:
        return False

    @property
    def targets(self) -> str:
        return "targets are the data's binary pixels" if self.binarization == "none" else "targets are binarised pixels"

    def collapsed_decoder(self, mean_D: Tensor, variance_D: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        noise = mean_D * (1 - mean_D)
        nats = torch.special.entr(mean_D) + torch.special.entr(1 - mean_D)
        return noise, (noise - variance_D).clamp(min=0), nats  # a grey pixel's draw varies by itself

    def family(self) -> Family:
        return BernoulliFamily()

    def build(self, examples: ExampleSpec) -> Likelihood:
        super().build(examples)
        return BernoulliLikelihood(examples.shape)


class BernoulliFamily(Family):
    """x ∈ {0, 1}, from the logit of its probability of 1: finite even for probabilities that round to 0 or 1."""

    num_params = 1
    is_discrete = True

    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        logits = params.squeeze(0)
        return -F.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none")

    def mean(self, params: Tensor) -> Tensor:
        return params[0].sigmoid()

    def std(self, params: Tensor) -> Tensor:
        return (params[0].sigmoid() * (-params[0]).sigmoid()).sqrt()

    def sample(self, params: Tensor, generator: torch.Generator) -> Tensor:
        probability = self.mean(params)
        return (uniform(probability, generator) < probability).to(probability.dtype)


class BernoulliLikelihood(ImageLikelihood):
    """The Bernoulli family at every pixel; targets are binary (see `prepare`)."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__(BernoulliFamily(), shape)

    def log_prob(self, x: Tensor, outputs: Tensor, observed: Tensor | None = None) -> Tensor:
        if observed is not None:
            return super().log_prob(x, outputs, observed)
        # As the base class does, without a pass over the pixels for the sign: the cheapest models spend their time here.
        logits = in_full(outputs)
        cross_entropy = F.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none")
        return -cross_entropy.sum((-3, -2, -1))
