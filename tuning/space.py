"""The search space: typed dimensions over the fields of a configuration, checked before anything runs."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Union

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue

from tuning.rules import DESCRIPTION, RULES, TARGET
from vae.config import Positive, RunConfig, Section, override
from vae.errors import ConfigError
from vae.parts.part import CUSTOM

Scalar = str | int | float | bool | None


class Choice(Section):
    """Choice between values; a value may be a whole section, such as an encoder."""

    kind: Literal["choice"] = "choice"
    values: Annotated[tuple[JsonValue, ...], Field(min_length=1)]
    """Values to try."""


class Uniform(Section):
    """Real number between two bounds."""

    kind: Literal["uniform"] = "uniform"
    low: float
    """Lower bound."""
    high: float
    """Upper bound."""
    log: bool = False
    """Whether the logarithm is uniform, instead of the value."""


class Integers(Section):
    """Whole number between two bounds, both included."""

    kind: Literal["integers"] = "integers"
    low: int
    """Lower bound."""
    high: int
    """Upper bound."""
    log: bool = False
    """Whether the logarithm is uniform, instead of the value."""


Dimension = Annotated[Union[Choice, Uniform, Integers], Field(discriminator="kind")]  # noqa: UP007
Space = dict[str, Dimension]


BETA = "objective.beta"


def default_space(base: RunConfig) -> Space:
    """Returns the default space: β, and the base's encoder at half of its width and at its own."""
    body = base.model.encoder
    kept = {**body.model_dump(mode="json", exclude_defaults=True), "kind": body.kind}
    widths: dict[str, Any] = {
        name: value for name, value in body.model_dump(mode="json").items() if name in ("hidden", "channels")
    }
    if body.kind == CUSTOM:  # its arguments may be anything
        return {BETA: Choice(values=(0.5, 1.0, 2.0, 4.0))}
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


def _check_rule_name(value: str) -> str:
    if value in RULES or TARGET.fullmatch(value):
        return value
    raise ValueError(
        f"select: expected one of {', '.join(RULES)}, `rate <= NATS` or `distortion <= NATS`, got {value!r}"
    )


class SearchConfig(Section):
    """A search: the fields that vary around a base configuration, and the resources it may spend."""

    base: RunConfig = RunConfig()
    """Configuration that all trials share; its `training.epochs` is the longest that a trial may train."""
    space: Space = Field(default_factory=lambda: default_space(RunConfig()))
    """Dotted fields of the configuration that vary, each with its values or its range."""
    lanes: bool = True
    """Whether to train the choices of β, seed and learning rate together, as the lanes of one stack. False trains each
    combination by itself."""
    num_trials: Positive | None = None
    """Number of draws from the dimensions that are not lanes. None tries every combination; required if a dimension is
    a range rather than a choice."""
    select: Annotated[str, AfterValidator(_check_rule_name), Field(description=DESCRIPTION)] = "bound"
    stop_by: Literal["bound", "hypervolume"] = "bound"
    """Measure that trials are compared by while they train. `bound`: the validation bound of the best lane, in nats.
    `hypervolume`: the area under the front of all lanes in rate and distortion, in nats², which keeps a stack whose
    front is good as a whole even if no lane has the best bound. All trials share the area's reference point: on both
    axes the negative ELBO of the untrained base configuration on the validation split, and at least one nat for each
    value of an example."""
    grace_epochs: Positive = 10
    """Epochs that every trial may train before ASHA (Li et al. 2020) stops it for being worse than others."""
    reduction_factor: Annotated[int, Field(ge=2)] = 3
    """Divisor of the number of trials at each rung: the best 1 in `reduction_factor` go on."""
    scheduler: Annotated[Literal["asha"], BeforeValidator(_no_population)] = "asha"
    """Scheduler that stops trials early."""
    cpus_per_trial: Positive = 1
    """CPUs of each trial."""
    gpus_per_trial: Annotated[float, Field(ge=0, le=1)] = 0.0
    """GPUs of each trial; trials with a fraction share one."""
    time_budget_seconds: Annotated[float, Field(gt=0)] | None = None
    """Seconds after which all trials are stopped. None sets no limit."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Seed of the sampler (Optuna's TPE)."""


def around(base: RunConfig) -> SearchConfig:
    """Returns the default search around a base configuration."""
    return SearchConfig(base=base, space=default_space(base))


def check_space(search: SearchConfig) -> None:
    """Builds the configuration of every choice and of every end of a range, so that a bad one fails before the first trial.

    Raises:
        ConfigError: If a field does not exist, a value is refused, a range is empty, or the number of trials is missing.
    """
    if not search.space:
        raise ConfigError("space: nothing varies; name a field, such as `objective.beta`, and its choices")
    for field, dimension in search.space.items():
        if field.partition(".")[0] == "scaling":
            raise ConfigError(
                f"space.{field}: workers change how fast a model trains and not what it is; set base.{field}"
            )
        for value in _ends(field, dimension):
            override(search.base, {field: value}, f"space.{field}")
    if search.num_trials is None and grid_size(search.space) is None:
        raise ConfigError(
            "num_trials: a space with a continuous dimension has no last combination; say how many to try"
        )
    rule = RULES.get(search.select)
    if rule is not None and rule.across is not None:
        _check_choices(search, rule.across, f"select: {rule.name} compares trials that differ in {rule.across}")
    if search.stop_by == "hypervolume":
        _check_choices(search, BETA, "stop_by: hypervolume compares fronts of several weights of the rate")


def _ends(field: str, dimension: Choice | Uniform | Integers) -> tuple[Any, ...]:
    """Returns the values of a dimension that are tried before the search: all choices, or both ends of a range."""
    if isinstance(dimension, Choice):
        return dimension.values
    low, high = dimension.low, dimension.high
    if low >= high or (dimension.log and low <= 0):
        raise ConfigError(f"space.{field}: expected low < high, and low > 0 where log, got {low} to {high}")
    # A value that is not whole: a field of whole numbers would refuse the first draw.
    return (low, high) if isinstance(dimension, Integers) else (low, high, low + (high - low) / math.pi)


def _check_choices(search: SearchConfig, field: str, why: str) -> None:
    """Raises if the stacks of a search have fewer than 2 values of a field."""
    if not search.lanes:
        raise ConfigError(f"{why}, which train as lanes of one stack, and lanes is false; set it to true")
    dimension = search.space.get(field)
    num_choices = len({str(value) for value in dimension.values}) if isinstance(dimension, Choice) else 0
    if num_choices < 2:
        raise ConfigError(
            f"{why}, which train as lanes of one stack: expected 2 choices of {field} or more, found {num_choices}; "
            f"add `{field}` choices to the space"
        )


def grid_size(space: Space) -> int | None:
    """Returns the number of combinations; None if a dimension is not a choice."""
    size = 1
    for dimension in space.values():
        if not isinstance(dimension, Choice):
            return None
        size *= len(dimension.values)
    return size


def grid(space: Space) -> Iterator[dict[str, Scalar]]:
    """Yields every combination of the choices, by label; ranges are left to the sampler."""
    choices = {field: labels(dimension) for field, dimension in space.items() if isinstance(dimension, Choice)}
    for values in itertools.product(*choices.values()):
        yield dict(zip(choices, values, strict=True))


def configuration(search: SearchConfig, parameters: Mapping[str, Scalar]) -> RunConfig:
    """Returns the configuration of one trial, from the values or labels that the search drew."""
    changes: dict[str, Any] = {}
    for field, value in parameters.items():
        dimension = search.space[field]
        changes[field] = labels(dimension)[value] if isinstance(dimension, Choice) else value
    return override(search.base, changes, "trial")


def labels(choice: Choice) -> dict[Scalar, JsonValue]:
    """Returns each value by a short name: a scalar by itself, an encoder as `mlp 128-64`."""
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
