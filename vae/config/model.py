"""What a model is made of: networks, posterior, prior, likelihood, condition."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, Union

from pydantic import BeforeValidator, Field, model_validator

from vae.config.section import Positive, Section

# --- networks -------------------------------------------------------------------------------------------------------

Activation = Literal["relu", "silu", "tanh", "elu"]


class MLP(Section):
    """Fully connected layers over the flattened example."""

    kind: Literal["mlp"] = "mlp"
    hidden: Annotated[tuple[Positive, ...], Field(min_length=1)] = (256, 128)
    """Units of each hidden layer, from the data inwards; the decoder uses them in reverse."""
    activation: Activation = "relu"
    """Of the hidden layers."""
    gated: bool = False
    """Multiply each hidden layer by a learned sigmoid gate (Dauphin et al. 2017), as in the VampPrior paper."""


class Conv(Section):
    """Strided convolutions, each halving height and width; the decoder upsamples back to the example's size."""

    kind: Literal["conv"] = "conv"
    channels: Annotated[tuple[Positive, ...], Field(min_length=1)] = (32, 64)
    """Channels after each halving."""
    hidden: Positive = 256
    """Units of the fully connected layer between the convolutions and the latent."""
    residual_blocks: Annotated[int, Field(ge=0)] = 0
    """Pre-activation residual blocks (He et al. 2016) after each halving."""
    activation: Activation = "silu"
    """Of the hidden layers."""


class TableBody(Section):
    """Fully connected layers over the columns of a table: numbers as they are, categories by a learned embedding."""

    kind: Literal["table"] = "table"
    hidden: Annotated[tuple[Positive, ...], Field(min_length=1)] = (128, 128)
    """Units of each hidden layer, from the data inwards; the decoder uses them in reverse."""
    embedding_dim: Positive = 4
    """Numbers for each categorical column."""
    missing_indicators: bool = True
    """Whether the encoder is told which entries are missing, beside seeing 0 there."""
    activation: Activation = "tanh"
    """Of the hidden layers."""


Body = Annotated[Union[MLP, Conv, TableBody], Field(discriminator="kind")]  # noqa: UP007  pydantic reads the Union


# --- posteriors -----------------------------------------------------------------------------------------------------


class DiagonalGaussian(Section):
    """q(z|x) = N(μ(x), diag σ²(x)) (Kingma & Welling 2014)."""

    kind: Literal["diagonal_gaussian"] = "diagonal_gaussian"


class StudentTPosterior(Section):
    """q(z|x) of independent Student-t's with learned degrees of freedom, as in MIWAE (Mattei & Frellsen 2019)."""

    kind: Literal["student_t"] = "student_t"


class FlowPosterior(Section):
    """A diagonal Gaussian carried through autoregressive transforms that see the features (Kingma et al. 2016)."""

    kind: Literal["flow"] = "flow"
    transform: Literal["iaf", "nsf"] = "iaf"
    """iaf: affine. nsf: rational-quadratic splines (Durkan et al. 2019)."""
    transforms: Positive = 2
    """One after the other."""
    hidden: Annotated[tuple[Positive, ...], Field(min_length=1)] = (64, 64)
    """Units of each transform's network."""


class LadderPosterior(Section):
    """Groups of latents inferred from the top down, each merged with the prior's word (Sønderby et al. 2016)."""

    kind: Literal["ladder"] = "ladder"
    hidden: Positive = 64
    """Units between the features and a group."""


class VectorQuantized(Section):
    """The nearest of some learned codes for each piece of the latent (van den Oord et al. 2017)."""

    kind: Literal["vector_quantized"] = "vector_quantized"
    codes: Annotated[int, Field(ge=2)] = 64
    """Entries of the codebook."""
    code_dim: Positive = 4
    """Numbers in a code; `latent_dim` is a multiple of it."""
    commitment: Annotated[float, Field(ge=0)] = 0.25
    """Weight of the distance from the encoder's output to its code, per squared unit."""
    decay: Annotated[float, Field(gt=0, lt=1)] = 0.99
    """Per step, of the moving averages that the codebook follows."""


Posterior = Annotated[
    Union[DiagonalGaussian, StudentTPosterior, FlowPosterior, LadderPosterior, VectorQuantized],  # noqa: UP007
    Field(discriminator="kind"),
]


# --- priors ---------------------------------------------------------------------------------------------------------


class StandardNormal(Section):
    """p(z) = N(0, I)."""

    kind: Literal["standard_normal"] = "standard_normal"


class GaussianMixture(Section):
    """A learned mixture of diagonal Gaussians."""

    kind: Literal["gaussian_mixture"] = "gaussian_mixture"
    components: Annotated[int, Field(ge=2)] = 10
    """Gaussians."""


class Vamp(Section):
    """The mixture of the posteriors of learned pseudo-inputs (Tomczak & Welling 2018)."""

    kind: Literal["vamp"] = "vamp"
    components: Annotated[int, Field(ge=2)] = 500
    """Pseudo-inputs, which start as examples of the training split."""


class FlowPrior(Section):
    """A normalising flow from N(0, I)."""

    kind: Literal["flow"] = "flow"
    transform: Literal["maf", "nsf"] = "nsf"
    """maf: affine autoregressive. nsf: rational-quadratic splines (Durkan et al. 2019)."""
    transforms: Positive = 2
    """One after the other."""
    hidden: Annotated[tuple[Positive, ...], Field(min_length=1)] = (64, 64)
    """Units of each transform's network."""


class ConditionalPrior(Section):
    """p(z|y) = N(μ(y), diag σ²(y)) (Sohn et al. 2015)."""

    kind: Literal["conditional"] = "conditional"
    hidden: Annotated[tuple[Positive, ...], Field(min_length=1)] = (64,)
    """Units of each hidden layer between condition and prior."""


class HierarchicalPrior(Section):
    """Groups of latents from the top down: p(z) = p(z_G) Π p(z_g | z_{>g}) (Sønderby et al. 2016)."""

    kind: Literal["hierarchical"] = "hierarchical"
    groups: Annotated[int, Field(ge=2)] = 2
    """Equal parts of the latent, the top one first; `latent_dim` is a multiple of it."""
    hidden: Positive = 64
    """Units between the groups above and a group."""


class UniformCodes(Section):
    """Every code of a vector-quantised latent is as likely."""

    kind: Literal["uniform_codes"] = "uniform_codes"


class AutoregressiveCodes(Section):
    """The codes of a vector-quantised latent one after the other, by a recurrent network; the second stage of a VQ-VAE.

    It learns beside the model from codes without gradient, so what it learns is what a stage after training would.
    """

    kind: Literal["autoregressive_codes"] = "autoregressive_codes"
    hidden: Positive = 128
    """Units of the recurrent network."""


Prior = Annotated[
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
]


# --- likelihoods ----------------------------------------------------------------------------------------------------


class Bernoulli(Section):
    """p(x|z) for binary pixels. Grey pixels have no Bernoulli density: `binarization` says how they become binary."""

    kind: Literal["bernoulli"] = "bernoulli"
    binarization: Literal["none", "static", "dynamic"] = "dynamic"
    """none: the data is binary already, anything else is refused. static: one fixed draw per pixel.
    dynamic: each pixel drawn anew, with its grey value as probability, at every presentation."""


class ContinuousBernoulli(Section):
    """p(x|z) over [0, 1], the Bernoulli's shape with its normaliser (Loaiza-Ganem & Cunningham 2019)."""

    kind: Literal["continuous_bernoulli"] = "continuous_bernoulli"


class Gaussian(Section):
    """p(x|z) = N(μ(z), σ²) over pixels in [0, 1]."""

    kind: Literal["gaussian"] = "gaussian"
    sigma: Literal["fixed", "learned", "per_pixel"] = "learned"
    """learned: one global σ, trained (Rybkin et al. 2021, σ-VAE). fixed: `initial_sigma` throughout; β then acts as σ².
    per_pixel: σ(z) of every pixel, from the decoder."""
    initial_sigma: Annotated[float, Field(gt=0)] = 0.25
    """Standard deviation in units of the pixel range."""


class Laplace(Section):
    """p(x|z) = Laplace(μ(z), b(z)) over pixels in [0, 1]; the absolute error's density."""

    kind: Literal["laplace"] = "laplace"


class StudentTLikelihood(Section):
    """p(x|z) of Student-t's with location, scale and degrees of freedom from the decoder; forgives outliers."""

    kind: Literal["student_t"] = "student_t"


class DiscretizedLogistic(Section):
    """p(x|z) over 256 levels by a mixture of logistics for each value (Salimans et al. 2017, not autoregressive)."""

    kind: Literal["discretized_logistic"] = "discretized_logistic"
    components: Positive = 5
    """Logistics in the mixture of each value."""


class Categorical(Section):
    """p(x|z) over equally spaced levels of each pixel, one logit for each."""

    kind: Literal["categorical"] = "categorical"
    levels: Annotated[int, Field(ge=2, le=256)] = 16
    """A pixel's 256 values are put into so many levels of equal width."""


class Mixed(Section):
    """p(x|z) of a table, column by column: a density for numbers, standardised, and a categorical for categories."""

    kind: Literal["mixed"] = "mixed"
    numeric: Literal["gaussian", "laplace", "student_t"] = "gaussian"
    """Density of the numeric columns, in units of each one's standard deviation."""


Likelihood = Annotated[
    Union[  # noqa: UP007
        Bernoulli,
        ContinuousBernoulli,
        Gaussian,
        Laplace,
        StudentTLikelihood,
        DiscretizedLogistic,
        Categorical,
        Mixed,
    ],
    Field(discriminator="kind"),
]


# --- model ----------------------------------------------------------------------------------------------------------

CONDITION_SHORTHANDS = {"none": (), "class": ("class",)}


def _condition(value: Any) -> Any:
    return CONDITION_SHORTHANDS.get(value, (value,)) if isinstance(value, str) else value


class ModelConfig(Section):
    """Encoder, posterior, prior, decoder and likelihood of one VAE."""

    latent_dim: Positive = 10
    """Dimensions of z."""
    encoder: Body = MLP()
    """The body between an example and the posterior."""
    decoder: Body | None = None
    """None mirrors the encoder."""
    posterior: Posterior = DiagonalGaussian()
    """q(z|x)."""
    prior: Prior = StandardNormal()
    """p(z)."""
    likelihood: Likelihood = Bernoulli()
    """p(x|z)."""
    condition: Annotated[tuple[str, ...], BeforeValidator(_condition)] = ()
    """What encoder and decoder are told of the example (Sohn et al. 2015): `class`, and names of its attributes."""
    condition_by: Literal["concatenation", "film", "channel_film"] = "concatenation"
    """How: beside the example and the latent; by scaling and shifting every hidden layer (Perez et al. 2018); or only the
    channels of convolutions and of the image (Dumoulin et al. 2017), so that a condition changes how an image looks and not
    what its latent means."""
    beta_gates: bool = False
    """Gate every hidden layer by log β, so that one model serves every β (Bae et al. 2023)."""

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        posterior, prior, latent_dim = self.posterior, self.prior, self.latent_dim
        codes = isinstance(prior, UniformCodes | AutoregressiveCodes)
        if isinstance(posterior, VectorQuantized):
            if not codes:
                raise ValueError(
                    f"model.prior: a vector_quantized posterior has codes, not numbers, and {prior.kind} has no "
                    "probability for them; use autoregressive_codes or uniform_codes"
                )
            _divides("model.latent_dim", latent_dim, "model.posterior.code_dim", posterior.code_dim)
        elif codes:
            raise ValueError(
                f"model.prior: {prior.kind} is over codes, which a {posterior.kind} posterior does not have; use "
                "posterior vector_quantized, or another prior"
            )
        if isinstance(prior, HierarchicalPrior):
            _divides("model.latent_dim", latent_dim, "model.prior.groups", prior.groups)
        elif isinstance(posterior, LadderPosterior):
            raise ValueError(
                "model.posterior: ladder infers the groups of a hierarchical prior; set model.prior to one"
            )
        if isinstance(prior, Vamp) and not isinstance(posterior, DiagonalGaussian):
            raise ValueError(
                "model.prior: vamp mixes the posteriors of its pseudo-inputs, whose density a "
                f"{posterior.kind} posterior does not give everywhere; use posterior diagonal_gaussian"
            )
        if isinstance(prior, Vamp) and isinstance(self.encoder, TableBody):
            raise ValueError(
                "model.prior: vamp learns pseudo-inputs by gradient, and categories have none; use gaussian_mixture or flow"
            )
        if isinstance(prior, ConditionalPrior) and not self.condition:
            raise ValueError(
                "model.prior: conditional needs something to depend on; set model.condition, such as `class`"
            )
        table = isinstance(self.encoder, TableBody)
        if table != isinstance(self.likelihood, Mixed) or (
            self.decoder and table != isinstance(self.decoder, TableBody)
        ):
            raise ValueError(
                "model: a table takes body `table` and likelihood `mixed` together, an image neither, got encoder "
                f"{self.encoder.kind}, decoder {(self.decoder or self.encoder).kind} and likelihood {self.likelihood.kind}"
            )
        if (once := tuple(dict.fromkeys(self.condition))) != self.condition:
            raise ValueError(
                f"model.condition: expected each name once, {', '.join(once)}, got {', '.join(self.condition)}"
            )
        if self.condition_by != "concatenation" and not self.condition:
            raise ValueError(
                f"model.condition_by: {self.condition_by} needs a condition; set model.condition, such as `class`"
            )
        bodies = (self.encoder, self.decoder or self.encoder)
        if self.condition_by == "channel_film" and not all(isinstance(body, Conv) for body in bodies):
            raise ValueError(
                "model.condition_by: channel_film scales the channels of convolutions, got encoder "
                f"{bodies[0].kind} and decoder {bodies[1].kind}; use film, or conv for both"
            )
        return self


def _divides(whole_name: str, whole: int, part_name: str, part: int) -> None:
    if whole % part:
        raise ValueError(
            f"{whole_name} must be a multiple of {part_name}, got {whole} and {part}; the nearest that is: "
            f"{max(1, round(whole / part)) * part}"
        )
