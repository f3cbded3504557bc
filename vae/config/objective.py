"""What is minimised: a bound, what sets β, regularisers, and what is done to the encoder's inputs."""

from __future__ import annotations

from typing import Annotated, Literal, Self, Union

from pydantic import AfterValidator, Field, model_validator

from vae.config.section import Positive, Section


class Elbo(Section):
    """The evidence lower bound (Kingma & Welling 2014)."""

    kind: Literal["elbo"] = "elbo"
    samples: Positive = 1
    """Draws of z per example, over which the distortion is averaged."""


class Iwae(Section):
    """The importance-weighted bound (Burda et al. 2016); with missing entries it is MIWAE (Mattei & Frellsen 2019)."""

    kind: Literal["iwae"] = "iwae"
    samples: Positive = 20
    """Draws of z per example."""


class Ciwae(Section):
    """mix · ELBO + (1 − mix) · IWAE, which keeps the encoder's gradient alive (Rainforth et al. 2018)."""

    kind: Literal["ciwae"] = "ciwae"
    samples: Positive = 20
    """Draws of z per example."""
    mix: Annotated[float, Field(ge=0, le=1)] = 0.05
    """1 is the ELBO, 0 the IWAE."""


BoundConfig = Annotated[Union[Elbo, Iwae, Ciwae], Field(discriminator="kind")]  # noqa: UP007


def _steps(value: float) -> float:
    if value > 1 and value != int(value):
        raise ValueError(
            f"objective.controller.steps: expected whole steps, or a share of the run below 1, got {value}; use "
            f"{int(value)}"
        )
    return value if value < 1 else int(value)


Steps = Annotated[int | float, Field(gt=0), AfterValidator(_steps)]
"""Optimiser steps; a number below 1 is a share of the run."""


def steps_of(steps: float, total_steps: int) -> int:
    """Returns the optimiser steps that a field of a schedule stands for, in a run of so many."""
    return steps if isinstance(steps, int) else max(1, round(steps * total_steps))


class Constant(Section):
    """β is the same at every step."""

    kind: Literal["constant"] = "constant"


class Warmup(Section):
    """β rises linearly from 0 (Bowman et al. 2016)."""

    kind: Literal["warmup"] = "warmup"
    steps: Steps = 500
    """Optimiser steps until β is reached, refused if the run is shorter; a number below 1 is a share of the run."""


class Cyclical(Section):
    """β rises from 0 again and again (Fu et al. 2019)."""

    kind: Literal["cyclical"] = "cyclical"
    steps: Steps = 500
    """Optimiser steps of a cycle; a number below 1 is a share of the run."""
    cycles: Positive = 4
    """Number of cycles, after which β stays as it is."""
    rising: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of a cycle in which β rises; β stays as it is for the rest of the cycle."""


class Capacity(Section):
    """β · |rate − C| instead of β · rate, with C rising from 0 (Burgess et al. 2018)."""

    kind: Literal["capacity"] = "capacity"
    capacity: Annotated[float, Field(gt=0)] = 25.0
    """C in the end, in nats."""
    steps: Steps = 0.5
    """Optimiser steps until the capacity is reached; a number below 1 is a share of the run."""
    start: Annotated[int, Field(ge=0)] = 0
    """Optimiser step at which the capacity begins to rise; until then a conditional decoder learns from the condition."""

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if isinstance(self.steps, int) and self.start >= self.steps:
            raise ValueError(
                f"objective.controller.start: a capacity that starts at step {self.start} has nothing left to rise in "
                f"{self.steps}; use a start of {self.steps - 1} at most, or {self.start + 1} steps at least"
            )
        return self


class FreeBits(Section):
    """No dimension is pressed below a floor: Σ max(mean KL, floor) instead of the rate (Kingma et al. 2016)."""

    kind: Literal["free_bits"] = "free_bits"
    nats: Annotated[float, Field(gt=0)] = 0.1
    """The floor of each latent dimension's KL, averaged over the batch, in nats."""


class Geco(Section):
    """The least rate at a given distortion: a multiplier that grows while it is not reached (Rezende & Viola 2018).

    β starts at `objective.beta`. The controller aims 5 % below the distortion, so that other data reach it too.
    """

    kind: Literal["geco"] = "geco"
    distortion: float
    """What is to be reached, in nats per example."""
    decay: Annotated[float, Field(ge=0, lt=1)] = 0.95
    """Decay per step of the moving average of the violation."""
    speed: Annotated[float, Field(gt=0)] = 0.1
    """Growth of log 1/β per step, per unit of relative violation; the paper's 0.01 takes more steps than small data has."""


class ControlVae(Section):
    """A PI controller that holds the rate at a set point by moving β (Shao et al. 2020)."""

    kind: Literal["control"] = "control"
    rate: Annotated[float, Field(gt=0)] = 16.0
    """The set point, in nats per example."""
    proportional: Annotated[float, Field(ge=0)] = 0.01
    """K_p of eq. 7: what β gets at most for a rate above its set point."""
    integral: Annotated[float, Field(ge=0)] = 1e-3
    """K_i of eq. 7, per nat and step."""
    lowest: Annotated[float, Field(ge=0)] = 0.0
    """Bound of β."""
    highest: Annotated[float, Field(gt=0)] = 100.0
    """Bound of β."""


class MultiRate(Section):
    """Every example is trained at a β of its own, uniform in the logarithm (Bae et al. 2023). Needs `model.beta_gates`."""

    kind: Literal["multi_rate"] = "multi_rate"
    low: Annotated[float, Field(gt=0)] = 0.1
    """The smallest β."""
    high: Annotated[float, Field(gt=0)] = 10.0
    """The largest β."""


Controller = Annotated[
    Union[Constant, Warmup, Cyclical, Capacity, FreeBits, Geco, ControlVae, MultiRate],  # noqa: UP007
    Field(discriminator="kind"),
]


class TotalCorrelation(Section):
    """β-TCVAE's penalty, estimated by minibatch-stratified sampling (Chen et al. 2018). With `objective.beta` 1 it is their
    decomposition with β = 1 + weight.
    """

    kind: Literal["total_correlation"] = "total_correlation"
    weight: float = 5.0
    """Of the total correlation, in nats."""


class Dip(Section):
    """The covariance of the inferred latents is pulled to the identity (Kumar et al. 2018)."""

    kind: Literal["dip"] = "dip"
    variant: Literal["i", "ii"] = "i"
    """i: of the posteriors' means. ii: of their draws, so the mean variances are added."""
    off_diagonal: Annotated[float, Field(ge=0)] = 10.0
    """Weight of the squared covariances."""
    diagonal: Annotated[float, Field(ge=0)] = 100.0
    """Weight of the squared differences of the variances from 1."""


class Mmd(Section):
    """The maximum mean discrepancy between aggregate posterior and prior (Zhao et al. 2019, InfoVAE)."""

    kind: Literal["mmd"] = "mmd"
    weight: Annotated[float, Field(gt=0)] = 100.0
    """Of the discrepancy."""
    kernel: Literal["imq", "rbf"] = "imq"
    """imq: inverse multiquadratics of seven scales. rbf: a Gaussian of width √latent_dim."""


AdamBeta = Annotated[float, Field(ge=0, lt=1)]


class Adversary(Section):
    """FactorVAE's penalty: the total correlation as a discriminator with its own optimiser sees it (Kim & Mnih 2018)."""

    kind: Literal["adversary"] = "adversary"
    weight: Annotated[float, Field(gt=0)] = 35.0
    """The paper's γ."""
    hidden: Annotated[tuple[Positive, ...], Field(min_length=1)] = (256, 256, 256)
    """Units of each hidden layer of the discriminator. The paper's six of 1000, which preset `factor_vae` has, take 20
    times as long on a CPU."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-4
    """Learning rate of the discriminator's Adam; the paper's."""
    adam_betas: tuple[AdamBeta, AdamBeta] = (0.5, 0.9)
    """Decays per step of the averages of the gradient and of its square in the discriminator's Adam; the paper's."""


Regularizer = Annotated[Union[TotalCorrelation, Dip, Mmd, Adversary], Field(discriminator="kind")]  # noqa: UP007


class GaussianNoise(Section):
    """Normal noise on every pixel, not clipped."""

    kind: Literal["gaussian_noise"] = "gaussian_noise"
    sigma: Annotated[float, Field(gt=0)] = 0.25
    """In units of the pixel range."""


class SaltAndPepper(Section):
    """Some pixels are 0 or 1 instead."""

    kind: Literal["salt_and_pepper"] = "salt_and_pepper"
    share: Annotated[float, Field(gt=0, le=1)] = 0.25
    """Of the pixels; half of them each."""


class BlockMask(Section):
    """A square of the image is black."""

    kind: Literal["block_mask"] = "block_mask"
    side: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Of the image's shorter side."""


class Blur(Section):
    """A Gaussian blur."""

    kind: Literal["blur"] = "blur"
    sigma: Annotated[float, Field(gt=0)] = 1.0
    """In pixels."""


Corruption = Annotated[Union[GaussianNoise, SaltAndPepper, BlockMask, Blur], Field(discriminator="kind")]  # noqa: UP007


class ObjectiveConfig(Section):
    """What is minimised: distortion + β · rate + regularisers, in nats per example (Higgins et al. 2017)."""

    bound: BoundConfig = Elbo()
    """Of log p(x), at β = 1."""
    beta: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the rate. 1 is the evidence lower bound."""
    controller: Controller = Constant()
    """What moves β, or holds the rate, while the model trains."""
    regularizers: tuple[Regularizer, ...] = ()
    """Penalties beside the rate, each with its weight."""
    corruption: Corruption | None = None
    """What is done to the encoder's inputs, drawn anew at every step; the likelihood is of the clean example (Im et al.
    2017)."""
