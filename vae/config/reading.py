"""Reading a configuration, and changing and comparing what was read."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from vae.errors import ConfigError, did_you_mean

ConfigT = TypeVar("ConfigT", bound=BaseModel)


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
    """Returns the configuration with dotted keys replaced: `{"model.latent_dim": 4, "objective.beta": 2.0}`.

    A value may be a whole section as a mapping (`{"model.encoder": {"kind": "conv"}}`). Another `kind` sets its section
    to that kind's defaults, over which the other changes are laid. The order of the changes does not matter.

    Raises:
        ConfigError: A key that does not exist, or a value that is refused.
    """
    values = config.model_dump()
    for key, value in sorted(changes.items(), key=_whole_sections_first):
        *parents, last = key.split(".")
        section: Any = values
        for depth, parent in enumerate(parents):
            section = section.get(parent) if isinstance(section, dict) else None
            if not isinstance(section, dict):
                raise ConfigError(f"{where}: {key}: there is no section '{'.'.join(parents[: depth + 1])}'")
        if last == "kind" and value != section.get(last):
            section.clear()  # the fields of one kind are unknown to another
        section[last] = copy.deepcopy(value)  # a later key may lead inside it
    return parse(type(config), values, where)


def _whole_sections_first(change: tuple[str, Any]) -> tuple[int, bool]:
    """Returns the sort key of a dotted change: a section comes before its fields, and its `kind` before the others."""
    parents, _, last = change[0].rpartition(".")
    return parents.count("."), last != "kind"


def merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Returns nested mappings with others laid over them; a section with a `kind` replaces the one below it whole."""
    result = dict(values)
    for name, change in changes.items():
        below = result.get(name)
        if isinstance(below, Mapping) and isinstance(change, Mapping) and "kind" not in change:
            change = merged(below, change)
        result[name] = change
    return result


def dotted(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields the leaves of nested mappings with their dotted names: `{"a": {"b": 1}}` gives `("a.b", 1)`."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from dotted(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Returns the differences between nested mappings, one line for each leaf: `objective.beta: was 1.0, is 2.0`."""
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
                hint = did_you_mean(parts[-1], section.model_fields)
                known = f"; known keys: {', '.join(sorted(section.model_fields))}"
                lines.append(f"{path}: unknown key{hint or known}")
            case "value_error":
                lines.append(problem["msg"].removeprefix("Value error, "))
            case _:
                lines.append(f"{path}: {problem['msg'][0].lower()}{problem['msg'][1:]}, got {problem['input']!r}")
    return "\n".join(f"{where}: {line}" for line in lines)


def _walk(kind: type[BaseModel], location: Sequence[int | str]) -> tuple[type[BaseModel], list[str]]:
    """Returns the innermost section of a pydantic error location, and its path as a user would write it.

    Pydantic names the chosen `kind` of a union too, which a user does not write.
    """
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
