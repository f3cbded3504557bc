"""Progress of a call in this process: a bar in a terminal or a notebook, a line every 10 s elsewhere."""

from __future__ import annotations

import html
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console

from pipelines.cli.live import watched
from pipelines.cluster.progress import Meter
from vae.progress import Progress, listening


@contextmanager
def drawn(title: str, *, show: bool, call: str = "fit") -> Iterator[None]:
    """Shows the progress of the block, if `show`."""
    if not show:
        yield
    elif _is_notebook():
        with _in_notebook():
            yield
    else:
        with watched(f"vae.{call} {title}", Console(stderr=True), call):
            yield


def _is_notebook() -> bool:
    """Returns whether this process answers a notebook; IPython is not imported for it."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and hasattr(shell, "kernel")


@contextmanager
def _in_notebook() -> Iterator[None]:
    from IPython.display import HTML, display  # pyright: ignore[reportMissingImports]

    meter = Meter()
    handle: Any = display(HTML("<progress></progress>"), display_id=True)

    def draw(position: Progress) -> None:
        meter.take(position)
        value = "" if meter.share is None else f" value={meter.share:.4f}"
        handle.update(HTML(f"<progress{value}></progress> {html.escape(meter.words())}"))

    with listening(draw):
        yield
    handle.update(HTML(""))
