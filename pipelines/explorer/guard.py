"""Guard of the page against other sites and long requests, as plain ASGI for HTTP and WebSocket alike."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from starlette.requests import ClientDisconnect

from pipelines.explorer.kinds import MOST_BYTES

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
MOST_BODY = MOST_BYTES + (64 << 10)
"""Bytes of a request, at most: a file, and the form around it."""
TOO_LONG = f"at most {MOST_BODY:,} bytes"
HEADERS = {
    # Vue compiles its templates in the browser, which is evaluation; but nothing comes from anywhere else.
    "content-security-policy": (
        "default-src 'none'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}


class Guard:
    """An application that answers only programs of this machine and pages of this origin.

    Another site can let its name lead to 127.0.0.1, or open a WebSocket to it: the headers Host and Origin betray it.

    Args:
        app: Application behind the guard.
    """

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, or refuses it."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        if refusal := _refusal(headers):
            await _refuse(scope, receive, send, *refusal)
            return
        if scope["type"] == "websocket":
            await self.app(scope, receive, send)
            return
        body, started = _Body(receive), False

        async def answer(message: Message) -> None:
            nonlocal started
            if body.too_long and not started:
                return  # the answer of the application to a caller who seems gone
            if message["type"] == "http.response.start":
                started = True
                added = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*message.get("headers", ()), *added]}
            await send(message)

        try:
            await self.app(scope, body.receive, answer)
        except ClientDisconnect:
            if not body.too_long:
                raise
        if body.too_long and not started:
            await _refuse(scope, receive, send, 413, TOO_LONG)


class _Body:
    """Body of a request; one that is too long ends as if the caller had gone."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.bytes = 0
        self.too_long = False

    async def receive(self) -> Message:
        """Returns the next message of the caller."""
        if self.too_long:
            return {"type": "http.disconnect"}
        message = await self._receive()
        self.bytes += len(message.get("body", b""))
        if self.bytes > MOST_BODY:
            self.too_long = True
            return {"type": "http.disconnect"}
        return message


def _refusal(headers: dict[str, str]) -> tuple[int, str] | None:
    host = headers.get("host", "")
    if urlsplit(f"//{host}").hostname not in LOOPBACK:
        return 403, "this page is for its own machine: open it as http://127.0.0.1"
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != host:
        return 403, "a page of another site may not ask here"
    length = headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > MOST_BODY:
        return 413, TOO_LONG
    return None


async def _refuse(scope: Scope, receive: Receive, send: Send, status: int, words: str) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008})
        return
    body = words.encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
