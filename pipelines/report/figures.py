"""Figures of the page in their order: each is planned from the evidence, or left out with the reason."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

from PIL import Image

from pipelines.report import charts, search
from pipelines.report.evidence import Evidence, LeftOut
from pipelines.report.formats import shorten
from pipelines.report.kinds import Place
from pipelines.report.theme import Plan, paint
from vae import progress

OF_SEARCH: tuple[Place, ...] = (
    ("frontier", "Rate and distortion of the trials", search.plan_frontier),
    ("parallel", "Settings of the trials", search.plan_parallel),
    ("importance", "What the bound depends on", search.plan_importance),
)
OF_MODEL: tuple[Place, ...] = (
    ("curves", "Distortion and rate", charts.plan_curves),
    ("kl", "Latent dimensions", charts.plan_dimensions),
    ("latent", "Latent space", charts.plan_latent),
)


@dataclass(frozen=True)
class Picture:
    """A figure of the page, painted for light and for dark."""

    name: str
    """Name of its file, without `.png`."""
    heading: str
    light: Image.Image
    dark: Image.Image
    plan: Plan

    @property
    def uris(self) -> tuple[str, str]:
        """Light and dark image as data URIs."""
        return self._uri(self.light), self._uri(self.dark)

    def _uri(self, image: Image.Image) -> str:
        """Returns an image in WebP, less than half the size of a PNG; only photographs are compressed with loss."""
        buffer = io.BytesIO()
        # Without loss, quality is effort: more of it saves a quarter of the bytes in four times the time.
        how = {"quality": 90, "method": 0} if self.plan.photographic else {"lossless": True, "quality": 20, "method": 1}
        image.save(buffer, "WEBP", **how)
        return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"

    @property
    def is_tall(self) -> bool:
        """True if the figure takes two rows of the page."""
        return self.light.height > 1.5 * self.light.width


def draw(evidence: Evidence) -> tuple[list[Picture], list[str]]:
    """Draws the figures in the order of the page, which begins with the trials for a search.

    Returns:
        The figures, and what is left out of the page with the reason. An unfinished run may leave something that cannot be
        drawn: its page is written without that figure.
    """
    of_model = evidence.kind.figures + OF_MODEL
    ordered = OF_SEARCH + of_model if evidence.stage == "search" else of_model + OF_SEARCH
    drawn: list[Picture] = []
    left_out: list[str] = []
    for name, heading, planner in progress.counted(ordered, "drawing the report", len(ordered), "figures"):
        try:
            plan = planner(evidence)
            drawn.append(Picture(name, heading, *paint(plan.draw), plan))
        except LeftOut as reason:
            left_out += [f"{heading}: {reason}."] if str(reason) else []
        except Exception as error:
            if evidence.has_finished:
                raise
            what = shorten(str(error), 200)
            left_out.append(f"{heading}: it could not be drawn: {type(error).__name__}: {what}.")
    return drawn, left_out
