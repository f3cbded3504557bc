"""Frame of every page: the head with the choice of model, links to the other views, and the view below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path as Folder

from nicegui import ui

from pipelines.explorer.looking import refusal_of
from pipelines.explorer.models import Offer, Subject
from pipelines.explorer.page import cards, latent, repair
from pipelines.explorer.page.visit import REFUSED, Explorer, Visit
from pipelines.explorer.page.widgets import Field, Html
from pipelines.explorer.views import VIEWS, Compare, Latent, Path, Repair, View, moved_to, read_view
from vae.errors import RegistryError

STYLE = Folder(__file__).with_name("style.css")
REMEMBERED_THEME = "const t = localStorage.getItem('theme'); if (t) document.documentElement.dataset.theme = t;"
CHANGE_THEME = """() => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
  root.dataset.theme = dark ? 'light' : 'dark';
  localStorage.setItem('theme', root.dataset.theme);
}"""


async def show(explorer: Explorer, kind: type[View], query: Mapping[str, str]) -> None:
    """Builds the page of one visitor."""
    ui.add_head_html(f"<script>{REMEMBERED_THEME}</script><style>{STYLE.read_text()}</style>")
    try:
        view = read_view(kind.name, query)
        offers = await explorer.run(explorer.models.offers)
        subject = await explorer.run(explorer.models.pull, view.model or explorer.reference or _first(offers))
    except REFUSED as error:
        _sorry(str(error))
        return
    view = view if view.model else view.model_copy(update={"model": subject.offer.reference})
    visit = Visit(explorer, view, subject)
    _head(visit, offers)
    with Html("div", classes=f"view {kind.name}", id="content"):
        if refusal := refusal_of(kind, subject):
            Html("p", f"{kind.title}: {refusal}.", "refusal wide", role="alert")
            return
        if kind is Latent:
            await latent.build(visit)
        else:
            {Path: cards.path, Repair: repair.build, Compare: cards.compare}.get(kind, cards.change)(visit)
    await visit.refresh()


def _head(visit: Visit, offers: Sequence[Offer]) -> None:
    view, offer = visit.view, visit.subject.offer
    with Html("header"):
        Html("a", "Skip to the view", "unseen", href="#content")
        with Html("div", classes="top"):
            with Html("h1", offer.name):
                Html("small", _described(visit.subject))
            listed = [(one.reference, one.label) for one in offers]
            Field("select", "Model", offer.reference, lambda chosen: _to_model(visit, chosen), listed)
            Field("number", "Seed", view.seed, lambda text: visit.change(seed=text or 0), min=0, step=1)
            Html("button", "Light / dark", type="button").on("click", js_handler=CHANGE_THEME)
        with Html("nav", aria_label="Views"):
            for kind in VIEWS:
                cannot = refusal_of(kind, visit.subject)
                link = Html("a", kind.title, "cannot" if cannot else "", href=moved_to(view, kind).link, title=cannot)
                link.set(aria_current="page" if kind is type(view) else None)
                # The link carries over the choices made since the page was built.
                link.on("click.prevent", lambda _, kind=kind: ui.navigate.to(moved_to(visit.view, kind).link), args=[])


def _described(subject: Subject) -> str:
    what = subject.kind.described(subject.shape)
    aliases = "".join(f" @{alias}" for alias in subject.offer.aliases)
    return f"version {subject.offer.version}{aliases}: {what}, {subject.model.config.latent_dim} latent dimensions"


def _to_model(visit: Visit, reference: str) -> None:
    """Opens the same view of another model, with the same example if its name is the same."""
    view, kept = visit.view, {"seed"}
    if reference.rpartition("/")[0] == visit.subject.offer.name:
        kept |= {"x", "condition"}
    ui.navigate.to(type(view)(model=reference, **view.model_dump(include=kept)).link)


def _first(offers: Sequence[Offer]) -> str:
    if not offers:
        raise RegistryError("no model is registered yet; `betaline run` trains and registers one")
    return next((offer for offer in offers if "champion" in offer.aliases), offers[0]).reference


def _sorry(words: str) -> None:
    with Html("div", classes="view", id="content"), Html("div", classes="card wide"):
        Html("h1", "betaline explorer")
        Html("p", words, "refusal", role="alert")
        Html("a", "Start again", href="/")
