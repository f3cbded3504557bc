"""Two versions on the same rows."""

from __future__ import annotations

from pipelines.explorer.page.results import Results
from pipelines.explorer.page.visit import Visit
from pipelines.explorer.page.widgets import Field, Html
from pipelines.explorer.views import Compare


def build(visit: Visit) -> None:
    """The view's cards."""
    view, offer = visit.view, visit.subject.offer
    assert isinstance(view, Compare)
    others = [one for one in visit.explorer.models.offers() if one.reference != offer.reference]
    options = [("", "the challenger, or the newest")]
    options += [(one.reference, one.label) for one in others]
    with Html("section", classes="card stack", aria_label="Compare"):
        Html("h2", f"{offer.reference} against")
        against = next((one.reference for one in others if one.is_meant_by(view.against)), "")
        Field("select", "Second model", against, lambda chosen: visit.change(against=chosen), options)
        Field("range", "Rows, by the seed", view.n, lambda value: visit.change(n=int(value)), min=1, max=24, step=1)
        Field(
            "number", "Draws for log p(x)", view.draws, lambda text: visit.change(draws=text), min=1, max=5000, step=1
        )
        Html(
            "p", "Each row as it is, as either model reconstructs it, and log p(x): how likely either finds it.", "fine"
        )
    Results(visit, "Side by side")
