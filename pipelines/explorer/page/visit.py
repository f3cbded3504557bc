"""One visitor on one page: what is looked at, and its computing in threads beside the server's own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, TypeVar

from nicegui import ui

from pipelines.explorer.looking import Shown, look
from pipelines.explorer.models import Models, Subject
from pipelines.explorer.views import View
from vae.config import parse
from vae.errors import BetalineError

T = TypeVar("T")
REFUSED = (ValueError, BetalineError)
"""What explains itself to a person; anything else is a fault."""


@dataclass(frozen=True)
class Explorer:
    """What all visitors share: the models, and threads to compute in."""

    models: Models
    reference: str
    threads: Executor

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """A function's result, computed beside the server's loop."""
        return await asyncio.get_running_loop().run_in_executor(self.threads, function, *arguments)


class Latest:
    """Does something whenever it is asked for; of what is asked for while it goes on, the latest alone: a slider that is
    moved quickly is followed, and not replayed.

    Args:
        do: What.
    """

    def __init__(self, do: Callable[[], Awaitable[None]]) -> None:
        self._do = do
        self._wanted = self._done = 0
        self._busy = False

    async def __call__(self) -> None:
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
    """A view, whoever draws it, and the latest answer. Nothing of it is shared with another visitor.

    Args:
        explorer: Models and threads.
        view: What is looked at first.
        subject: The model it names.
    """

    def __init__(self, explorer: Explorer, view: View, subject: Subject) -> None:
        self.explorer = explorer
        self.view = view
        self.subject = subject
        self.shown: Shown | None = None
        self.on_shown: list[Callable[[Shown], None]] = []
        self.on_refused: Callable[[str], None] = lambda words: None
        self._latest = Latest(self._look)

    async def change(self, **fields: Any) -> None:
        """Looks at the same view with some fields changed."""
        values = self.view.model_dump(mode="json", exclude_defaults=True)
        try:
            self.view = parse(type(self.view), {**values, **fields}, "page")
        except REFUSED as error:
            self.on_refused(str(error))
            return
        await self.refresh()

    async def refresh(self) -> None:
        """Computes what is looked at now."""
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
