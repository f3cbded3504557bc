"""Small models trained in this process, on a shelf instead of a registry; the page that shows them; and a browser.

Screenshots of the tested pages go to the folder $BETALINE_SCREENSHOTS, if it is set.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pytest
import uvicorn
from numpy.typing import NDArray
from sklearn.datasets import load_digits, load_wine

from pipelines.explorer.models import Offer, Rows, Subject
from pipelines.explorer.registered import rows_of
from tests.vae.conftest import _publish, _publish_table
from vae.config import RunConfig, override
from vae.data.parquet import Dataset
from vae.data.schema import Column, ExampleSpec
from vae.errors import RegistryError
from vae.model import VAE
from vae.training.latents import fit_latents
from vae.training.loop import Training

CHROMIUM = os.environ.get("BETALINE_TEST_CHROMIUM", "/usr/bin/chromium")
SCREENSHOTS = os.environ.get("BETALINE_SCREENSHOTS")
TIMEOUT_MS = 15_000
HOSTILE = '<img src=x onerror="window.harmed=1"><script>window.harmed=1</script>'
"""Name of a class that would run a script."""
HOLES = np.zeros((8, 8), bool)
"""Pixels of a digit that are erased."""
HOLES[2:5, 3:7] = True
SMALL = override(
    RunConfig(),
    {
        "model.latent_dim": 6,
        "model.encoder": {"kind": "mlp", "hidden": [64]},
        "training.epochs": 12,
        "training.learning_rate": 3e-3,
        "training.aggregate_components": 0,
    },
)


class Shelf:
    """Models that are in memory."""

    def __init__(self, subjects: Sequence[Subject]) -> None:
        self.subjects = subjects

    def offers(self) -> Sequence[Offer]:
        return [subject.offer for subject in self.subjects]

    def pull(self, reference: str) -> Subject:
        for subject in self.subjects:
            if reference == subject.offer.name or subject.offer.is_meant_by(reference):
                return subject
        raise RegistryError(f"no model {reference!r}; there are {', '.join(o.reference for o in self.offers())}")

    def __getitem__(self, reference: str) -> Any:
        return self.pull(reference)


def trained(dataset: Dataset, name: str, version: str, aliases: tuple[str, ...], changes: Mapping[str, Any]) -> Subject:
    """Returns a model after a second of training, with the first rows of its test split."""
    config = override(SMALL, changes)
    training = Training(config, dataset)
    training.run()
    model = training.model.eval()
    fit_latents(model, config, dataset)
    return Subject(
        offer=Offer(name=name, version=version, aliases=aliases), model=model, rows=rows_of(dataset, model, most=200)
    )


def wine(folder: Any) -> Dataset:
    """Publishes scikit-learn's wines with the cultivar as a column, a column of whole numbers, and a tenth missing."""
    data, rng = cast(Any, load_wine()), np.random.default_rng(0)
    order = rng.permutation(len(data.data))
    columns = {
        name: pa.array(values, mask=rng.random(len(values)) < 0.1)
        for name, values in zip(data.feature_names[:5], data.data[order].T, strict=False)
    }
    columns["proline"] = pa.array(data.data[order, -1].astype(np.int64), mask=rng.random(len(order)) < 0.1)
    columns["cultivar"] = pa.array(np.array(["barolo", "grignolino", "barbera"])[data.target[order]])
    described = [
        *(Column(name, dtype="double") for name in data.feature_names[:5]),
        Column("proline", dtype="int64"),
        Column("cultivar", ("barbera", "barolo", "grignolino"), dtype="string"),
    ]
    splits = {"train": 130, "validation": 24, "test": 24}
    return _publish_table(folder, pa.table(columns), described, None, splits)


def tinted(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Returns grey digits [N,1,H,W] in a colour of their own each, [N,3,H,W]."""
    tint = np.random.default_rng(1).uniform(0.2, 1, (len(pixels), 3, 1, 1))
    return (pixels * tint).astype(np.uint8)


def hostile() -> Subject:
    """Returns an untrained model whose classes have hostile names."""
    names = (HOSTILE, "plain")
    config = override(SMALL, {"model.condition": ["class"]}).model
    values = np.random.default_rng(0).integers(256, size=(20, 1, 4, 4), dtype=np.uint8)
    classes = [names[row % 2] for row in range(20)]
    return Subject(
        offer=Offer(name="hostile", version="1"),
        model=VAE(config, ExampleSpec((1, 4, 4), names), seed=0).eval(),
        rows=Rows(values=values, dataset_id="0" * 64, conditions=classes, classes=classes),
    )


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    """Returns models of digits (champion, challenger, conditional, any β, in colour), of wines, and of hostile classes."""
    data: Any = load_digits()
    pixels = np.rint(data.images * (255 / 16)).astype(np.uint8)[:, None]
    splits = {"train": 1400, "validation": 197, "test": 200}
    digits = _publish(tmp_path_factory.mktemp("digits"), pixels, data.target.astype(np.int64), splits)
    colours = _publish(tmp_path_factory.mktemp("colours"), tinted(pixels), data.target.astype(np.int64), splits)
    gaps = {"data.missing": {"kind": "mcar", "share": 0.3}}
    multi = {"model.beta_gates": True, "objective.controller": {"kind": "multi_rate", "low": 0.1, "high": 10.0}}
    table = {"model.encoder": {"kind": "table", "hidden": [32]}, "model.likelihood": {"kind": "mixed"}}
    small = {"training.batch_size": 32, "model.latent_dim": 3, "training.epochs": 60}
    return Shelf(
        [
            trained(digits, "digits", "2", ("challenger",), {**gaps, "training.epochs": 2}),
            trained(digits, "digits", "1", ("champion",), gaps),
            trained(digits, "digits-by-class", "1", ("champion",), {"model.condition": ["class"]}),
            trained(digits, "digits-any-rate", "1", ("champion",), multi),
            trained(
                colours, "digits-in-colour", "1", ("champion",), {**gaps, "model.likelihood": {"kind": "gaussian"}}
            ),
            trained(wine(tmp_path_factory.mktemp("wine")), "wine", "1", ("champion",), {**table, **small}),
            hostile(),
        ]
    )


@pytest.fixture(scope="session")
def site(shelf: Shelf) -> Iterator[str]:
    """Serves the page, and returns its address. NiceGUI has one application in a process."""
    pytest.importorskip("nicegui")
    from pipelines.explorer.page import application

    server = uvicorn.Server(uvicorn.Config(application(shelf, "digits@champion"), "127.0.0.1", 0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        time.sleep(0.02)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Starts a browser without a window, for one file.

    Until it ends, Playwright's event loop is this thread's, and no flow of another file's tests would start.
    """
    playwright = pytest.importorskip("playwright.sync_api")
    if not Path(CHROMIUM).exists():
        pytest.skip(f"no browser at {CHROMIUM}; set BETALINE_TEST_CHROMIUM")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Any, site: str, request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Returns a function that opens a path in a context of its own, and waits for the first answer.

    The test fails if anything goes wrong in the browser, or is loaded from elsewhere.
    """
    faults: list[str] = []
    opened: list[Any] = []

    def open_page(path: str, wait: str = ".answer img[src], .answer td", **named: Any) -> Any:
        context = browser.new_context(base_url=site, accept_downloads=True, **named)
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        opened.append(context)
        page = context.new_page()
        page.set_default_timeout(TIMEOUT_MS)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda message: message.type == "error" and faults.append(message.text))
        page.on("request", lambda asked: asked.url.startswith((site, "data:", "blob:")) or faults.append(asked.url))
        page.goto(path)
        page.locator(wait).first.wait_for()
        return page

    yield open_page
    if SCREENSHOTS:
        Path(SCREENSHOTS).mkdir(parents=True, exist_ok=True)
        for number, context in enumerate(opened):
            name = re.sub(r"[^\w.-]+", "-", request.node.name.removeprefix("test_")) + f"-{number}.png"
            for page in context.pages[:1]:
                page.screenshot(path=str(Path(SCREENSHOTS) / name), full_page=True)
    for context in opened:
        context.close()
    assert not faults
