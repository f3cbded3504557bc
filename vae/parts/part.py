"""The base of every section of a configuration, and of every part of a model or an objective.

A part is one file: its configuration, its module, its summary, its reference, and what it does not fit. It states *traits*
(class attributes such as `has_codes` or `data_kind`), and the rest of the code asks for those, never for its class. Adding
one takes its file, its line in the union of its kind, and its line in the lists of `tests/laws/parts.py`.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field

from vae.parts.described import Described

CUSTOM = "custom"
"""Kind of a part that is a user's own: see `vae.parts.custom`."""

Positive = Annotated[int, Field(gt=0)]
HiddenUnits = Annotated[tuple[Positive, ...], Field(min_length=1)]


class Section(Described):
    """A section of a configuration: frozen, keyword-only, no unknown keys, no NaN or infinity."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Part(Section):
    """A choice among the parts of one kind, told apart by the field `kind`."""

    kind: str = CUSTOM
    """Name of the choice."""
    requirements: ClassVar[tuple[str, ...]] = ()
    """Packages that a registered model with this part needs beside those of every model."""
    not_stackable: ClassVar[str | None] = None
    """Reason why a model with this part cannot train as a lane of a stack; None where it can."""

    @property
    def lane_refusal(self) -> str | None:
        """Reason why a model with this part cannot train as a lane; None where it can, which a custom part has to say."""
        own = type(self).__mro__[: type(self).__mro__.index(Part)]
        if self.kind == CUSTOM and not any("not_stackable" in vars(kind) for kind in own):
            return f"{type(self).__name__} does not say that it can train as a lane of a stack: not_stackable = None"
        return self.not_stackable

    @property
    @abstractmethod
    def summary(self) -> str:
        """One line for a report, with the settings that matter."""
