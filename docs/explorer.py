"""Takes the pictures of the explorer: `python docs/explorer.py URL`, where `betaline explore` serves at URL.

The models in them, of eight epochs, of MNIST, and of a table of wines with cells missing:

    betaline train mnist --run mnist --set data.missing='{"kind": "mcar", "share": 0.3}' --set model.latent_dim=8
    betaline train mnist --run mnist-by-class --set data.missing='{"kind": "mcar", "share": 0.3}' --preset cvae
    betaline train wine --run wine --preset miwae
    betaline train digits --run digits-rates --preset multi_rate_vae

and each promoted under the name of its run.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from playwright.sync_api import sync_playwright

from pipelines.explorer.kinds.image import write_holes
from pipelines.explorer.views import Compare, Edit, Latent, Rate, Repair, Transfer, View
from pipelines.explorer.views import Path as Way

HERE = Path(__file__).parent
CHROMIUM = "/usr/bin/chromium"
BAND = np.broadcast_to((np.arange(28)[:, None] >= 11) & (np.arange(28)[:, None] < 18), (28, 28))
"""Mask of the middle quarter of an MNIST digit."""
GAPS = json.dumps({"alcohol": None, "colour": None})
WIDTH, HEIGHT, SCALE = 1200, 800, 1.5
VIEWS: dict[str, View] = {
    "explore": Latent(model="mnist@champion", x="row:4"),
    "explore-interpolate": Way(model="mnist@champion", x="row:4", other="row:8", path="spherical"),
    "explore-repair": Repair(model="mnist@champion", x="row:4", do="impute", holes=write_holes(BAND)),
    "explore-table": Repair(model="wine@champion", x="row:5", do="impute", cells=GAPS),
    "explore-transfer": Transfer(model="mnist-by-class@champion", x="row:2", target="8"),
    "explore-edit": Edit(model="mnist@champion", x="row:4", attribute="class=8"),
    "explore-rate": Rate(model="digits-rates@champion", x="row:2", beta=0.25),
    "explore-compare": Compare(model="mnist@champion", against="mnist-by-class@champion", n=4),
}  # fmt: skip


def main(url: str) -> None:
    """Opens each view and writes its picture beside this file."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for name, view in VIEWS.items():
            page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, device_scale_factor=SCALE)
            page.goto(url + view.link)
            page.locator(".answer img[src], .answer td").first.wait_for()
            page.screenshot(path=str(HERE / f"{name}.png"))
            page.close()
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
