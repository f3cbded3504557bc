"""Cards of the views that have only controls and a choice of examples."""

from __future__ import annotations

from pipelines.explorer.page.chooser import Chooser, add_beta, add_condition
from pipelines.explorer.page.results import Results
from pipelines.explorer.page.visit import Visit
from pipelines.explorer.page.widgets import Field, Html, card
from pipelines.explorer.views import Edit, Transfer

METHODS = [("means", "difference of means"), ("probe", "linear probe")]
PATHS = [
    ("linear", "straight"),
    ("spherical", "spherical: keeps the distance from the origin"),
    ("geodesic", "geodesic: the decoder changes least"),
]


def path(visit: Visit) -> None:
    """Adds the cards of a path from one example to another."""
    with Html("div", classes="stack"):
        Chooser(visit, "From")
        Chooser(visit, "To", "other")
        with card("Interpolation"):
            visit.field("select", "Path", "path", PATHS)
            visit.field("range", "Points", "n", min=2, max=24, step=1)
            add_condition(visit)
    Results(visit, "Points of the path", strip=True)


def change(visit: Visit) -> None:
    """Adds the cards of an example under another condition, with more of an attribute, or at another β."""
    view, is_transfer = visit.view, isinstance(visit.view, Transfer)
    with Html("div", classes="stack"):
        with card(view.title):
            if is_transfer:
                _transfer(visit)
            elif isinstance(view, Edit):
                names = visit.subject.attributes
                visit.field("select", "Attribute", "attribute", [(name, name) for name in names], names[0])
                visit.field("range", "Strength", "strength", min=-4, max=4, step=0.05)
                visit.field("select", "Direction", "method", METHODS)
            else:
                add_beta(visit)
            if not is_transfer:
                add_condition(visit)
        Chooser(visit, "Example")
        if is_transfer:
            Chooser(visit, "Or the style of this example", "other", also=lambda x: {"target": ""})
    Results(visit, "Answer")


def _transfer(visit: Visit) -> None:
    subject, view = visit.subject, visit.view
    if not subject.conditions:
        visit.field("text", "Class or style", "target", placeholder=subject.any_condition)
        return
    options = [("", "that of the example below"), *((name, name) for name in subject.conditions)]
    field = visit.field("select", "Class or style", "target", options, "" if view.other else subject.conditions[0])
    visit.on_shown.append(lambda shown: field.reset(next(iter(shown.call.asks[0].params.get("target", ())), "")))


def compare(visit: Visit) -> None:
    """Adds the cards of two versions on the same rows."""
    view, offer = visit.view, visit.subject.offer
    others = [one for one in visit.explorer.models.offers() if one.reference != offer.reference]
    against = next((one.reference for one in others if one.is_meant_by(view.against)), "")
    options = [("", "the challenger, or the newest"), *((one.reference, one.label) for one in others)]
    with card(f"Compare {offer.reference} with"):
        Field("select", "Second model", against, lambda chosen: visit.change(against=chosen), options)
        visit.field("range", "Rows, by the seed", "n", min=1, max=24, step=1)
        visit.field("number", "Draws for log p(x)", "draws", min=1, max=5000, step=1)
        Html(
            "p",
            "Each row, its reconstruction by either model, and log p(x): its log-likelihood by either model.",
            "fine",
        )
    Results(visit, "Side by side")
