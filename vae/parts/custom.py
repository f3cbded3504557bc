"""Parts of a user's own: `kind: custom`, found by the address of a class, with its arguments.

The class is either a subclass of the base of its kind, like every built-in part, or for encoder and decoder a torch module:

encoder: `Encoder(shape, **args)`, called with examples [B,*shape], returns features [B,F].
decoder: `Decoder(latent_dim, shape, **args)`, called with latents [B,L], returns parameters [B,*shape] of the likelihood.

Shapes: B batch, F features, L latent.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from typing import Any

from pydantic import GetCoreSchemaHandler, ValidationError, ValidationInfo
from pydantic_core import core_schema
from torch import nn

from vae.errors import did_you_mean
from vae.parts.part import CUSTOM, Part


class OpenTo:
    """Annotation of a union of parts that opens it to subclasses of their base.

    Args:
        base: Base of the parts.
        section: Section of the configuration in messages, such as `model`.
        modules: Part that makes a part of a torch module; None for a kind that takes none.
    """

    def __init__(self, base: type[Part], section: str, modules: type[Part] | None = None) -> None:
        self.base, self.section, self.modules = base, section, modules

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        inner = handler(source)
        written = core_schema.wrap_serializer_function_ser_schema(_written, schema=inner)
        return core_schema.with_info_wrap_validator_function(self._read, inner, serialization=written)

    def _read(self, value: Any, handler: Any, info: ValidationInfo) -> Any:
        if isinstance(value, self.base) and value.kind == CUSTOM:
            return value
        if not isinstance(value, Mapping) or value.get("kind") != CUSTOM:
            return handler(value)
        where = f"{self.section}.{info.field_name}"
        if unknown := [name for name in value if name not in ("kind", "target", "args")]:
            raise ValueError(f"{where}: {unknown[0]}: unknown key; a custom part has target and args")
        return self._made(value.get("target"), dict(value.get("args") or {}), where)

    def _made(self, target: Any, args: dict[str, Any], where: str) -> Part:
        """Returns the part of a class, or of its address."""
        found = target if isinstance(target, type) else imported(target, where)
        address, is_module = address_of(found), issubclass(found, nn.Module)
        if found.__module__ == "__main__":
            raise ValueError(
                f"{where}: {found.__qualname__} is defined in the program or notebook itself, where workers and later "
                f"sessions cannot import it; put it into a file, such as parts.py, and give parts:{found.__qualname__}"
            )
        try:
            if is_module and self.modules is not None:
                return self.modules(target=address, args=args)  # pyright: ignore[reportCallIssue]
            if issubclass(found, self.base):
                return _checked(found(**args), where)
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            names = ".".join(map(str, problem["loc"]))
            hint = did_you_mean(names, found.model_fields) if problem["type"] == "extra_forbidden" else ""
            raise ValueError(
                f"{where}: {address}: args.{names}: {problem['msg']}{hint}, got {problem['input']!r}"
            ) from None
        modules = " or a torch module" if self.modules else ""
        raise ValueError(f"{where}: expected a subclass of {address_of(self.base)}{modules}, got {address}")


def _checked(part: Part, where: str) -> Part:
    if part.kind != CUSTOM:
        raise ValueError(
            f"{where}: {address_of(type(part))} has the kind {part.kind!r} of the part that it extends; add the field "
            'kind: Literal["custom"] = "custom"'
        )
    return part


def _written(part: Any, handler: Any) -> Any:
    """Returns a part as plain values, from which it is read again."""
    if not isinstance(part, Part) or part.kind != CUSTOM:
        return handler(part)
    values = part.model_dump(mode="json", exclude={"kind"})
    return {"kind": CUSTOM, **(values if "target" in values else {"target": address_of(type(part)), "args": values})}


def address_of(kind: type) -> str:
    """Returns the address of a class, such as `mypackage.nets:Encoder`."""
    return f"{kind.__module__}:{kind.__qualname__}"


def imported(target: Any, where: str) -> type:
    """Returns the class at an address.

    Raises:
        ValueError: If the module cannot be imported, or has no such class.
    """
    found = found_at(target, f"{where}: target")
    if not inspect.isclass(found):
        raise ValueError(f"{where}: {target} is a {type(found).__name__}, expected a class")
    return found


def found_at(target: Any, where: str) -> Any:
    """Returns the object at an address.

    Raises:
        ValueError: If the module cannot be imported, or has no such object.
    """
    module, colon, name = str(target).partition(":")
    if not colon or not module or not name:
        raise ValueError(f"{where}: expected module:Class, such as mypackage.nets:Encoder, got {target!r}")
    try:
        found: Any = importlib.import_module(module)
    except ImportError as error:
        raise ValueError(
            f"{where}: {target}: {error}; install the package, or start in its folder or with that on PYTHONPATH"
        ) from None
    for part in name.split("."):
        if not hasattr(found, part):
            raise ValueError(f"{where}: module {module} has no {name}{did_you_mean(part, vars(found))}")
        found = getattr(found, part)
    return found
