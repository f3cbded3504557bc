"""Likelihoods p(x|z): densities of an example, given the decoder's outputs."""

from typing import Annotated, Union

from pydantic import Field

from vae.parts.custom import OpenTo
from vae.parts.likelihoods.autoregressive import Autoregressive
from vae.parts.likelihoods.bernoulli import Bernoulli
from vae.parts.likelihoods.categorical import Categorical
from vae.parts.likelihoods.continuous_bernoulli import ContinuousBernoulli
from vae.parts.likelihoods.discretized_logistic import DiscretizedLogistic
from vae.parts.likelihoods.gaussian import Gaussian
from vae.parts.likelihoods.laplace import Laplace
from vae.parts.likelihoods.likelihood import LikelihoodPart
from vae.parts.likelihoods.mixed import Mixed
from vae.parts.likelihoods.poisson import Poisson
from vae.parts.likelihoods.student_t import StudentTLikelihood

LikelihoodConfig = Annotated[
    Union[  # noqa: UP007
        Bernoulli,
        ContinuousBernoulli,
        Gaussian,
        Laplace,
        StudentTLikelihood,
        DiscretizedLogistic,
        Categorical,
        Poisson,
        Mixed,
        Autoregressive,
    ],
    Field(discriminator="kind"),
    OpenTo(LikelihoodPart, "model"),
]
