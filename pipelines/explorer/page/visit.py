"""A visitor on one page: the view, and its computing in threads beside the server's own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, TypeVar

from nicegui import ui

from pipelines.explorer.looking import Shown, look
from pipelines.explorer.models import Models, Subject
from pipelines.explorer.page.widgets import Field
from pipelines.explorer.views import View
from vae.config import parse
from vae.errors import BetalineError

T = TypeVar("T")
REFUSED = (ValueError, BetalineError)
"""Errors whose message is shown to the visitor; any other error is a fault."""


@dataclass(frozen=True)
class Explorer:
    """Models and computing threads, which all visitors share."""

    models: Models
    reference: str
    threads: Executor

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """Returns the result of a function, computed beside the server's loop."""
        return await asyncio.get_running_loop().run_in_executor(self.threads, function, *arguments)


class Latest:
    """An action that skips requests: of those that come while it runs, only the latest is done.

    A slider that is moved quickly is followed and not replayed.

    Args:
        do: The action.
    """

    def __init__(self, do: Callable[[], Awaitable[None]]) -> None:
        self._do = do
        self._wanted = self._done = 0
        self._busy = False

    async def __call__(self) -> None:
        """Does the action, unless it runs: then once more when it is done."""
        self._wanted += 1
        if self._busy:
            return
        self._busy = True
        try:
            while self._done != self._wanted:
                self._done = self._wanted
                await self._do()
        finally:
            self._busy = False


class Visit:
    """A view, the parts of the page that follow it, and its latest answer. Visitors share nothing of it.

    Args:
        explorer: Models and threads.
        view: First view.
        subject: Model that the view names.
    """

    def __init__(self, explorer: Explorer, view: View, subject: Subject) -> None:
        self.explorer = explorer
        self.view: Any = view
        self.subject = subject
        self.shown: Shown | None = None
        self.on_shown: list[Callable[[Shown], None]] = []
        self.on_refused: Callable[[str], None] = lambda words: None
        self._latest = Latest(self._look)

    def field(
        self, kind: str, label: str, name: str, options: Sequence[tuple[str, str]] = (), value: Any = None, **named: Any
    ) -> Field:
        """Adds a control for a field of the view; `value` is shown instead of an empty one."""
        current = getattr(self.view, name)
        value = current if current or value is None else value
        return Field(kind, label, value, lambda chosen: self.change(**{name: chosen}), options, **named)

    async def change(self, **fields: Any) -> None:
        """Changes some fields of the view and computes its answer."""
        values = self.view.model_dump(mode="json", exclude_defaults=True)
        try:
            self.view = parse(type(self.view), {**values, **fields}, "page")
        except REFUSED as error:
            self.on_refused(str(error))
            return
        await self.refresh()

    async def refresh(self) -> None:
        """Computes the answer of the view."""
        await self._latest()
        ui.navigate.history.replace(self.view.link if self.view.shareable else f"/{self.view.name}")

    async def _look(self) -> None:
        try:
            shown = await self.explorer.run(look, self.view, self.subject, self.explorer.models)
        except REFUSED as error:
            self.on_refused(str(error))
            return
        self.shown = shown
        self.on_refused("")
        for draw in self.on_shown:
            draw(shown)
