"""Likelihoods p(x|z): how far an example is from what the decoder says, in nats.

A family says what the parameters of one value mean. A likelihood lays families over an image or over a table's columns,
says what the decoder has to return, and leaves out what was not observed. Nothing here reduces over samples or batch.
"""

from vae.parts.likelihoods.build import build_likelihood
from vae.parts.likelihoods.examples import BernoulliLikelihood, ImageLikelihood, Likelihood, TableLikelihood
from vae.parts.likelihoods.families import (
    GREY_LEVEL,
    BernoulliFamily,
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
from vae.parts.likelihoods.preparing import binarization, binarize, check_binary, prepare, restore, to_examples

__all__ = [
    "GREY_LEVEL",
    "LOG_SIGMA_FLOOR",
    "BernoulliFamily",
    "BernoulliLikelihood",
    "CategoryFamily",
    "ContinuousBernoulliFamily",
    "DecodedScale",
    "DiscretizedLogisticFamily",
    "Family",
    "FixedScale",
    "GaussianFamily",
    "ImageLikelihood",
    "LaplaceFamily",
    "LearnedScale",
    "LevelFamily",
    "Likelihood",
    "StudentTFamily",
    "TableLikelihood",
    "anywhere",
    "binarization",
    "binarize",
    "build_likelihood",
    "check_binary",
    "in_unit_interval",
    "prepare",
    "restore",
    "to_examples",
]
