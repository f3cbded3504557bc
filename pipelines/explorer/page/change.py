"""An example made into another: under another condition, with more of an attribute, at another β."""

from __future__ import annotations

from pipelines.explorer.page.chooser import Chooser, beta, told
from pipelines.explorer.page.results import Results
from pipelines.explorer.page.visit import Visit
from pipelines.explorer.page.widgets import Field, Html
from pipelines.explorer.views import Edit, Rate, Transfer

METHODS = [("means", "difference of means"), ("probe", "linear probe")]


def build(visit: Visit) -> None:
    """The view's cards."""
    view = visit.view
    with Html("div", classes="stack"):
        with Html("section", classes="card stack", aria_label=view.title):
            Html("h2", view.title)
            match view:
                case Transfer():
                    _transfer(visit, view)
                case Edit():
                    _edit(visit, view)
                case Rate():
                    beta(visit)
            if not isinstance(view, Transfer):
                told(visit)
        Chooser(visit, "Example")
        if isinstance(view, Transfer):
            Chooser(visit, "Or the style of this one", "other", also=lambda x: {"target": ""})
    Results(visit, "Answer")


def _transfer(visit: Visit, view: Transfer) -> None:
    subject = visit.subject
    if subject.conditions:
        options = [("", "of the example below"), *((name, name) for name in subject.conditions)]
        target = view.target or ("" if view.other else next(iter(subject.conditions)))
        field = Field("select", "Class or style", target, lambda chosen: visit.change(target=chosen), options)
        visit.on_shown.append(lambda shown: field.reset(next(iter(shown.call.asks[0].params.get("target", ())), "")))
    else:
        example = subject.any_condition
        Field("text", "Class or style", view.target, lambda text: visit.change(target=text), placeholder=example)


def _edit(visit: Visit, view: Edit) -> None:
    names = visit.subject.attributes
    options = [(name, name) for name in names]
    Field("select", "Attribute", view.attribute or names[0], lambda chosen: visit.change(attribute=chosen), options)
    Field(
        "range",
        "Strength",
        view.strength,
        lambda value: visit.change(strength=round(value, 2)),
        min=-4,
        max=4,
        step=0.05,
    )
    Field("select", "Direction", view.method, lambda chosen: visit.change(method=chosen), METHODS)
