"""What a training run is: typed, strict, frozen. A configuration is data; the parts that read it live beside the maths.

Every field states its unit. Unknown keys are refused with the nearest known one, so that a typo never trains a model.
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, Self, TypeVar, Union, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from vae.errors import ConfigError

ConfigT = TypeVar("ConfigT", bound=BaseModel)
Positive = Annotated[int, Field(gt=0)]


class Section(BaseModel):
    """A part of the configuration: frozen, keyword-only, no unknown keys, no NaN or infinity."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


# --- networks -------------------------------------------------------------------------------------------------------


class MLP(Section):
    """Fully connected layers over the flattened example."""

    kind: Literal["mlp"] = "mlp"
    hidden: Annotated[tuple[Positive, ...], Field(min_length=1)] = (256, 128)
    """Units of each hidden layer, from the data inwards; the decoder uses them in reverse."""
    activation: Literal["relu", "silu", "tanh", "elu"] = "relu"
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
    activation: Literal["relu", "silu", "tanh", "elu"] = "silu"


Body = Annotated[Union[MLP, Conv], Field(discriminator="kind")]  # noqa: UP007  pydantic reads the Union


# --- model ----------------------------------------------------------------------------------------------------------


class DiagonalGaussian(Section):
    """q(z|x) = N(μ(x), diag σ²(x)) (Kingma & Welling 2014)."""

    kind: Literal["diagonal_gaussian"] = "diagonal_gaussian"


class StandardNormal(Section):
    """p(z) = N(0, I)."""

    kind: Literal["standard_normal"] = "standard_normal"


class Bernoulli(Section):
    """p(x|z) for binary pixels. Grey pixels have no Bernoulli density: `binarization` says how they become binary."""

    kind: Literal["bernoulli"] = "bernoulli"
    binarization: Literal["none", "static", "dynamic"] = "dynamic"
    """none: the data is binary already, anything else is refused. static: one fixed draw per pixel.
    dynamic: each pixel drawn anew, with its grey value as probability, at every presentation."""


class Gaussian(Section):
    """p(x|z) = N(μ(z), σ²) over pixels in [0, 1]."""

    kind: Literal["gaussian"] = "gaussian"
    sigma: Literal["fixed", "learned"] = "learned"
    """learned: one global σ, trained (Rybkin et al. 2021, σ-VAE). fixed: `initial_sigma` throughout; β then acts as σ²."""
    initial_sigma: Annotated[float, Field(gt=0)] = 0.25
    """Standard deviation in units of the pixel range."""


Posterior = DiagonalGaussian
Prior = StandardNormal
Likelihood = Annotated[Union[Bernoulli, Gaussian], Field(discriminator="kind")]  # noqa: UP007


class ModelConfig(Section):
    """Encoder, posterior, prior, decoder and likelihood of one VAE."""

    latent_dim: Positive = 10
    encoder: Body = MLP()
    decoder: Body | None = None
    """None mirrors the encoder."""
    posterior: Posterior = DiagonalGaussian()
    prior: Prior = StandardNormal()
    likelihood: Likelihood = Bernoulli()
    condition: Literal["none", "class"] = "none"
    """class: encoder and decoder see the example's class as a one-hot vector (Sohn et al. 2015)."""


# --- objective ------------------------------------------------------------------------------------------------------


class Constant(Section):
    """β is the same at every step."""

    kind: Literal["constant"] = "constant"


class Warmup(Section):
    """β rises linearly from 0 (Bowman et al. 2016)."""

    kind: Literal["warmup"] = "warmup"
    steps: Positive = 500
    """Optimiser steps until β is reached; counted in steps, never epochs, and refused if longer than the run."""


Controller = Annotated[Union[Constant, Warmup], Field(discriminator="kind")]  # noqa: UP007


class ObjectiveConfig(Section):
    """What is minimised: distortion + β · rate, in nats per example (Higgins et al. 2017)."""

    beta: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the rate. 1 is the evidence lower bound."""
    controller: Controller = Constant()


# --- training -------------------------------------------------------------------------------------------------------


class TrainingConfig(Section):
    """How long, how fast, and on what. Batches are counted over all workers, so results do not depend on their number."""

    epochs: Positive = 100
    """Passes over the training split, at most."""
    batch_size: Positive = 128
    """Examples per optimiser step over all workers; must divide evenly among them."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Decoupled (AdamW), per unit of learning rate."""
    gradient_clip_norm: Annotated[float, Field(gt=0)] | None = None
    """Largest Euclidean norm of the gradient of the mean loss; None leaves it as it is."""
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Decay per step of an exponential moving average of the weights, which is then what is validated and shipped."""
    patience_epochs: Positive | None = 20
    """Stop after so many epochs without a better validation bound; None trains all epochs."""
    checkpoint_steps: Positive | None = None
    """Optimiser steps between checkpoints; None writes them at the ends of epochs alone."""
    checkpoint_seconds: Annotated[float, Field(ge=0)] = 10.0
    """Least seconds between checkpoints at the ends of epochs. A resumed run is exact from any checkpoint."""
    keep_checkpoints: Annotated[int, Field(ge=2)] = 3
    """Newest checkpoints kept. Two at least, so that a damaged one has a predecessor."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the networks; auto is bfloat16 on a GPU and float32 elsewhere. Densities are always float32."""
    compile: Literal["auto", "off", "on"] = "auto"
    """torch.compile with CUDA graphs; auto is on where there is a GPU."""
    feed: Literal["auto", "resident", "streaming"] = "auto"
    """resident: a worker holds its share of the data. streaming: it reads row groups through a shuffle window.
    auto: resident while the share fits `memory_budget_bytes`."""
    memory_budget_bytes: Positive = 2 * 1024**3
    """Data a worker may hold, in bytes."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Every draw (weights, permutations, noise) derives from it together with the rank and the step."""


class ScalingConfig(Section):
    """Workers of a training job."""

    num_workers: Positive = 1
    cpus_per_worker: Positive = 1
    gpus_per_worker: Annotated[int, Field(ge=0, le=1)] = 0
    max_failures: Annotated[int, Field(ge=0)] = 3
    """Worker-group restarts before the job fails."""


class RunConfig(Section):
    """One training run: the model, what it minimises, how it is trained and on how many workers."""

    model: ModelConfig = ModelConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    training: TrainingConfig = TrainingConfig()
    scaling: ScalingConfig = ScalingConfig()

    @model_validator(mode="after")
    def _batch_divides_among_workers(self) -> Self:
        batch, workers = self.training.batch_size, self.scaling.num_workers
        if batch % workers:
            raise ValueError(
                f"training.batch_size must divide evenly among scaling.num_workers, got {batch} examples for "
                f"{workers} workers; the nearest that does is {max(1, round(batch / workers)) * workers}"
            )
        return self


# --- reading a configuration ----------------------------------------------------------------------------------------


def parse(kind: type[ConfigT], values: Mapping[str, Any], where: str = "configuration") -> ConfigT:
    """Builds a configuration, or a section of one, from plain values.

    Args:
        kind: Its class.
        values: Nested mappings as read from YAML or JSON. Flat keys with dots (`model.latent_dim`) are not accepted
            here; `override` takes those.
        where: What the values came from, for the message.

    Raises:
        ConfigError: Unknown key, wrong type, or value out of range; names each field, what was found, and the nearest
            known key.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_explain(error, kind, where)) from None


def override(config: ConfigT, changes: Mapping[str, Any], where: str = "override") -> ConfigT:
    """The configuration with dotted keys replaced: `{"model.latent_dim": 4, "objective.beta": 2.0}`.

    A value may be a whole section as a mapping (`{"model.encoder": {"kind": "conv"}}`).

    Raises:
        ConfigError: A key that does not exist, or a value that is refused.
    """
    values = config.model_dump()
    for key, value in changes.items():
        *parents, last = key.split(".")
        section: Any = values
        for depth, parent in enumerate(parents):
            section = section.get(parent) if isinstance(section, dict) else None
            if not isinstance(section, dict):
                raise ConfigError(f"{where}: {key}: there is no section '{'.'.join(parents[: depth + 1])}'")
        section[last] = copy.deepcopy(value)  # a later key may lead inside it
    return parse(type(config), values, where)


def dotted(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested mappings with their dotted names: `{"a": {"b": 1}}` gives `("a.b", 1)`."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from dotted(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What differs between nested mappings, one line for each leaf: `objective.beta: was 1.0, is 2.0`."""
    old, new = dict(dotted(before)), dict(dotted(after))
    return [
        f"{name}: was {old.get(name)!r}, is {new.get(name)!r}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]


def _explain(error: ValidationError, kind: type[BaseModel], where: str) -> str:
    lines = []
    for problem in error.errors(include_url=False):
        section, parts = _walk(kind, problem["loc"])
        path = ".".join(parts) or "(whole)"
        match problem["type"]:
            case "extra_forbidden":
                known = list(section.model_fields)
                near = difflib.get_close_matches(parts[-1], known, n=1, cutoff=0.5)
                hint = f"did you mean `{near[0]}`?" if near else f"known keys: {', '.join(sorted(known))}"
                lines.append(f"{path}: unknown key; {hint}")
            case "value_error":
                lines.append(problem["msg"].removeprefix("Value error, "))
            case _:
                lines.append(f"{path}: {problem['msg'][0].lower()}{problem['msg'][1:]}, got {problem['input']!r}")
    return "\n".join(f"{where}: {line}" for line in lines)


def _walk(kind: type[BaseModel], location: Sequence[int | str]) -> tuple[type[BaseModel], list[str]]:
    """The innermost section that a pydantic error location leads to, and its path as a user would write it: pydantic
    names the chosen `kind` of a union too."""
    section: type[BaseModel] = kind
    choices: dict[Any, type[BaseModel]] = {}
    path: list[str] = []
    for part in location:
        if part in choices:
            section, choices = choices[part], {}
            continue
        path.append(str(part))
        if part in section.model_fields:
            candidates = _sections(section.model_fields[str(part)].annotation)
            section = candidates[0] if candidates else section
            choices = {c.model_fields["kind"].default: c for c in candidates if "kind" in c.model_fields}
    return section, path


def _sections(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for part in get_args(annotation) for found in _sections(part)]
