"""The way from one example to another."""

from __future__ import annotations

from pipelines.explorer.page.chooser import Chooser, told
from pipelines.explorer.page.results import Results
from pipelines.explorer.page.visit import Visit
from pipelines.explorer.page.widgets import Field, Html
from pipelines.explorer.views import Path

PATHS = [
    ("linear", "straight"),
    ("spherical", "spherical: keeps the distance from the origin"),
    ("geodesic", "geodesic: the decoder changes least"),
]


def build(visit: Visit) -> None:
    """The view's cards."""
    view = visit.view
    assert isinstance(view, Path)
    with Html("div", classes="stack"):
        Chooser(visit, "From")
        Chooser(visit, "To", "other")
        with Html("section", classes="card stack", aria_label="Way"):
            Html("h2", "Way")
            Field("select", "Path", view.path, lambda chosen: visit.change(path=chosen), PATHS)
            Field("range", "Points", view.n, lambda value: visit.change(n=int(value)), min=2, max=24, step=1)
            told(visit)
    Results(visit, "On the way", strip=True)
