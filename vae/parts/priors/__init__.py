"""Priors p(z): distributions over the latent before an example is seen."""

from typing import Annotated, Union

from pydantic import Field

from vae.parts.custom import OpenTo
from vae.parts.priors.autoregressive_codes import AutoregressiveCodes
from vae.parts.priors.conditional import ConditionalPrior
from vae.parts.priors.flow import FlowPrior
from vae.parts.priors.gaussian_mixture import GaussianMixture
from vae.parts.priors.hierarchical import HierarchicalPrior
from vae.parts.priors.prior import PriorPart
from vae.parts.priors.standard_normal import StandardNormal
from vae.parts.priors.uniform_codes import UniformCodes
from vae.parts.priors.vamp import Vamp

PriorConfig = Annotated[
    Union[  # noqa: UP007
        StandardNormal,
        GaussianMixture,
        Vamp,
        FlowPrior,
        ConditionalPrior,
        HierarchicalPrior,
        UniformCodes,
        AutoregressiveCodes,
    ],
    Field(discriminator="kind"),
    OpenTo(PriorPart, "model"),
]
