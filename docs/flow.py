"""Draws `docs/flow.png`: `python docs/flow.py`."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

INK, MUTED, LINE = "#1b2330", "#5b6675", "#b4bcc7"
PREFECT, RAY, STORE = "#e8eefb", "#e6f3ea", "#fdf3df"

# Name of the flow, the work of its Ray job, and its results.
STAGES = (
    ("ingest", "decode, split,\nwrite shards", "Parquet + manifest\ndatasets/NAME/ID"),
    ("tune", "Ray Tune:\n$\\beta$ × architecture", "trials in MLflow\nbest.yaml"),
    ("train", "Ray Train: DDP,\nexact resume", "curves in MLflow\nweights, checkpoints"),
    ("promote", "test likelihood,\nreport, trial load", "registered version\nalias champion"),
)
# Uses of the results.
USES = (
    ("explore", "look, edit, compare,\nin the browser"),
    ("apply", "one task over a\nwhole dataset"),
    ("pull", "load_model(\n“models:/digits@champion”)"),
)
BANDS = ((2.62, PREFECT, "Prefect\nflow"), (1.42, RAY, "Ray\njob"), (0.22, STORE, "results"))
CAUSES = "          ".join(("a command", "the clock", "new data", "drift", "a person’s approval"))
TOP = 3.8
HEIGHT, WIDTH, STEP, LEFT = 0.78, 1.72, 2.12, 1.06
SPAN = (len(STAGES) - 1) * STEP + WIDTH


def box(
    axes: Axes, corner: tuple[float, float], text: str, colour: str, *, title: str = "", width: float = WIDTH
) -> None:
    """Draws a rounded box with centred text, under a bold title."""
    x, y = corner
    shape = FancyBboxPatch((x, y), width, HEIGHT, boxstyle="round,pad=0.03,rounding_size=0.08", fc=colour, ec=LINE)
    axes.add_patch(shape)
    middle, lines = y + HEIGHT / 2, text.count("\n") + 1 if text else 0
    if title:
        axes.text(
            x + width / 2, middle + 0.09 * lines, title, ha="center", va="center", color=INK, weight="bold", size=9.5
        )
    axes.text(x + width / 2, middle - (0.1 if title else 0), text, ha="center", va="center", color=INK, size=9.5)


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Draws a thin arrow."""
    axes.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": MUTED, "lw": 1.1})


def draw() -> Figure:
    """Returns a figure of what starts the flows, their four stages (flow, job, result), and what uses the results."""
    figure = Figure((12.4, 4.75), dpi=110, facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 12.0), ylim=(0, 4.6))
    axes.axis("off")
    axes.text(0.5, TOP + 0.21, "started\nby", ha="center", va="center", fontsize=9.5, color=MUTED)
    axes.text(LEFT + SPAN / 2, TOP + 0.21, CAUSES, ha="center", va="center", fontsize=9.5, color=INK)
    axes.plot((LEFT, LEFT + SPAN), (TOP, TOP), color=MUTED, linewidth=1.1)
    for y, _, name in BANDS:
        axes.text(0.5, y + HEIGHT / 2, name, ha="center", va="center", fontsize=9.5, color=MUTED)
    for number, texts in enumerate(STAGES):
        x = LEFT + number * STEP
        for (y, colour, _), text in zip(BANDS, texts, strict=True):
            is_flow = y == BANDS[0][0]
            box(axes, (x, y), "" if is_flow else text, colour, title=text if is_flow else "")
        middle = x + WIDTH / 2
        for upper, (y, _, _) in zip((TOP + 0.05, *(y for y, _, _ in BANDS)), BANDS, strict=False):
            arrow(axes, (middle, upper - 0.05), (middle, y + HEIGHT + 0.05))
        if number + 1 < len(STAGES):
            arrow(axes, (x + WIDTH + 0.05, BANDS[0][0] + HEIGHT / 2), (x + STEP - 0.05, BANDS[0][0] + HEIGHT / 2))
    x = LEFT + SPAN + 0.5
    version = BANDS[-1][0] + HEIGHT / 2
    for (y, _, _), (name, text) in zip(BANDS, USES, strict=True):
        box(axes, (x, y), text, "white", title=name, width=2.0)
        arrow(axes, (LEFT + SPAN + 0.06, version), (x - 0.05, y + HEIGHT / 2))
    return figure


if __name__ == "__main__":
    FigureCanvasAgg(draw()).print_png(Path(__file__).with_suffix(".png"))
