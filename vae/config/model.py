"""The parts of a model."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, model_validator

from vae.parts.bodies import BodyConfig
from vae.parts.bodies.mlp import MLP
from vae.parts.likelihoods import LikelihoodConfig
from vae.parts.likelihoods.bernoulli import Bernoulli
from vae.parts.part import Positive, Section
from vae.parts.posteriors import PosteriorConfig
from vae.parts.posteriors.diagonal_gaussian import DiagonalGaussian
from vae.parts.priors import PriorConfig
from vae.parts.priors.standard_normal import StandardNormal

CONDITION_SHORTHANDS = {"none": (), "class": ("class",)}


def _condition(value: Any) -> Any:
    return CONDITION_SHORTHANDS.get(value, (value,)) if isinstance(value, str) else value


class ModelConfig(Section):
    """Encoder, posterior, prior, decoder and likelihood of one VAE."""

    latent_dim: Positive = 10
    """Number of dimensions of the latent z."""
    encoder: BodyConfig = MLP()
    """Network from an example to the posterior."""
    decoder: BodyConfig | None = None
    """Network from the latent to the likelihood; None mirrors the encoder."""
    posterior: PosteriorConfig = DiagonalGaussian()
    """Distribution q(z|x) of the latent, given an example."""
    prior: PriorConfig = StandardNormal()
    """Distribution p(z) of the latent, before an example is seen."""
    likelihood: LikelihoodConfig = Bernoulli()
    """Distribution p(x|z) of an example, given its latent."""
    condition: Annotated[tuple[str, ...], BeforeValidator(_condition)] = ()
    """Further inputs of encoder and decoder (Sohn et al. 2015): `class`, and names of attributes of the dataset."""
    condition_by: Literal["concatenation", "film", "channel_film"] = "concatenation"
    """Way in which the condition enters. concatenation: beside the example and the latent. film: by scaling and shifting
    every hidden layer (Perez et al. 2018). channel_film: by scaling and shifting only the channels of convolutions and of
    the image (Dumoulin et al. 2017), so that a condition changes how an image looks and not what its latent means."""
    beta_gates: bool = False
    """Whether every hidden layer is gated by log β, so that one model serves every β (Bae et al. 2023)."""

    @property
    def mirrored_decoder(self) -> BodyConfig:
        """Body of the decoder, which is the encoder's where none is given."""
        return self.decoder or self.encoder

    @property
    def has_kl_per_dimension(self) -> bool:
        """Whether KL(q ‖ p) of each latent dimension has a closed form."""
        return self.posterior.closed_form is not None and self.posterior.closed_form == self.prior.closed_form

    @property
    def parts(self) -> tuple[BodyConfig | PosteriorConfig | PriorConfig | LikelihoodConfig, ...]:
        """Every part of the model."""
        return (self.encoder, self.mirrored_decoder, self.posterior, self.prior, self.likelihood)

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        self._check_codes()
        for part in (self.prior, self.posterior):
            part.check_model(self)
        self._check_kind()
        self._check_condition()
        return self

    def _check_codes(self) -> None:
        if self.posterior.has_codes and not self.prior.of_codes:
            raise ValueError(
                f"model.prior: a {self.posterior.kind} posterior has codes, not numbers, and {self.prior.kind} has no "
                "probability for them; use autoregressive_codes or uniform_codes"
            )
        if self.prior.of_codes and not self.posterior.has_codes:
            raise ValueError(
                f"model.prior: {self.prior.kind} is over codes, which a {self.posterior.kind} posterior does not have; use "
                "posterior vector_quantized, or another prior"
            )

    def _check_kind(self) -> None:
        if self.decoder is None and not self.encoder.has_mirror:
            raise ValueError(
                "model.decoder: a torch module as the encoder has no mirror; name a decoder, such as {kind: mlp}"
            )
        if len({part.data_kind for part in (self.encoder, self.mirrored_decoder, self.likelihood)}) > 1:
            raise ValueError(
                "model: a table takes body `table` and likelihood `mixed` or `autoregressive` together, an image none of "
                f"them, got encoder {self.encoder.kind}, decoder {self.mirrored_decoder.kind} and likelihood "
                f"{self.likelihood.kind}"
            )

    def _check_condition(self) -> None:
        if (once := tuple(dict.fromkeys(self.condition))) != self.condition:
            raise ValueError(
                f"model.condition: expected each name once, {', '.join(once)}, got {', '.join(self.condition)}"
            )
        if self.condition_by != "concatenation" and not self.condition:
            raise ValueError(
                f"model.condition_by: {self.condition_by} needs a condition; set model.condition, such as `class`"
            )
        bodies = (self.encoder, self.mirrored_decoder)
        if self.condition_by == "channel_film" and not all(body.convolutional for body in bodies):
            raise ValueError(
                "model.condition_by: channel_film scales the channels of convolutions, got encoder "
                f"{bodies[0].kind} and decoder {bodies[1].kind}; use film, or conv for both"
            )
