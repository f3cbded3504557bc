"""Combinations that make no sense, each refused in one sentence that says what would work."""

from __future__ import annotations

from vae.config.model import (
    ConditionalPrior,
    DiagonalGaussian,
    HierarchicalPrior,
    LadderPosterior,
    ModelConfig,
    StandardNormal,
    TableBody,
    VectorQuantized,
)
from vae.config.objective import (
    Adversary,
    Capacity,
    ControlVae,
    Dip,
    Elbo,
    FreeBits,
    Geco,
    MultiRate,
    ObjectiveConfig,
    TotalCorrelation,
)


def check_objective_fits(model: ModelConfig, objective: ObjectiveConfig, batch_size: int) -> None:
    """Refuses an objective that a model cannot have.

    Raises:
        ValueError: Says which parts do not fit, and what would.
    """
    _check_bound(model, objective)
    _check_controller(model, objective)
    _check_regularizers(model, objective, batch_size)
    if objective.corruption is not None and isinstance(model.encoder, TableBody):
        raise ValueError(
            f"objective.corruption: {objective.corruption.kind} is of images, and the model is of a table; leave "
            "entries out with data.missing instead"
        )


def _check_bound(model: ModelConfig, objective: ObjectiveConfig) -> None:
    if not isinstance(objective.bound, Elbo) and isinstance(model.posterior, VectorQuantized):
        raise ValueError(
            f"objective.bound: {objective.bound.kind} weighs draws of the posterior, and a vector_quantized one is a "
            "single code; use elbo"
        )


def _check_controller(model: ModelConfig, objective: ObjectiveConfig) -> None:
    controller, kind = objective.controller, objective.controller.kind
    if isinstance(controller, MultiRate) != model.beta_gates:
        raise ValueError(
            "objective.controller multi_rate and model.beta_gates belong together: the gates learn β from it, and a model "
            f"without them cannot; got controller {kind} and beta_gates {model.beta_gates}"
        )
    if isinstance(controller, Capacity | Geco | ControlVae) and isinstance(model.posterior, VectorQuantized):
        raise ValueError(
            f"objective.controller: {kind} trades rate for distortion, and the rate of codes moves their prior alone; use "
            "constant"
        )
    if isinstance(controller, Capacity | FreeBits) and objective.bound.kind == "iwae":
        raise ValueError(
            f"objective.controller: {kind} changes the rate, which the iwae bound does not have apart; use bound elbo or "
            "ciwae"
        )
    if isinstance(controller, FreeBits) and not _has_kl_per_dimension(model):
        raise ValueError(
            "objective.controller: free_bits needs the KL of each dimension in closed form, which posterior "
            f"{model.posterior.kind} and prior {model.prior.kind} do not have; use diagonal_gaussian with standard_normal "
            "or conditional, or ladder with hierarchical"
        )
    if isinstance(controller, Geco) and not objective.beta:
        raise ValueError(
            "objective.beta: geco multiplies it step by step, and 0 would stay 0; start it above 0, such as 1"
        )
    if isinstance(controller, MultiRate) and controller.low >= controller.high:
        raise ValueError(f"objective.controller: expected low < high, got {controller.low} and {controller.high}")
    if isinstance(controller, ControlVae) and controller.lowest >= controller.highest:
        raise ValueError(
            f"objective.controller: expected lowest < highest, got {controller.lowest} and {controller.highest}"
        )


def _has_kl_per_dimension(model: ModelConfig) -> bool:
    if isinstance(model.posterior, DiagonalGaussian):
        return isinstance(model.prior, StandardNormal | ConditionalPrior)
    return isinstance(model.posterior, LadderPosterior) and isinstance(model.prior, HierarchicalPrior)


def _check_regularizers(model: ModelConfig, objective: ObjectiveConfig, batch_size: int) -> None:
    kinds = [regularizer.kind for regularizer in objective.regularizers]
    for regularizer in objective.regularizers:
        kind = regularizer.kind
        if batch_size < 2:
            raise ValueError(
                f"training.batch_size: {kind} compares the examples of a batch, got 1; use at least 2, better 64 or more"
            )
        if isinstance(model.posterior, VectorQuantized):
            raise ValueError(
                f"objective.regularizers: {kind} is of a continuous latent, and a vector_quantized one is made of codes; "
                "leave it out, or use posterior diagonal_gaussian with prior standard_normal"
            )
        if isinstance(regularizer, TotalCorrelation | Dip) and not isinstance(model.posterior, DiagonalGaussian):
            raise ValueError(
                f"objective.regularizers: {kind} needs the moments of a diagonal_gaussian posterior, got "
                f"{model.posterior.kind}; use mmd or adversary, which look at draws alone"
            )
        if isinstance(regularizer, Adversary) and kinds.count(kind) > 1:
            raise ValueError("objective.regularizers: one adversary at most, for each has an optimiser of its own")
