"""Draws `docs/flow.png`: `python docs/flow.py`."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

INK, MUTED, LINE = "#1b2330", "#5b6675", "#b4bcc7"
PREFECT, RAY, STORE = "#e8eefb", "#e6f3ea", "#fdf3df"

# Name of the flow, what its Ray job does, and what it leaves behind.
STAGES = (
    ("ingest", "decode, split,\nwrite shards", "Parquet + manifest\ndatasets/NAME/ID"),
    ("tune", "Ray Tune:\n$\\beta$ × architecture", "trials in MLflow\nbest.yaml"),
    ("train", "Ray Train: DDP,\nexact resume", "curves in MLflow\nweights, checkpoints"),
    ("promote", "test likelihood,\nreport, load proof", "registered version\nalias champion"),
)
BANDS = ((2.62, PREFECT, "Prefect\nflow"), (1.42, RAY, "Ray\njob"), (0.22, STORE, "what\nremains"))
HEIGHT, WIDTH, STEP, LEFT = 0.78, 1.72, 2.12, 1.06


def box(axes: Axes, x: float, y: float, text: str, colour: str, *, bold: bool = False) -> None:
    """A rounded box with centred text."""
    shape = FancyBboxPatch((x, y), WIDTH, HEIGHT, boxstyle="round,pad=0.03,rounding_size=0.08", fc=colour, ec=LINE)
    axes.add_patch(shape)
    weight = "bold" if bold else "normal"
    axes.text(x + WIDTH / 2, y + HEIGHT / 2, text, ha="center", va="center", fontsize=9.5, color=INK, weight=weight)


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    """A thin arrow."""
    axes.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": MUTED, "lw": 1.1})


def draw() -> Figure:
    """The four stages from left to right: flow, job, and what is left when it is over."""
    figure = Figure((10.2, 3.9), dpi=110, facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 9.6), ylim=(0, 3.67))
    axes.axis("off")
    for y, _, name in BANDS:
        axes.text(0.5, y + HEIGHT / 2, name, ha="center", va="center", fontsize=9.5, color=MUTED)
    for number, (flow, job, kept) in enumerate(STAGES):
        x = LEFT + number * STEP
        for (y, colour, _), text in zip(BANDS, (flow, job, kept), strict=True):
            box(axes, x, y, text, colour, bold=y == BANDS[0][0])
        middle = x + WIDTH / 2
        arrow(axes, (middle, BANDS[0][0] - 0.05), (middle, BANDS[1][0] + HEIGHT + 0.05))
        arrow(axes, (middle, BANDS[1][0] - 0.05), (middle, BANDS[2][0] + HEIGHT + 0.05))
        if number + 1 < len(STAGES):
            arrow(axes, (x + WIDTH + 0.05, BANDS[0][0] + HEIGHT / 2), (x + STEP - 0.05, BANDS[0][0] + HEIGHT / 2))
    return figure


if __name__ == "__main__":
    FigureCanvasAgg(draw()).print_png(Path(__file__).with_suffix(".png"))
