"""The figures of the page in their order: each is planned from the evidence, or left out with the reason."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from PIL import Image

from pipelines.report import charts, columns, pictures, search, walks
from pipelines.report.evidence import Evidence
from pipelines.report.plan import Plan
from pipelines.report.theme import DARK, LIGHT


class Figure(NamedTuple):
    """A place on the page."""

    name: str
    """Of its file, without `.png`."""
    heading: str
    plan: Callable[[Evidence], Plan | str | None]
    """What is drawn; or why nothing is; or None where nobody would look for it."""


OF_SEARCH = (
    Figure("frontier", "Rate and distortion of the trials", search.plan_frontier),
    Figure("parallel", "Settings of the trials", search.plan_parallel),
    Figure("importance", "What the bound depends on", search.plan_importance),
)
OF_MODEL = (
    Figure("reconstructions", "Reconstructions", pictures.plan_reconstructions),
    Figure("samples", "Samples from the prior", pictures.plan_samples),
    Figure("traversals", "Traversals of the latent", walks.plan_traversals),
    Figure("interpolations", "Interpolations", walks.plan_interpolations),
    Figure("marginals", "Columns in the data and from the model", columns.plan_marginals),
    Figure("associations", "Correlations, model minus data", columns.plan_associations),
    Figure("imputation", "Imputation error by column", columns.plan_imputation),
    Figure("curves", "Distortion and rate", charts.plan_curves),
    Figure("kl", "Latent dimensions", charts.plan_dimensions),
    Figure("latent", "Latent space", charts.plan_latent),
)


@dataclass(frozen=True)
class Picture:
    """A figure of the page, as PNGs for light and dark."""

    name: str
    """Of its file, without `.png`."""
    heading: str
    light: bytes
    dark: bytes
    plan: Plan

    @property
    def light_uri(self) -> str:
        return self._uri(self.light)

    @property
    def dark_uri(self) -> str:
        return self._uri(self.dark)

    def _uri(self, png: bytes) -> str:
        """The same in WebP, of less than half the size: without loss, but for images."""
        buffer = io.BytesIO()
        with Image.open(io.BytesIO(png)) as opened:
            opened.convert("RGB").save(buffer, "WEBP", lossless=not self.plan.photographic, quality=90, method=2)
        return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, as a PNG's header has them."""
        return int.from_bytes(self.light[16:20]), int.from_bytes(self.light[20:24])

    @property
    def is_tall(self) -> bool:
        """Whether it takes two rows of the page."""
        width, height = self.size
        return height > 1.5 * width


def draw(evidence: Evidence) -> tuple[list[Picture], list[str]]:
    """The figures in the order of the page, and what is left out of it and why. A search begins with its trials."""
    ordered = OF_SEARCH + OF_MODEL if evidence.stage == "search" else OF_MODEL + OF_SEARCH
    drawn: list[Picture] = []
    left_out: list[str] = []
    for name, heading, planner in ordered:
        planned = planner(evidence)
        if isinstance(planned, Plan):
            drawn.append(Picture(name, heading, planned.draw(LIGHT), planned.draw(DARK), planned))
        elif planned is not None:
            left_out.append(f"{heading}: {planned}.")
    return drawn, left_out
