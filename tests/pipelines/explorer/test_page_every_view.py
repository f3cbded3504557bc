"""Exports and accessibility of every view, in a real browser."""

from __future__ import annotations

import io
from typing import Any

import pandas as pd
import pytest

from tests.pipelines.explorer.browser import eventually, saved

pytestmark = [pytest.mark.slow, pytest.mark.ci]
EVERY_VIEW = [
    "/latent?x=row:3&moved=0:1.5",
    "/latent?model=wine&x=row:3",
    "/interpolate?x=row:1&other=row:2",
    "/repair?x=row:5&do=denoise&noise=0.2",
    "/repair?model=wine&do=impute&cells=%7B%22alcohol%22%3Anull%7D",
    "/transfer?model=digits-by-class&target=3",
    "/edit?attribute=class%3D3",
    "/rate?model=digits-any-rate&beta=0.3",
    "/compare?n=2",
]


@pytest.mark.parametrize("path", EVERY_VIEW)
def test_every_view_is_exported(path: str, visit: Any) -> None:
    """Every view has a PNG, a CSV of its panels, three lines of Python, and a link that leads to the same pictures."""
    page = visit(path)
    answer = page.locator(".results .exports")
    assert saved(page, "Save as PNG", -1 if "latent" in path else 0)[:4] == b"\x89PNG"
    frame = pd.read_csv(io.BytesIO(saved(page, "Save as CSV", -1 if "latent" in path else 0)))
    captions = page.locator(".answer figcaption, .answer thead th").all_inner_texts()
    assert set(frame["panel"]) <= set(captions)
    assert len(answer.locator("pre").text_content().splitlines()) == 3
    assert "load_model" in answer.locator("pre").text_content()
    again = visit(answer.get_by_role("link", name="Link to this view").get_attribute("href"))
    sources = [[image.get_attribute("src") for image in one.locator(".answer img").all()] for one in (page, again)]
    assert sources[0] == sources[1]
    assert again.locator(".answer .panels").inner_text() == page.locator(".answer .panels").inner_text()


@pytest.mark.parametrize("path", ["/latent", "/repair", "/interpolate", "/compare", "/repair?model=wine"])
def test_page_fits_a_phone(path: str, visit: Any) -> None:
    """Nothing is wider than 390 pixels, the answer is visible without scrolling, and the colours follow the system."""
    page = visit(path, viewport={"width": 390, "height": 844})
    for scheme, expected in (("light", "rgb(244, 245, 247)"), ("dark", "rgb(16, 20, 24)")):
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert page.locator(".answer h2").bounding_box()["y"] < 600
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == expected


CUT_OFF = """() => [...document.querySelectorAll(".answer, .answer *, pre")]
  .filter((e) => !["visible", "clip"].includes(getComputedStyle(e).overflowY) || e.tagName === "TABLE")
  .filter((e) => e.scrollHeight > e.clientHeight + 1 || e.scrollWidth > e.clientWidth + 1)
  .map((e) => e.outerHTML.slice(0, 90))"""


@pytest.mark.parametrize("path", ["/latent", "/compare", "/interpolate?model=wine", "/repair?x=row:5"])
def test_page_is_printed_whole(path: str, visit: Any) -> None:
    """On the width of A4 nothing is cut off, the lines of Python are printed, and a dark page has dark ink on white."""
    page = visit(path, viewport={"width": 718, "height": 1000}, color_scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate(CUT_OFF) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 718
    assert page.locator(".results pre").bounding_box()["height"] > 50
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(27, 35, 48)"
    assert page.pdf(format="A4").startswith(b"%PDF")


def test_path_of_a_table_has_a_column_for_each_point(visit: Any) -> None:
    """Every point has its column, and there is room for more than one."""
    page = visit("/interpolate?model=wine&n=4")
    assert page.locator(".answer thead th").all_inner_texts() == ["column", "0%", "33%", "67%", "100%"]
    assert page.locator(".answer .scroll").bounding_box()["width"] > 400


def test_light_and_dark_are_chosen(visit: Any) -> None:
    """The button turns the page dark; it stays so when the page is loaded again."""
    page = visit("/latent", color_scheme="light")

    def colour() -> str:
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    light, dark = colour(), "rgb(16, 20, 24)"
    assert light != dark
    page.get_by_role("button", name="Light / dark").click()
    eventually(colour, dark)
    page.reload()
    page.locator(".answer img[src]").first.wait_for()
    assert colour() == dark
    page.get_by_role("button", name="Light / dark").click()
    assert eventually(colour, light) == light


UNNAMED = """() => [...document.querySelectorAll("input, select, button, a, canvas, svg[tabindex], img")]
  .filter((e) => e.checkVisibility() && e.getBoundingClientRect().width > 1)
  .filter((e) => !(e.ariaLabel || e.labels?.length || e.innerText?.trim() || e.getAttribute("alt") !== null))
  .map((e) => e.outerHTML)"""


CONTRAST = """() => {
  const pen = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const luminance = (colour) => {
    pen.fillStyle = colour;
    pen.fillRect(0, 0, 1, 1);
    const linear = (v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    const [r, g, b] = [...pen.getImageData(0, 0, 1, 1).data].map((v) => linear(v / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (e) => {
    const colour = getComputedStyle(e).backgroundColor;
    return colour.endsWith(", 0)") ? behind(e.parentElement) : colour;
  };
  const ratio = (e) => {
    const [a, b] = [luminance(getComputedStyle(e).color), luminance(behind(e))];
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  };
  const texts = "h1, h2, small, p, label, output, button, nav a, figcaption, dt, dd, summary, td, th";
  return [...document.querySelectorAll(texts)]
    .filter((e) => e.checkVisibility() && e.innerText.trim() && ratio(e) < 4.5)
    .map((e) => [ratio(e), e.outerHTML.slice(0, 90)]);
}"""


@pytest.mark.parametrize("path", ["/latent", "/repair", "/transfer?model=digits-by-class", "/repair?model=wine"])
def test_everything_has_a_name_and_contrast(path: str, visit: Any) -> None:
    """Every control, link and picture has a name; text has a contrast of 4.5, in light and in dark."""
    page = visit(path)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate(UNNAMED) == []
        assert page.evaluate(CONTRAST) == []
    assert page.locator("html").get_attribute("lang") == "en-US"
    assert page.get_by_role("navigation").locator("[aria-current=page]").count() == 1


def test_keyboard_reaches_everything_in_order(visit: Any) -> None:
    """The tab key goes from the head over the views to the controls, downwards within each column."""
    page = visit("/repair")
    reached = []
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate(
                "(() => { const e = document.activeElement;"
                "const text = (o) => o?.innerText?.trim().split('\\n')[0];"
                "return e.ariaLabel || text(e.labels?.[0]) || text(e) || e.tagName })()"
            )
        )
    order = ["Skip to the view", "Model", "Seed", "Light / dark", "Latent", "Compare", "The model is to", "Upload an image",
             "Save as PNG", "The same in Python"]  # fmt: skip
    places = [reached.index(name) for name in order]
    assert places == sorted(places)
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
