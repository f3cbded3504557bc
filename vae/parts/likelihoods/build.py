"""From a configuration and what an example is to its likelihood."""

from __future__ import annotations

import math
from typing import Literal, assert_never

from vae import config as configuration
from vae.data.schema import Column, ExampleSpec
from vae.errors import ConfigError
from vae.parts.likelihoods.examples import BernoulliLikelihood, ImageLikelihood, Likelihood, TableLikelihood
from vae.parts.likelihoods.families import (
    GREY_LEVEL,
    CategoryFamily,
    ContinuousBernoulliFamily,
    DiscretizedLogisticFamily,
    Family,
    LevelFamily,
)
from vae.parts.likelihoods.location_scale import (
    LOG_SIGMA_FLOOR,
    DecodedScale,
    FixedScale,
    GaussianFamily,
    LaplaceFamily,
    LearnedScale,
    StudentTFamily,
    anywhere,
    in_unit_interval,
)

INITIAL_SCALE = 0.25
"""Of pixels, where the configuration does not say: the default of `Gaussian.initial_sigma`."""

LOG_PIXEL_FLOOR = math.log(GREY_LEVEL)


def build_likelihood(config: configuration.Likelihood, examples: ExampleSpec) -> Likelihood:
    """The likelihood of such examples.

    Raises:
        ConfigError: If a table is to be scored as an image or an image as a table, or σ is to start below its floor.
    """
    shape, columns = examples.shape, examples.columns
    if isinstance(config, configuration.Mixed):
        if columns is None:
            raise ConfigError(
                "model.likelihood: mixed scores the columns of a table, and the examples are images of shape "
                f"{shape}; use bernoulli or another likelihood of pixels"
            )
        return TableLikelihood(_by_family(columns, _numeric(config.numeric)))
    if columns is not None:
        raise ConfigError(
            f"model.likelihood: {config.kind} scores pixels, and the examples are rows of a table with {len(columns)} "
            "columns; use mixed"
        )
    scale = DecodedScale(INITIAL_SCALE, LOG_PIXEL_FLOOR)
    match config:
        case configuration.Bernoulli():
            return BernoulliLikelihood(shape)
        case configuration.ContinuousBernoulli():
            return ImageLikelihood(ContinuousBernoulliFamily(), shape)
        case configuration.Gaussian():
            return ImageLikelihood(GaussianFamily(in_unit_interval, _scale(config)), shape)
        case configuration.Laplace():
            return ImageLikelihood(LaplaceFamily(in_unit_interval, scale), shape)
        case configuration.StudentTLikelihood():
            return ImageLikelihood(StudentTFamily(in_unit_interval, scale), shape)
        case configuration.DiscretizedLogistic():
            return ImageLikelihood(DiscretizedLogisticFamily(config.components, INITIAL_SCALE), shape)
        case configuration.Categorical():
            return ImageLikelihood(LevelFamily(config.levels), shape)
        case _:
            assert_never(config)


def _scale(config: configuration.Gaussian) -> FixedScale | LearnedScale | DecodedScale:
    if config.sigma == "fixed":
        return FixedScale(config.initial_sigma)
    if config.initial_sigma <= math.exp(LOG_SIGMA_FLOOR):
        raise ConfigError(
            f"model.likelihood.initial_sigma must be above {math.exp(LOG_SIGMA_FLOOR):.4f}, the floor of a trained σ, "
            f"got {config.initial_sigma}; start higher, or set sigma to `fixed`"
        )
    scale = LearnedScale if config.sigma == "learned" else DecodedScale
    return scale(config.initial_sigma, LOG_PIXEL_FLOOR)


def _numeric(kind: Literal["gaussian", "laplace", "student_t"]) -> Family:
    """Of standardised numbers: scales start at one standard deviation of the column."""
    families = {"gaussian": GaussianFamily, "laplace": LaplaceFamily, "student_t": StudentTFamily}
    return families[kind](anywhere, DecodedScale(1.0))


def _by_family(columns: tuple[Column, ...], numeric: Family) -> list[tuple[Family, list[int]]]:
    """All numbers together, then the categories, together where they are as many."""
    groups: dict[int, list[int]] = {}
    for index, column in enumerate(columns):
        groups.setdefault(len(column.categories or ()), []).append(index)
    return [(CategoryFamily(size) if size else numeric, groups[size]) for size in sorted(groups)]
