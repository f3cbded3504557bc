"""Posteriors q(z|x): distributions over the latent, from the features of the encoder."""

from typing import Annotated, Union

from pydantic import Field

from vae.parts.custom import OpenTo
from vae.parts.posteriors.diagonal_gaussian import DiagonalGaussian
from vae.parts.posteriors.flow import FlowPosterior
from vae.parts.posteriors.fsq import FiniteScalarQuantized
from vae.parts.posteriors.ladder import LadderPosterior
from vae.parts.posteriors.posterior import PosteriorPart
from vae.parts.posteriors.student_t import StudentTPosterior
from vae.parts.posteriors.vector_quantized import VectorQuantized

PosteriorConfig = Annotated[
    Union[  # noqa: UP007
        DiagonalGaussian, StudentTPosterior, FlowPosterior, LadderPosterior, VectorQuantized, FiniteScalarQuantized
    ],
    Field(discriminator="kind"),
    OpenTo(PosteriorPart, "model"),
]
