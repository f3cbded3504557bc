"""Descriptions of fields, which stand as docstrings below them."""

from __future__ import annotations

import ast
import inspect
import sys
from functools import cache
from itertools import pairwise
from typing import Any

from pydantic import BaseModel, GetJsonSchemaHandler


class Described(BaseModel):
    """A model whose JSON schema describes each field by the docstring below it.

    Pydantic's own `use_attribute_docstrings` reads the source of every model when it is imported, which would take half a
    second in each process.
    """

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Returns the JSON schema of the model, with the descriptions."""
        schema = handler(core_schema)
        properties = handler.resolve_ref_schema(schema).get("properties", {})
        for name, text in descriptions(cls).items():
            if name in properties:
                properties[name].setdefault("description", text)
        return schema


@cache
def descriptions(model: type[BaseModel]) -> dict[str, str]:
    """Returns the description of each field of a model that has one, its own or inherited."""
    bases = [base for base in reversed(model.__mro__) if issubclass(base, BaseModel) and base is not BaseModel]
    written = {name: text for base in bases for name, text in _classes(base.__module__).get(base.__name__, {}).items()}
    return {
        name: text for name, field in model.model_fields.items() if (text := field.description or written.get(name))
    }


@cache
def _classes(module: str) -> dict[str, dict[str, str]]:
    """Returns the docstrings below the attributes of each class of a module, by the names of both."""
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {node.name: dict(_described(node)) for node in tree.body if isinstance(node, ast.ClassDef)}


def _described(node: ast.ClassDef) -> list[tuple[str, str]]:
    """Returns the attributes of a class that have a docstring below them, with the docstring."""
    return [
        (field.target.id, inspect.cleandoc(text.value.value))
        for field, text in pairwise(node.body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and isinstance(text.value.value, str)
    ]
