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
from pipelines.report.theme import paint
from pipelines.report.wording import shorten


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
    """A figure of the page, for light and dark."""

    name: str
    """Of its file, without `.png`."""
    heading: str
    light: Image.Image
    dark: Image.Image
    plan: Plan

    @property
    def light_uri(self) -> str:
        return self._uri(self.light)

    @property
    def dark_uri(self) -> str:
        return self._uri(self.dark)

    def _uri(self, image: Image.Image) -> str:
        """In WebP, of less than half the size of a PNG: without loss, but for images."""
        buffer = io.BytesIO()
        # Without loss, quality is effort: more of it saves a quarter of the bytes in four times the time.
        how = {"quality": 90, "method": 0} if self.plan.photographic else {"lossless": True, "quality": 20, "method": 1}
        image.save(buffer, "WEBP", **how)
        return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.light.size

    @property
    def is_tall(self) -> bool:
        """Whether it takes two rows of the page."""
        width, height = self.size
        return height > 1.5 * width


def draw(evidence: Evidence) -> tuple[list[Picture], list[str]]:
    """The figures in the order of the page, and what is left out of it and why. A search begins with its trials.

    What an unfinished run has left may be such that a figure cannot be drawn: the page is then without it, and says so.
    """
    ordered = OF_SEARCH + OF_MODEL if evidence.stage == "search" else OF_MODEL + OF_SEARCH
    drawn: list[Picture] = []
    left_out: list[str] = []
    for name, heading, planner in ordered:
        try:
            planned = planner(evidence)
            if isinstance(planned, Plan):
                drawn.append(Picture(name, heading, *paint(planned.draw()), planned))
                continue
        except Exception as error:
            if evidence.has_finished:
                raise
            planned = f"it could not be drawn: {type(error).__name__}: {shorten(str(error), 200)}"
        if planned is not None:
            left_out.append(f"{heading}: {planned}.")
    return drawn, left_out
