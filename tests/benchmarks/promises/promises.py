"""Promises of every preset about the model that it ships, as data."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from tests.benchmarks.page import Claim
from tests.benchmarks.promises.measures import BETAS
from tests.benchmarks.work import Figures, Outcome

RATE_TOLERANCE = 0.05
"""Largest distance of the shipped rate from a held rate, as a share of it."""


class Against(NamedTuple):
    """A `vae` of another β to compare presets with."""

    name: str
    changes: Mapping[str, float]


SWEEP = tuple(Against(f"vae, β = {beta:g}", {"objective.beta": beta}) for beta in (0.75, 1.5, 2.5))
"""The β-VAEs, beside `vae` itself, between which the total correlation is interpolated."""
BARE = Against("vae, β = 0.01", {"objective.beta": 0.01})
ENDS = tuple(Against(f"vae, β = {beta:g}", {"objective.beta": beta}) for beta in (BETAS[0], BETAS[-1]))
COMPARED = (*SWEEP, BARE, *ENDS)


class Seed:
    """The figures of all models of one seed on one dataset."""

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        self.figures: Mapping[str, Figures] = {outcome.row: outcome.figures for outcome in outcomes}

    def __getitem__(self, row: str) -> Figures:
        return self.figures[row]

    def total_correlation_at(self, rate: float) -> float:
        """Returns the total correlation of a β-VAE of a rate: linear between the nearest of the sweep, in nats."""
        rows = [self[name] for name in ("vae", *(one.name for one in (*SWEEP, ENDS[0])))]
        rates, correlations = zip(*sorted((row["rate"], row["total_correlation"]) for row in rows), strict=True)
        return float(np.interp(rate, rates, correlations))


@dataclass(frozen=True)
class Promise:
    """One figure of a preset's shipped model, and its bar."""

    text: str
    """The promise and its figure, a sentence that starts with the preset's name."""
    figure: Callable[[Figures, Seed], float]
    """Takes the preset's own figures and those of all models of its seed."""
    bar: float
    side: Literal["≥", "≤"]

    def keeps(self, value: float) -> bool:
        """Returns whether a figure meets the bar."""
        return value >= self.bar if self.side == "≥" else value <= self.bar


def at_least(bar: float, text: str, figure: Callable[[Figures, Seed], float]) -> Promise:
    """Returns the promise of a figure at or above a bar."""
    return Promise(text, figure, bar, "≥")


def at_most(bar: float, text: str, figure: Callable[[Figures, Seed], float]) -> Promise:
    """Returns the promise of a figure at or below a bar."""
    return Promise(text, figure, bar, "≤")


def below(other: str, name: str) -> Callable[[Figures, Seed], float]:
    """Returns how far a figure lies below that of another model of the same seed."""
    return lambda own, seed: seed[other][name] - own[name]


NO_COLLAPSE = at_least(1.0, "has not collapsed: rate in nats", lambda own, seed: own["rate"])
LEARNED_PRIOR = at_least(
    0.05,
    "has a prior that fits its posteriors better than N(0, I): KL of the posteriors to N(0, I) less the rate, in nats",
    lambda own, seed: own["kl_to_normal"] - own["rate"],
)
LESS_CORRELATED = at_least(
    0.0,
    "has less total correlation than a β-VAE of equal rate: that of the β-VAE, interpolated, less its own, in nats",
    lambda own, seed: seed.total_correlation_at(own["rate"]) - own["total_correlation"],
)
HELD_RATE = at_most(
    RATE_TOLERANCE,
    "holds its rate: distance of the rate from what is held, as a share of it",
    lambda own, seed: abs(own["rate"] / own["held"] - 1),
)

USED_RATE = at_least(0.0, "uses its rate: distortion of `vae` less its own, nats", below("vae", "distortion"))


def _excess(own: Figures, seed: Seed) -> float:
    """Returns the largest excess of the loss of a model of every β over those of models of one, as a share."""
    excesses = []
    for beta in BETAS:
        single = seed["vae" if beta == 1 else f"vae, β = {beta:g}"]
        alone = single["distortion"] + beta * single["rate"]
        excesses.append(own[f"objective_{beta:g}"] / alone - 1)
    return max(excesses)


def _fall(own: Figures, seed: Seed) -> float:
    rates = [own[f"rate_{beta:g}"] for beta in BETAS]
    return min(before - after for before, after in itertools.pairwise(rates))


PROMISES: Mapping[str, tuple[Promise, ...]] = {
    "vae": (NO_COLLAPSE,),
    "beta_vae": (
        at_least(1.01, "weighs the rate by more than 1: β", lambda own, seed: own["beta"]),
        NO_COLLAPSE,
        at_least(0.0, "has a simpler code: rate of `vae` less its own, nats", below("vae", "rate")),
    ),
    "annealed_vae": (HELD_RATE, USED_RATE),
    "cvae": (
        NO_COLLAPSE,
        at_least(
            0.9,
            "generates the class that it is asked for: share that a classifier of the training split agrees with",
            lambda own, seed: own["agreement"],
        ),
        at_least(
            0.95,
            "is judged by a classifier that knows real images: its accuracy on the test split",
            lambda own, seed: own["accuracy"],
        ),
    ),
    "iwae": (
        NO_COLLAPSE,
        at_least(
            0.1,
            "has a tighter bound: its negative ELBO less its negative bound of 20 draws, nats",
            lambda own, seed: own["negative_elbo"] - own["negative_bound"],
        ),
    ),
    "miwae": (
        at_most(
            1.0,
            "imputes better than the column's mean: RMSE of hidden entries as a share of the mean's",
            lambda own, seed: own["rmse"] / own["rmse_mean"],
        ),
    ),
    "denoising_vae": (
        NO_COLLAPSE,
        at_least(
            2.0,
            "takes off noise of σ = 0.25: PSNR of denoised less that of noisy images, dB",
            lambda own, seed: own["psnr_denoised"] - own["psnr_noisy"],
        ),
    ),
    "beta_tc_vae": (NO_COLLAPSE, LESS_CORRELATED),
    "factor_vae": (NO_COLLAPSE, LESS_CORRELATED),
    "dip_vae_i": (
        NO_COLLAPSE,
        at_least(
            0.0,
            "has means whose covariance is nearer to the identity: Frobenius distance of `vae` less its own",
            below("vae", "covariance_of_means"),
        ),
    ),
    "dip_vae_ii": (
        NO_COLLAPSE,
        at_least(
            0.0,
            "has draws whose covariance is nearer to the identity: Frobenius distance of `vae` less its own",
            below("vae", "covariance_of_draws"),
        ),
    ),
    "info_vae": (
        NO_COLLAPSE,
        at_least(
            0.0,
            "has an aggregate posterior nearer to the prior than β = 0.01 alone gives: MMD of `vae` with it less its own",
            below(BARE.name, "mmd"),
        ),
    ),
    "gmm_vae": (NO_COLLAPSE, LEARNED_PRIOR),
    "vamp_vae": (NO_COLLAPSE, LEARNED_PRIOR),
    "flow_prior_vae": (NO_COLLAPSE, LEARNED_PRIOR),
    "iaf_vae": (
        NO_COLLAPSE,
        at_most(
            0.5,
            "has no worse a likelihood: NLL less that of `vae`, nats",
            lambda own, seed: own["nll"] - seed["vae"]["nll"],
        ),
    ),
    "ladder_vae": (
        NO_COLLAPSE,
        at_least(
            0.1,
            "uses both groups of latents: the lesser rate of the two, nats",
            lambda own, seed: min(own["rate_top"], own["rate_bottom"]),
        ),
    ),
    "vq_vae": (
        at_least(
            0.5,
            "uses its codebook: perplexity of the codes of the test split as a share of all codes",
            lambda own, seed: own["perplexity"] / own["codes"],
        ),
    ),
    "control_vae": (HELD_RATE, USED_RATE),
    "geco_vae": (
        at_most(
            0.0,
            "reaches its distortion: distortion less the target, nats",
            lambda own, seed: own["distortion"] - own["target"],
        ),
        at_most(
            0.1,
            "goes no further below it than need be, for the sake of the rate: target less distortion, as a share of it",
            lambda own, seed: 1 - own["distortion"] / own["target"],
        ),
    ),
    "multi_rate_vae": (
        at_least(0.1, f"tells less at a higher β: the least fall of the rate between β of {BETAS}, nats", _fall),
        at_most(
            0.05,
            f"is near models of one β: the largest excess of distortion + β · rate over `vae` at β of {BETAS}, as a share",
            _excess,
        ),
    ),
    "table_vae": (
        at_most(
            0.0,
            "knows how columns go together: NLL less that of independent Gaussian columns, nats per row",
            lambda own, seed: own["nll"] - own["nll_independent"],
        ),
    ),
}
"""Promises of every preset. A preset that needs a comparison is compared on the same data with the same seed."""


def claims(outcomes: Sequence[Outcome]) -> list[Claim]:
    """Returns the verdicts: a promise is kept if the figure of every seed meets its bar."""
    out = []
    for name, promises in PROMISES.items():
        for data in dict.fromkeys(outcome.setting for outcome in outcomes if outcome.row == name):
            here = [outcome for outcome in outcomes if outcome.setting == data]
            seeds = {one.seed: Seed([other for other in here if other.seed == one.seed]) for one in here}
            for promise in promises:
                values = [promise.figure(one.figures, seeds[one.seed]) for one in here if one.row == name]
                each = ", ".join(f"{value:.3g}" for value in values)
                holds = all(promise.keeps(value) for value in values)
                out.append(Claim(f"`{name}`, {data}, {promise.text}", f"{promise.side} {promise.bar:g}", each, holds))
    return out
