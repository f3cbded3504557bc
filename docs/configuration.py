"""Writes `docs/configuration.md` from the configuration itself: `python docs/configuration.py`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from tuning.space import SearchConfig
from vae.config import RunConfig
from vae.parts.described import descriptions

TITLE = """# Configuration

Every field of a training and of a search, with its meaning, its unit and its default. An unknown field is an error that
names the nearest known one. `--set FIELD=VALUE` overrides one field. A part that comes in several kinds names its kind, and
has the fields of that kind: `encoder: {kind: conv, channels: [16, 32]}`.

`python docs/configuration.py` makes this page from the types of the configuration.
"""
SECTIONS = ("model", "objective", "data", "training", "scaling")


def page() -> str:
    """Returns the page, in Markdown."""
    parts = [TITLE]
    for name in SECTIONS:
        section = RunConfig.model_fields[name].annotation
        assert isinstance(section, type), "a section is one model"
        parts.append(f"## `{name}`\n\n{text_of(section)}\n\n{table(section)}")
        parts += [kinds(f"{name}.{field}", models) for field, models in choices(section)]
    dimensions = next(models for field, models in choices(SearchConfig) if field == "space")
    parts.append(f"## A search\n\n{text_of(SearchConfig)}\n\n{table(SearchConfig)}")
    parts.append(kinds("space.FIELD", dimensions))
    return "\n".join(parts)


def table(section: type[BaseModel]) -> str:
    """Returns a table of a section's fields, with defaults and meanings."""
    rows = [
        f"| `{name}` | {default(field)} | {cell(descriptions(section).get(name))} |"
        for name, field in section.model_fields.items()
    ]  # fmt: skip
    return "\n".join(["| field | default | meaning |", "|---|---|---|", *rows, ""])


def kinds(path: str, models: list[type[BaseModel]]) -> str:
    """Returns a table of the kinds of a part, with the fields of each."""
    rows = [f"| `{kind_of(model)}` | {cell(text_of(model))} | {fields(model)} |" for model in models]
    return "\n".join([f"### `{path}`", "", "| kind | what it is | its fields |", "|---|---|---|", *rows, ""])


def fields(model: type[BaseModel]) -> str:
    """Returns the fields of a kind, as one cell."""
    listed = ((name, field) for name, field in model.model_fields.items() if name != "kind")
    return "<br>".join(f"`{name}` ({default(field)}): {cell(descriptions(model).get(name))}" for name, field in listed)


def choices(section: type[BaseModel]) -> Iterator[tuple[str, list[type[BaseModel]]]]:
    """Yields the fields of a section that have kinds, with the model of each; fields with the same kinds count once."""
    seen: list[Any] = []
    for name, field in section.model_fields.items():
        models = [model for model in models_in(field.annotation) if "kind" in model.model_fields]
        if models and models not in seen:
            seen.append(models)
            yield name, models


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yields every model in a type."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from models_in(argument)


def kind_of(model: type[BaseModel]) -> str:
    """Returns the value of `kind` of a model."""
    return model.model_fields["kind"].default


def default(field: FieldInfo) -> str:
    """Returns the default of a field, as YAML has it."""
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "to be given"
    if isinstance(value, BaseModel):
        return f"`{kind_of(type(value))}`" if "kind" in type(value).model_fields else "its defaults"
    if isinstance(value, dict):
        return "β × two MLPs"
    return "none" if value is None else f"`{json.dumps(value)}`"


def text_of(model: type[BaseModel]) -> str:
    """Returns a model's docstring, as one paragraph."""
    return " ".join((model.__doc__ or "").split())


def cell(text: str | None) -> str:
    """Returns a text as a cell of a table.

    Raises:
        ValueError: If the text is empty: a field without a docstring.
    """
    if not text:
        raise ValueError("a field of the configuration has no meaning: write a docstring below it")
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    Path(__file__).with_suffix(".md").write_text(page())
