"""Three ways to one rate–distortion front: a model for every β, the lanes of one stack, and one Multi-Rate model.

All use the same data, body, epochs and seeds. Measures the cost of each, its points, and the area of its front.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from matplotlib.figure import Figure

from pipelines.report.theme import COLOURS, LIGHT, SMALL_SIZE, png
from tests.benchmarks.evidence import interval
from tests.benchmarks.page import RESULTS, Claim, Table, figures_of, grid, read_words, write
from tests.benchmarks.work import Outcome, device, train
from tuning.frontier import Trial, hypervolume
from vae.config import RunConfig, override
from vae.config.presets import PRESETS
from vae.data.batches import InOrder
from vae.data.parquet import Dataset
from vae.draws import RowDraws
from vae.metrics.likelihood import Sums, batch_sums, inputs_of
from vae.model import VAE
from vae.seeds import Stream
from vae.training.assembly import share_of
from vae.training.hooks import TrainingResult
from vae.training.lanes import LaneTraining
from vae.training.loop import Training
from vae.training.world import World

BETAS = (0.15, 0.25, 0.4, 0.7, 1.0, 1.5, 2.5, 4.0)
SEPARATE, LANES, MULTI_RATE = "8 runs, one by one", "8 lanes of one stack", "one Multi-Rate model"
WAYS = (SEPARATE, LANES, MULTI_RATE)
LEAST_LANES, LEAST_MULTI_RATE, MOST_SECONDS = 0.99, 0.95, 0.5
"""Least shares of the area of separate runs, and the largest share of their seconds."""
Points = Mapping[float, tuple[float, float]]
"""Rate and distortion of each β on the validation split, in nats per example."""


def separate(configs: Sequence[RunConfig], dataset: Dataset) -> Points:
    """Trains a run for every β."""
    return _reached(configs, [Training(config, dataset, World(device=device())).run() for config in configs])


def lanes(configs: Sequence[RunConfig], dataset: Dataset) -> Points:
    """Trains the same runs as one stack."""
    results = LaneTraining(configs, dataset, device()).run()
    assert all(isinstance(result, TrainingResult) for result in results), "none has diverged"
    return _reached(configs, [result for result in results if isinstance(result, TrainingResult)])


def _reached(configs: Sequence[RunConfig], results: Sequence[TrainingResult]) -> Points:
    last = [result.history[-1] for result in results]
    return {
        config.objective.beta: (report.validation_rate, report.validation_distortion)
        for config, report in zip(configs, last, strict=True)
    }


def multi_rate(configs: Sequence[RunConfig], dataset: Dataset) -> Points:
    """Trains one run with gates, and returns its points at each β."""
    config = override(configs[0], {"objective.beta": 1.0, **PRESETS["multi_rate_vae"].changes})
    model = train(config, dataset, last=True).model
    return {each.objective.beta: _at(model, config, dataset, each.objective.beta) for each in configs}


@torch.no_grad()
def _at(model: VAE, config: RunConfig, dataset: Dataset, beta: float) -> tuple[float, float]:
    """Returns rate and distortion of a model with gates at one β, with the noise of a run's validation."""
    where = next(model.parameters()).device
    first, total = 0, torch.zeros((), device=where)
    for batch in InOrder(share_of(config, dataset, "validation", device=where)):
        draws = RowDraws(config.training.seed_of_data, Stream.VALIDATION, first=first, device=where)
        log_beta_B1, first = torch.full((len(batch), 1), math.log(beta), device=where), first + len(batch)
        inputs = inputs_of(model, batch, draws)._replace(log_beta=log_beta_B1)
        noise = draws.normal(len(batch), model.noise_dim)[None]
        total = total + batch_sums(model(inputs, noise), config.objective.bound)
    bound = Sums(total).bound()
    return bound.rate, bound.distortion


def rates(dataset: Dataset, config: RunConfig, seeds: int, command: str) -> None:
    """Measures all three ways in turn, seed by seed; writes the page and the picture."""
    torch.set_num_threads(1)
    started = time.monotonic()
    work: dict[str, Callable[[Sequence[RunConfig], Dataset], Points]] = {
        SEPARATE: separate,
        LANES: lanes,
        MULTI_RATE: multi_rate,
    }
    outcomes: list[Outcome] = []
    for seed in range(seeds):
        configs = [override(config, {"objective.beta": beta, "training.seed": seed}) for beta in BETAS]
        found: dict[str, tuple[Points, float]] = {}
        for way, measure in work.items():
            began = time.process_time()
            found[way] = measure(configs, dataset), time.process_time() - began
        areas = _areas({way: points for way, (points, _) in found.items()})
        for way, (points, seconds) in found.items():
            figures = {"area": areas[way], "share of seconds": seconds / found[SEPARATE][1]}
            for beta, (rate, distortion) in points.items():
                figures |= {f"rate {beta:g}": rate, f"distortion {beta:g}": distortion}
            outcomes.append(Outcome(way, dataset.manifest.name, seed, figures, seconds))
            print(f"seed {seed}  {way:<24}{seconds:>8.1f} CPU s   area {areas[way]:.3f}", flush=True)
    name = dataset.manifest.name
    suffix = "" if name == "digits" else f"-{name}"
    picture, page = RESULTS / f"rates{suffix}.png", RESULTS / f"search-rates{suffix}.md"
    picture.write_bytes(png(draw(outcomes)))
    write(page, _table(dataset, config, picture.name), outcomes, command, time.monotonic() - started, 1)
    print(f"wrote {page} and {picture}")


def _areas(found: Mapping[str, Points]) -> dict[str, float]:
    """Returns the hypervolume of each way over that of separate runs, against the worst of all points."""
    everything = [point for points in found.values() for point in points.values()]
    worst = [max(values) for values in zip(*everything, strict=True)]
    areas = {
        way: hypervolume([Trial(str(beta), {}, "finished", 1, d, r) for beta, (r, d) in points.items()], *worst)
        for way, points in found.items()
    }
    return {way: area / areas[SEPARATE] for way, area in areas.items()}


def _mean(values: Sequence[float], decimals: int) -> str:
    """Returns a mean and its standard error, such as `0.281 ± 0.004`."""
    mean = f"{statistics.fmean(values):.{decimals}f}"
    return f"{mean} ± {_error(values):.{decimals}f}" if len(values) > 1 else mean


def _error(values: Sequence[float]) -> float:
    return statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0


def _seconds(outcomes: Sequence[Outcome], way: str) -> list[float]:
    return [outcome.seconds for outcome in outcomes if outcome.row == way]


def _table(dataset: Dataset, config: RunConfig, picture: str) -> Table:
    name, preset = dataset.manifest.name, PRESETS["multi_rate_vae"]
    values = {"name": name, "rows": dataset.manifest.num_rows, "betas": ", ".join(f"{beta:g}" for beta in BETAS)}
    values |= {"preset": preset, "controller": preset.changes["objective.controller"]}
    words = read_words("rates", values, config)
    if name != "digits":  # the shortfalls are those of digits
        words = words._replace(sections={**words.sections, "Shortfalls": ()})
    return Table(words, (), partial(_render, picture), _claims)


def _render(picture: str, outcomes: Sequence[Outcome]) -> str:
    def mean(figure: str, way: str, decimals: int) -> str:
        return _mean(figures_of(outcomes, figure, way), decimals)

    costs = [
        [way, _mean(_seconds(outcomes, way), 1), mean("share of seconds", way, 2), mean("area", way, 3)] for way in WAYS
    ]
    columns = [(part, way) for way in WAYS for part in ("rate", "distortion")]
    points = [[f"{beta:g}", *(mean(f"{part} {beta:g}", way, 2) for part, way in columns)] for beta in BETAS]
    parts = (
        grid(("", "CPU seconds", "of separate runs' seconds", "of separate runs' area"), costs),
        f"![Rate against distortion, three curves]({picture})",
        grid(["β", *(f"{part}, {way}" for part, way in columns)], points),
    )
    return "\n\n".join(parts)


def _claims(outcomes: Sequence[Outcome]) -> list[Claim]:
    """Returns the claims on lanes and the Multi-Rate model, judged by the 95 % interval over seeds."""
    out = []
    for way, least in ((LANES, LEAST_LANES), (MULTI_RATE, LEAST_MULTI_RATE)):
        area, share = (interval(figures_of(outcomes, figure, way)) for figure in ("area", "share of seconds"))
        faster = share.below(MOST_SECONDS)
        out.append(Claim(f"{way}: the area of separate runs", f"above {least:g}", area.text(3), area.above(least)))
        text = f"{way}: the CPU seconds of separate runs"
        out.append(Claim(text, f"below {MOST_SECONDS:g}", share.text(2), faster))
    return out


STYLES = {SEPARATE: ("o", 7.0, "none"), LANES: ("s", 2.6, COLOURS[1]), MULTI_RATE: ("^", 4.5, COLOURS[2])}
"""Marker, size and filling of each way: separate runs are rings, and lanes lie inside them."""


def draw(outcomes: Sequence[Outcome]) -> Figure:
    """Draws rate against distortion, means over seeds with their standard errors."""
    figure = LIGHT.figure(4.0)
    axes = figure.subplots()
    axes.margins(0.08)
    LIGHT.dress(axes, "rate (nats per example)", "distortion (nats per example)")
    for way, colour in zip(WAYS, COLOURS, strict=False):
        marker, size, filling = STYLES[way]
        x, y = ([figures_of(outcomes, f"{part} {beta:g}", way) for beta in BETAS] for part in ("rate", "distortion"))
        seconds = statistics.fmean(_seconds(outcomes, way))
        axes.errorbar(
            [statistics.fmean(each) for each in x], [statistics.fmean(each) for each in y],
            xerr=[_error(each) for each in x], yerr=[_error(each) for each in y], color=colour, linewidth=1.2,
            elinewidth=0.8, marker=marker, markersize=size, markerfacecolor=filling, markeredgecolor=colour,
            label=f"{way}: {seconds:.0f} s",
        )  # fmt: skip
        if way != LANES:
            below = way == SEPARATE
            for beta, rate, distortion in zip(BETAS, x, y, strict=True):
                axes.annotate(
                    f"{beta:g}", (statistics.fmean(rate), statistics.fmean(distortion)), color=colour,
                    xytext=(-5, -5) if below else (5, 5), textcoords="offset points", fontsize=SMALL_SIZE,
                    ha="right" if below else "left", va="top" if below else "bottom",
                )  # fmt: skip
    axes.legend(
        title="CPU seconds of training; points by their β", title_fontsize=SMALL_SIZE, fontsize=SMALL_SIZE, frameon=False,
        labelcolor=LIGHT.ink, loc="upper right",
    )  # fmt: skip
    return figure
