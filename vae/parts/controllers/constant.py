"""A constant β."""

from __future__ import annotations

from typing import ClassVar, Literal

from vae.parts.controllers.controller import ControllerPart


class Constant(ControllerPart):
    """The same β at every step."""

    is_scheduled: ClassVar[bool] = True

    kind: Literal["constant"] = "constant"

    @property
    def summary(self) -> str:
        return ""
