"""The search space: which fields of the configuration vary, and over what. Typed, and checked before anything runs."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Union, assert_never

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue

from tuning.frontier import SEED, TARGET
from vae.config import Positive, RunConfig, Section, override
from vae.errors import ConfigError

Scalar = str | int | float | bool | None


class Choice(Section):
    """One of some values; a value may be a whole section, such as an encoder."""

    kind: Literal["choice"] = "choice"
    values: Annotated[tuple[JsonValue, ...], Field(min_length=1)]
    """Each is tried."""


class Uniform(Section):
    """A real number between two bounds."""

    kind: Literal["uniform"] = "uniform"
    low: float
    """The least."""
    high: float
    """The largest."""
    log: bool = False
    """Uniform in the logarithm."""


class Integers(Section):
    """A whole number between two bounds, both included."""

    kind: Literal["integers"] = "integers"
    low: int
    """The least."""
    high: int
    """The largest."""
    log: bool = False
    """Uniform in the logarithm."""


Dimension = Annotated[Union[Choice, Uniform, Integers], Field(discriminator="kind")]  # noqa: UP007
Space = dict[str, Dimension]


BETA = "objective.beta"


def default_space(base: RunConfig) -> Space:
    """Returns the space that is searched where none is named: β, and the base's encoder at half and at its own width."""
    body = base.model.encoder
    kept = {**body.model_dump(mode="json", exclude_defaults=True), "kind": body.kind}
    widths: dict[str, Any] = {
        name: value for name, value in body.model_dump(mode="json").items() if name in ("hidden", "channels")
    }
    halves: dict[str, Any] = {
        name: [_half(n) for n in value] if isinstance(value, list) else _half(value) for name, value in widths.items()
    }
    return {
        "model.encoder": Choice(values=({**kept, **halves}, {**kept, **widths})),
        BETA: Choice(values=(0.5, 1.0, 2.0, 4.0)),
    }


def _half(units: int) -> int:
    return max(1, units // 2)


def _no_population(value: Any) -> Any:
    if value in ("pbt", "pb2"):
        raise ValueError(
            f"scheduler: {value} changes β and weights in mid-run, so that no trial stands for a β and none can be trained "
            "again; use asha"
        )
    return value


SCORES = ("nll", "mig", "udr", "frechet", "denoise_psnr", "impute_rmse")
"""Rules that ask for a measurement of every trial's model."""


def _rule(value: str) -> str:
    known = ("bound", "elbo", "active_units", *SCORES)
    if value in known or TARGET.fullmatch(value):
        return value
    raise ValueError(
        f"select: expected one of {', '.join(known)}, `rate <= NATS` or `distortion <= NATS`, got {value!r}"
    )


Rule = Annotated[str, AfterValidator(_rule)]


class SearchConfig(Section):
    """A search: what varies around a base configuration, and how much is spent on it."""

    base: RunConfig = RunConfig()
    """Configuration that every trial starts from; its `training.epochs` is the longest a trial may train."""
    space: Space = Field(default_factory=lambda: default_space(RunConfig()))
    """Dotted field of the configuration to what it varies over."""
    lanes: bool = True
    """Train the choices of β, seed and learning rate together, as the lanes of one stack: a trial then has every
    combination of them. False makes a trial of each."""
    num_trials: Positive | None = None
    """Number of points of the dimensions that are no lanes. None tries every combination of choices; a range needs a
    number."""
    select: Rule = "bound"
    """Score by which the best trial is chosen: its validation bound or ELBO at β = 1, its importance-sampled likelihood
    (`nll`), `active_units`, `mig`, `udr` (how well the seeds of a setting agree on the dimensions; Duan et al. 2020;
    needs no labels), `frechet` (how like the real images its own are), `denoise_psnr` or `impute_rmse`; or a target in
    nats, `rate <= 20` for the best reconstruction at no more than that rate, `distortion <= 80` for the lowest rate.
    Settings are compared by their means over seeds."""
    stop_by: Literal["bound", "hypervolume"] = "bound"
    """Score by which trials are compared while they train: the validation bound of the best lane, in nats; or the area
    under the front of all lanes in rate and distortion, in nats², which keeps a stack whose whole front is good though
    no lane of it has the best bound. The area's reference point is one for all trials: on both axes the negative ELBO
    that the base configuration has on the validation split before it is trained, and at least a nat for each value of
    an example."""
    grace_epochs: Positive = 10
    """Epochs before a trial may be stopped for being worse than others (ASHA, Li et al. 2020)."""
    reduction_factor: Annotated[int, Field(ge=2)] = 3
    """Inverse of the share of trials, the best ones, that go on at each rung."""
    scheduler: Annotated[Literal["asha"], BeforeValidator(_no_population)] = "asha"
    """Rule that stops trials early."""
    cpus_per_trial: Positive = 1
    """CPUs."""
    gpus_per_trial: Annotated[float, Field(ge=0, le=1)] = 0.0
    """A fraction lets trials share a GPU."""
    time_budget_seconds: Annotated[float, Field(gt=0)] | None = None
    """After which no trial goes on."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Seed of the sampler (Optuna's TPE)."""


def around(base: RunConfig) -> SearchConfig:
    """Returns the search that is made around a base where nothing else is named."""
    return SearchConfig(base=base, space=default_space(base))


def check_space(search: SearchConfig) -> None:
    """Builds the configuration of every choice and bound once, so that a bad one fails before the first trial.

    Raises:
        ConfigError: A field that does not exist, a value that is refused, an empty range, or no number of trials.
    """
    if not search.space:
        raise ConfigError("space: nothing varies; name a field, such as `objective.beta`, and its choices")
    for field, dimension in search.space.items():
        if field.partition(".")[0] == "scaling":
            raise ConfigError(
                f"space.{field}: workers change how fast a model trains and not what it is; set base.{field}"
            )
        match dimension:
            case Choice(values=values):
                ends = values
            case Uniform(low=low, high=high) | Integers(low=low, high=high):
                if low >= high or (dimension.log and low <= 0):
                    raise ConfigError(f"space.{field}: expected low < high, and low > 0 where log, got {low} to {high}")
                ends = (low, high)
                if isinstance(dimension, Uniform):
                    # A value that is not whole: a field of whole numbers would refuse the first draw.
                    ends = (low, high, low + (high - low) / math.pi)
            case _:
                assert_never(dimension)
        for value in ends:
            override(search.base, {field: value}, f"space.{field}")
    if search.num_trials is None and grid_size(search.space) is None:
        raise ConfigError(
            "num_trials: a space with a continuous dimension has no last combination; say how many to try"
        )
    if search.select == "udr":
        _check_choices(search, SEED, "select: udr compares the seeds of each setting")
    if search.stop_by == "hypervolume":
        _check_choices(search, BETA, "stop_by: hypervolume is of a front with several weights of the rate")


def _check_choices(search: SearchConfig, field: str, why: str) -> None:
    """Refuses a search whose stacks have fewer than 2 values of a field."""
    if not search.lanes:
        raise ConfigError(f"{why}, which train as lanes of one stack, and lanes is false; set it to true")
    dimension = search.space.get(field)
    found = len({str(value) for value in dimension.values}) if isinstance(dimension, Choice) else 0
    if found < 2:
        raise ConfigError(
            f"{why}, which train as lanes of one stack: expected 2 choices of {field} or more, found {found}; add "
            f"`{field}` choices to the space"
        )


def grid_size(space: Space) -> int | None:
    """How many combinations there are; None where a dimension is not a choice."""
    size = 1
    for dimension in space.values():
        if not isinstance(dimension, Choice):
            return None
        size *= len(dimension.values)
    return size


def grid(space: Space) -> Iterator[dict[str, Scalar]]:
    """Every combination of the choices, by label; dimensions that are not choices are left to the sampler."""
    choices = {field: labels(dimension) for field, dimension in space.items() if isinstance(dimension, Choice)}
    for values in itertools.product(*choices.values()):
        yield dict(zip(choices, values, strict=True))


def configuration(search: SearchConfig, parameters: Mapping[str, Scalar]) -> RunConfig:
    """The configuration of one trial, from the values or labels that the search drew."""
    changes: dict[str, Any] = {}
    for field, value in parameters.items():
        dimension = search.space[field]
        changes[field] = labels(dimension)[value] if isinstance(dimension, Choice) else value
    return override(search.base, changes, "trial")


def labels(choice: Choice) -> dict[Scalar, JsonValue]:
    """A short name for each value: itself where it is a scalar, `mlp 128-64` where it is an encoder."""
    named: dict[Scalar, JsonValue] = {}
    for value in choice.values:
        label = _label(value)
        named[json.dumps(value, sort_keys=True) if label in named else label] = value
    return named


def _label(value: JsonValue) -> Scalar:
    match value:
        case {"kind": kind, "hidden": [*sizes]} | {"kind": kind, "channels": [*sizes]}:
            rest = [f"{k}={v}" for k, v in value.items() if k not in ("kind", "hidden", "channels") and v]
            return " ".join([str(kind), "-".join(map(str, sizes)), *rest])
        case str() | int() | float() | bool() | None:
            return value
        case _:
            return json.dumps(value, sort_keys=True)
