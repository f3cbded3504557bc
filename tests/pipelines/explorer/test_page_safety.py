"""Hostile input and many visitors at once, in a real browser."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from pipelines.explorer.mapping import Map, chart
from pipelines.explorer.models import Subject
from pipelines.explorer.views import Latent
from tests.pipelines.explorer.browser import ask, choose, pixels, shows, slide, upload
from tests.pipelines.explorer.conftest import HOSTILE, Shelf

pytestmark = [pytest.mark.slow, pytest.mark.ci]


def test_view_that_a_model_cannot_show_is_refused(visit: Any) -> None:
    """The refusal of `predict` stands instead of a view that does not work."""
    page = visit("/transfer?model=digits/1", wait=".refusal:not(:empty)")
    assert "this model takes no condition" in page.get_by_role("alert").first.inner_text()


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/latent?sed=1", "did you mean `seed`"),
        ("/latent?model=nobody", "no model 'nobody'"),
        ("/latent?x=row:99999", "no row '99999'"),
        ("/repair?x=png:AAAA", "cannot be used"),
        (f"/latent?model={HOSTILE}", "no model"),
        ("/latent?moved=<script>window.harmed=1</script>", "moved must be DIMENSION:VALUE"),
    ],
)
def test_link_that_says_nonsense_is_refused(path: str, words: str, visit: Any) -> None:
    """The refusal is shown as text, and says what would do."""
    page = visit(path, wait=".refusal:not(:empty)")
    assert words in page.locator(".refusal:not(:empty)").first.inner_text()
    assert page.evaluate("window.harmed") is None


HOSTILE_FILES = {
    "page.png": b"<script>window.harmed=1</script>",
    "model.pkl.png": b"\x80\x04\x95" + b"x" * 50,
    '<img src=x onerror="window.harmed=1">.png': b"nothing",
}


def test_hostile_upload_is_refused(visit: Any) -> None:
    """A file of a wrong type, or with a script for a name, is refused as text; the page stays as it was."""
    page = visit("/repair?x=row:5")
    before = pixels(page, "given")
    note = page.locator(".fine[role=status]")
    for name, data in HOSTILE_FILES.items():
        upload(page, name, data)
        said = note.filter(has_text=name.partition('"')[0])  # browsers write quotes in names as %22
        said.filter(has_text="not a PNG").wait_for()
        assert note.locator("img, script").count() == 0
        assert np.array_equal(pixels(page, "given"), before)
        assert page.evaluate("window.harmed") is None


UPLOAD = "Object.values(mounted_app.elements).find((e) => e.props?.url).props.url"


def test_huge_upload_is_refused(visit: Any, site: str, tmp_path: Path) -> None:
    """The browser refuses it before it is sent; the server refuses 50 MB, with and without a content length."""
    page = visit("/repair?x=row:5")
    before = pixels(page, "given")
    huge = tmp_path / "huge.png"
    huge.write_bytes(bytes(50_000_000))
    page.locator("input[type=file]").set_input_files(huge)
    page.locator(".fine[role=status]").filter(has_text="more than 8 MiB").wait_for()
    url = site + page.evaluate(UPLOAD)
    assert httpx.post(url, files={"file": ("a.png", bytes(50_000_000))}).status_code == 413
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
    with suppress(httpx.TransportError):  # the server may hang up on a caller that goes on
        chunks = iter([head, *[bytes(1 << 20)] * 50, b"\r\n--b--\r\n"])
        kind = {"content-type": "multipart/form-data; boundary=b"}
        assert httpx.post(url, content=chunks, headers=kind).status_code == 413
    assert np.array_equal(pixels(page, "given"), before)


def test_hostile_class_names_are_text(visit: Any) -> None:
    """They are text in choices, captions and the map."""
    page = visit("/transfer?model=hostile&x=row:1")
    choose(page, "Class or style", HOSTILE)
    page.locator("figcaption", has_text="as <img").wait_for()
    page.goto("/latent?model=hostile")
    page.locator(".legend li", has_text="<script>").wait_for()
    assert page.evaluate("window.harmed") is None


def test_only_this_machine_may_ask(site: str) -> None:
    """A name that leads to loopback, and a page of another site, are refused; a policy says what the page may load."""
    port = site.rpartition(":")[2]
    assert httpx.get(f"{site}/latent", headers={"host": f"evil.example:{port}"}).status_code == 403
    assert httpx.get(f"{site}/latent", headers={"origin": "http://evil.example"}).status_code == 403
    assert httpx.get(f"{site}/latent", headers={"host": f"127.0.0.1.evil.example:{port}"}).status_code == 403
    socket = f"{site}/_nicegui_ws/socket.io/?EIO=4&transport=polling"
    assert httpx.get(socket, headers={"origin": "http://evil.example"}).status_code == 403
    answer = httpx.get(f"{site}/latent", headers={"host": f"localhost:{port}"})
    assert answer.status_code == 200
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_twenty_visitors_get_their_own_answers(browser: Any, site: str, shelf: Shelf) -> None:
    """Twenty visitors move the same slider to different values at once; each sees the answer at their own value."""
    context = browser.new_context(base_url=site)
    pages = [context.new_page() for _ in range(20)]
    for page in pages:
        page.goto("/latent?x=row:3", wait_until="commit")
    for page in pages:
        page.locator(".answer img[src]").wait_for()
    dimension = int(pages[0].locator(".range .name").first.inner_text().split()[0].removeprefix("z"))
    values = [round(-3 + 0.3 * number, 2) for number in range(20)]
    started = time.monotonic()
    for page, value in zip(pages, values, strict=True):
        slide(page, f"z{dimension}", value)
    code = ask(shelf, "digits/1", [3], task="encode")["mean"].round(3).repeat(20, 0)
    code[:, dimension] = values
    expected = shelf["digits/1"].ask(code, {"task": "decode"})
    for page, image in zip(pages, expected, strict=True):
        shows(page, "decoded", image)
    print(f"20 visitors were answered within {time.monotonic() - started:.1f} s")
    context.close()


def test_twenty_requests_at_once_get_pages(site: str) -> None:
    """Each of twenty callers at once gets a page."""
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda n: httpx.get(f"{site}/repair?x=row:{n}", timeout=60), range(20)))
    assert {answer.status_code for answer in answers} == {200}


def test_map_of_one_visitor_stalls_nobody(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a map is computed for one visitor, others get their pages; then the first one does."""
    begun, go = threading.Event(), threading.Event()

    def slow(view: Latent, subject: Subject) -> Map | None:
        if view.seed == 77:
            begun.set()
            assert go.wait(60)
        return chart(view, subject)

    monkeypatch.setattr("pipelines.explorer.page.latent.chart", slow)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(httpx.get, f"{site}/latent?seed=77", timeout=60)
        try:
            assert begun.wait(60)
            assert httpx.get(f"{site}/latent?seed=5", timeout=60).status_code == 200
            assert not first.done()
        finally:
            go.set()
        assert first.result().status_code == 200
