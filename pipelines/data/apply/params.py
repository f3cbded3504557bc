"""Parameters of a task as people write them, read by the type that the model's signature gives them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from vae import serving
from vae.errors import ConfigError, did_you_mean
from vae.inference.answering import TASKS

AUGMENT = "augment"
# What `apply` says for itself, call by call.
_FILLED_IN = ("task", "n")
_WORDS = {
    "long": "a whole number",
    "integer": "a whole number",
    "double": "a number",
    "float": "a number",
    "boolean": "true or false",
}


class _Spec(NamedTuple):
    name: str
    kind: str
    """Name of the type in MLflow."""
    default: Any
    is_list: bool = False


_OF_AUGMENT = (_Spec("per_class", "long", 100), _Spec("keep", "boolean", False))
PARAMS_OF_AUGMENT = tuple(spec.name for spec in _OF_AUGMENT)
"""Parameters of `augment` that the model does not take."""


def check_task(task: str) -> None:
    """Refuses a task that no model has.

    Raises:
        ConfigError: If it is unknown; lists the tasks and the nearest name.
    """
    known = [*TASKS, AUGMENT]
    if task not in known:
        raise ConfigError(f"unknown task {task!r}: there are {', '.join(known)}{did_you_mean(task, known)}")


def read_params(task: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns every parameter of a task in its type, with the defaults of the signature.

    Raises:
        ConfigError: If a parameter is unknown to the task, or a value is not of its type.
    """
    specs = {spec.name: spec for spec in _specs(task)}
    for name, value in given.items():
        if name not in specs:
            raise ConfigError(
                f"--param {name}={value}: task {task} takes no such parameter here, only {', '.join(specs)}"
                f"{did_you_mean(name, specs)}"
            )
    return {name: _read(spec, given[name]) if name in given else spec.default for name, spec in specs.items()}


def _specs(task: str) -> list[_Spec]:
    names = (*_FILLED_IN, "condition") if task == AUGMENT else _FILLED_IN
    of_model = [
        _Spec(spec.name, str(spec.to_dict()["type"]), spec.default, spec.shape is not None)
        for spec in serving.params()
        if spec.name not in names
    ]
    return [*(_OF_AUGMENT if task == AUGMENT else ()), *of_model]


def _read(spec: _Spec, value: Any) -> Any:
    if not spec.is_list:
        return _value(spec, value)
    # An entry of text may hold commas of its own.
    separate = isinstance(value, str) and spec.kind != "string"
    values = value.split(",") if separate else [value] if isinstance(value, str | int | float) else value
    return [_value(spec, one) for one in values]


def _value(spec: _Spec, value: Any) -> Any:
    try:
        match spec.kind:
            case "boolean":
                return {"true": True, "false": False}[str(value).lower()]
            case "long" | "integer":
                if isinstance(value, float) and not value.is_integer():
                    raise ValueError
                return int(value)
            case "double" | "float":
                if not math.isfinite(number := float(value)):
                    raise ValueError
                return number
            case _:
                return str(value)
    except (ValueError, KeyError):
        raise ConfigError(f"--param {spec.name}={value}: expected {_WORDS.get(spec.kind, spec.kind)}") from None
