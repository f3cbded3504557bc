"""Web application of the explorer, and its server on loopback."""

from __future__ import annotations

import os
import socket
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI, Request
from nicegui import ui

from pipelines.explorer.guard import App, Guard
from pipelines.explorer.models import Models
from pipelines.explorer.page.frame import show
from pipelines.explorer.page.visit import Explorer
from pipelines.explorer.views import VIEWS, Latent, View

HOST = "127.0.0.1"
PULL_SECONDS = 120
"""Seconds that a page may wait for its model."""


def application(models: Models, reference: str = "") -> App:
    """Returns the page behind its guard, once in a process: NiceGUI keeps its pages for all of it.

    Args:
        models: Source of the models.
        reference: Model that is shown first; by default the first champion.
    """
    # A thread for each core: more would only share the cores.
    threads = ThreadPoolExecutor(os.cpu_count() or 1, "betaline-explorer")
    explorer = Explorer(models, reference, threads)

    @asynccontextmanager
    async def lifespan(app: FastAPI):
        yield
        threads.shutdown(cancel_futures=True)

    app = FastAPI(lifespan=lifespan, openapi_url=None)
    ui.page("/", response_timeout=PULL_SECONDS)(_handler(explorer, Latent))
    for kind in VIEWS:
        ui.page(f"/{kind.name}", response_timeout=PULL_SECONDS)(_handler(explorer, kind))
    ui.run_with(app, title="betaline explorer", language="en-US", dark=None, tailwind=False, show_welcome_message=False)
    return Guard(app)


def _handler(explorer: Explorer, kind: type[View]) -> Callable[..., object]:
    async def handler(request: Request) -> None:
        await show(explorer, kind, dict(request.query_params))

    return handler


def serve(models: Models, reference: str, port: int, on_ready: Callable[[str], None]) -> None:
    """Serves the page on loopback until it is interrupted.

    Args:
        models: Source of the models.
        reference: Model that is shown first.
        port: Port to listen on; 0 lets the system choose.
        on_ready: Receives the address when it answers.
    """
    # NiceGUI looks for its server among all objects, and so touches a deprecated one of torch.
    warnings.filterwarnings("ignore", "`torch.distributed.reduce_op` is deprecated", FutureWarning)
    config = uvicorn.Config(application(models, reference), HOST, port, log_level="warning", ws_max_size=1 << 21)
    _Server(config, on_ready).run()


class _Server(uvicorn.Server):
    """A server that reports its address when it listens."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[str], None]) -> None:
        super().__init__(config)
        self.on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts to listen, and reports the address."""
        await super().startup(sockets)
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            self.on_ready(f"http://{host}:{port}")
