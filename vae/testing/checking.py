"""`check_part`: finds the kind of a part, builds small models around it, and holds them to the laws."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, get_args

from pydantic import create_model
from torch import nn

from vae.config import RunConfig, parse
from vae.data.schema import ExampleSpec
from vae.errors import ConfigError, PartError
from vae.model import VAE
from vae.parts.bodies import BodyConfig
from vae.parts.corruptions import CorruptionConfig
from vae.parts.custom import OpenTo, address_of, imported
from vae.parts.likelihoods import LikelihoodConfig
from vae.parts.part import CUSTOM, Part
from vae.parts.posteriors import PosteriorConfig
from vae.parts.priors import PriorConfig
from vae.parts.regularizers import RegularizerConfig
from vae.testing import latents, likelihoods, objectives
from vae.testing.expecting import Broken
from vae.testing.laws import MODEL_LAWS
from vae.testing.models import ROWS, TABLE, images
from vae.training.lanes import refusal

PLACES: dict[str, Any] = {
    "encoder": BodyConfig,
    "decoder": BodyConfig,
    "posterior": PosteriorConfig,
    "prior": PriorConfig,
    "likelihood": LikelihoodConfig,
    "regularizers": RegularizerConfig,
    "corruption": CorruptionConfig,
}
"""Fields of the configuration that take parts, and their types."""
OF_IMAGES: dict[str, Any] = {"encoder": {"kind": "mlp", "hidden": [12, 8]}, "decoder": {"kind": "mlp", "hidden": [12]}}
OF_TABLES: dict[str, Any] = {
    "encoder": {"kind": "table", "hidden": [12]},
    "decoder": {"kind": "table", "hidden": [12]},
    "likelihood": {"kind": "mixed"},
}

Check = tuple[str, str, Callable[[], object]]
"""Setting in words, name of the law, and the check."""


def check_part(
    part: type | str,
    args: Mapping[str, Any] | None = None,
    *,
    place: str | None = None,
    shape: tuple[int, int, int] = (2, 8, 6),
    model: Mapping[str, Any] | None = None,
) -> tuple[str, ...]:
    """Checks that a part of a model or an objective obeys the laws of its kind; takes a few seconds.

    ```python
    check_part("mypackage.nets:Encoder", {"width": 8})
    ```

    Args:
        part: Class, or its address.
        args: Arguments of the class.
        place: Field of the configuration that the part is for, such as `decoder`; by default found from its base, and for a
            torch module from the number of sizes that it takes.
        shape: Channels, height and width of the images on which it is checked.
        model: Other fields of the section `model`, for a part that needs certain neighbours.

    Returns:
        Names of the laws that the part was held to.

    Raises:
        ConfigError: If the part cannot be found, or is of no kind.
        PartError: If it breaks a law. Each line names the part, the law, the expected and the found.
    """
    found, args = _class_of(part), args or {}
    place = place or _place_of(found, args)
    subject = Subject(_part_of(found, args, place), place, shape, model or {})
    held, broken = dict[str, None](), dict[str, None]()
    for setting, law, check in subject.checks():
        held[law] = None
        if problem := _problem(check):
            broken[f"{address_of(found)}{setting}: {law}: {problem}"] = None
    if broken:
        raise PartError("\n".join(broken))
    return tuple(held)


def _class_of(part: type | str) -> type:
    try:
        return imported(part, "check_part") if isinstance(part, str) else part
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _problem(check: Callable[[], object]) -> str | None:
    """Returns what a check finds amiss; None if it passes."""
    try:
        check()
    except Broken as error:
        return str(error)
    except Exception as error:
        first = str(error).strip().split("\n")[0]
        return f"expected it to run, got {type(error).__name__}: {first}"
    return None


def _place_of(found: type, args: Mapping[str, Any]) -> str:
    """Returns the field of the configuration that a class is for.

    Raises:
        ConfigError: If it is of no kind.
    """
    bases = {place: _open(kind).base for place, kind in PLACES.items()}
    for place, base in bases.items():
        if issubclass(found, base):
            return place
    if issubclass(found, nn.Module):
        sizes = [
            one.name
            for one in inspect.signature(found).parameters.values()
            if one.default is one.empty and one.kind is one.POSITIONAL_OR_KEYWORD and one.name not in args
        ]
        if len(sizes) in (1, 2):
            return ("encoder", "decoder")[len(sizes) - 1]
        raise ConfigError(
            f"check_part: {address_of(found)} takes {', '.join(sizes) or 'no sizes'}; an encoder takes (shape, **args), "
            "a decoder (latent_dim, shape, **args); give the other arguments in args"
        )
    names = ", ".join(sorted({base.__name__ for base in bases.values()}))
    raise ConfigError(f"check_part: {address_of(found)} is no part; expected a torch module, or a subclass of {names}")


def _open(kind: Any) -> OpenTo:
    """Returns what opens a union of parts to a user's own."""
    return next(one for one in get_args(kind)[1:] if isinstance(one, OpenTo))


def _part_of(found: type, args: Mapping[str, Any], place: str) -> Part:
    """Returns the part, as a configuration reads it.

    Raises:
        ConfigError: If its arguments are refused.
    """
    value: dict[str, Any] = {"kind": CUSTOM, "target": found, "args": args}
    if found.__module__.startswith("vae.parts."):
        value = {"kind": found.model_fields["kind"].default, **args}  # pyright: ignore[reportAttributeAccessIssue]
    fields: dict[str, Any] = {place: (PLACES[place], ...)}
    section: Any = create_model("Part", **fields)
    return getattr(parse(section, {place: value}, "check_part"), place)


@dataclass(frozen=True)
class Subject:
    """A part among neighbours that it goes with."""

    part: Any
    place: str
    shape: tuple[int, int, int]
    neighbours: Mapping[str, Any]
    """Fields of the section `model`."""

    @property
    def is_table(self) -> bool:
        """Whether the part is of tables."""
        return getattr(self.part, "data_kind", "image") == "table"

    @property
    def examples(self) -> ExampleSpec:
        """Facts of the data of the models."""
        return TABLE if self.is_table else images(self.shape)

    def beside(self) -> dict[str, Any]:
        """Returns the posterior or the prior that goes with the part."""
        if self.place == "posterior":
            if self.part.has_codes:
                return {"prior": {"kind": "autoregressive_codes", "hidden": 8}}
            return {"prior": {"kind": "hierarchical", "groups": 2, "hidden": 8}} if self.part.has_groups else {}
        if self.place == "prior":
            if self.part.of_codes:
                return {"posterior": {"kind": "vector_quantized", "codes": 16, "code_dim": 2}}
            return {"posterior": {"kind": "ladder", "hidden": 8}} if self.part.num_groups else {}
        return {}

    def run(self, condition: tuple[str, ...] = ()) -> RunConfig:
        """Returns the configuration of a small model with the part in its place.

        Raises:
            ConfigError: If the part refuses it.
        """
        objective, own = {}, {self.place: self.part}
        if self.place in ("regularizers", "corruption"):
            objective, own = {self.place: (self.part,) if self.place == "regularizers" else self.part}, {}
        fitting = OF_TABLES if self.is_table else OF_IMAGES
        values = {"latent_dim": 4, "condition": condition, **fitting, **self.beside(), **own, **self.neighbours}
        run = parse(RunConfig, {"model": values, "objective": objective}, "check_part")
        run.objective.check_fits(run.model, ROWS)
        return run

    def checks(self) -> Iterator[Check]:
        """Yields every check of the part."""
        for condition in ((), ("class",)):
            try:
                run = self.run(condition)
            except ConfigError:
                if not condition:
                    raise
                continue  # it says that it takes none
            setting = " with a condition" if condition else ""
            make = partial(VAE, run.model, self.examples)
            yield from ((setting, named(law), partial(law, make)) for law in MODEL_LAWS)
            if refusal(run) is None:
                law = objectives.a_lane_is_the_model_alone
                yield setting, named(law), partial(law, make, run.objective)
        for law, given in self._of_its_kind():
            yield "", named(law), partial(_held, law, given)

    def _of_its_kind(self) -> Iterator[tuple[Callable[..., object], Callable[[], tuple[Any, ...]]]]:
        """Yields each law of the part's kind, and a function that gives what it is about."""
        part = self.part
        match self.place:
            case "likelihood":
                laws = likelihoods.LIKELIHOOD_LAWS + likelihoods.FACTORISED_LAWS * part.is_factorised
                spec = TABLE if self.is_table else likelihoods.IMAGES
                yield from ((law, lambda: (likelihoods.case_of(part, spec),)) for law in laws)
            case "prior":
                laws = latents.CODE_LAWS if part.of_codes else latents.DENSITY_LAWS
                beside = {**self.beside(), **self.neighbours}
                yield from ((law, lambda: (latents.prior_case(part, part.of_codes, **beside),)) for law in laws)
            case "posterior" if not part.has_codes:
                beside = {**self.beside(), **self.neighbours}
                yield from ((law, lambda: (latents.posterior_case(part, **beside),)) for law in latents.POSTERIOR_LAWS)
            case "corruption":
                x_BCHW = objectives.pixels(self.shape)
                yield from ((law, lambda: (part, x_BCHW)) for law in objectives.CORRUPTION_LAWS)
            case "regularizers" if not part.has_optimizer:
                make = partial(VAE, self.run().model, self.examples)
                yield objectives.a_penalty_is_a_finite_number_with_gradients, lambda: (part, make)
            case _:
                pass


def _held(law: Callable[..., object], given: Callable[[], tuple[Any, ...]]) -> None:
    law(*given())


def named(law: Callable[..., object]) -> str:
    """Returns the name of a law in words."""
    return law.__name__.replace("_", " ")
