"""Three ways to one rate–distortion front: a model for every β, the lanes of one stack, and one Multi-Rate model.

Same data, body, epochs and seeds. What each costs, where its points lie, and the area that they beat.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from matplotlib.figure import Figure

from pipelines.report.theme import COLOURS, INK, SMALL_SIZE, blank, dress, png
from tests.benchmarks.reproduce.evidence import interval
from tests.benchmarks.reproduce.page import grid, write
from tests.benchmarks.reproduce.work import Claim, Outcome, Table, device, train
from tuning.frontier import Trial, hypervolume
from vae.config import RunConfig, override
from vae.config.presets import PRESETS
from vae.data.batches import InOrder
from vae.data.parquet import Dataset
from vae.metrics.likelihood import Sums, batch_sums, inputs_of
from vae.model import VAE
from vae.seeds import Stream, derive
from vae.training.assembly import share_of
from vae.training.lanes import LaneTraining
from vae.training.loop import Training
from vae.training.reports import TrainingResult
from vae.training.world import World

RESULTS = Path(__file__).parent / "results"
BETAS = (0.15, 0.25, 0.4, 0.7, 1.0, 1.5, 2.5, 4.0)
SEPARATE, LANES, MULTI_RATE = "8 runs, one by one", "8 lanes of one stack", "one Multi-Rate model"
WAYS = (SEPARATE, LANES, MULTI_RATE)
LEAST_LANES, LEAST_MULTI_RATE, MOST_SECONDS = 0.99, 0.95, 0.5
"""Shares of the area of separate runs, and of their seconds."""
SHORTFALLS: Mapping[str, Sequence[str]] = {
    "digits": (
        "With the epochs of one run the Multi-Rate model does not come to the front of separate runs where β is small: its "
        "curve ends at two thirds of their rate, with more distortion at equal rate. Seed 0 trained for 400 epochs, run "
        "apart, comes to a rate of 12.4 and a distortion of 15.3 nats at β = 0.15: nearer, and still above the front that "
        "separate runs have after 100.",
        "A Multi-Rate model's rate at a β is not that of a run at the same β, so that a β cannot be carried from one to "
        "the other. At large β the curves are within half a nat, and separate runs are at its end: at β = 4 they use no "
        "dimension.",
        "The area says little of the two ends: its reference point is the worst of all points, beside which an end of a "
        "curve encloses nothing.",
    )
}
Points = Mapping[float, tuple[float, float]]
"""Of each β the rate and the distortion on the validation split, in nats per example."""


def separate(configs: Sequence[RunConfig], dataset: Dataset) -> Points:
    """A run for every β."""
    return _reached(configs, [Training(config, dataset, World(device=device())).run() for config in configs])


def lanes(configs: Sequence[RunConfig], dataset: Dataset) -> Points:
    """The same runs as one stack."""
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
    """One run with gates, and what it comes to at each β."""
    config = override(configs[0], {"objective.beta": 1.0, **PRESETS["multi_rate_vae"].changes})
    model = train(config, dataset, last=True).model
    return {each.objective.beta: _at(model, config, dataset, each.objective.beta) for each in configs}


@torch.no_grad()
def _at(model: VAE, config: RunConfig, dataset: Dataset, beta: float) -> tuple[float, float]:
    """Rate and distortion of a model with gates at one β, with the noise that a run validates with."""
    where = next(model.parameters()).device
    generator, total = torch.Generator(where), torch.zeros((), device=where)
    for number, batch in enumerate(InOrder(share_of(config, dataset, "validation", device=where))):
        generator.manual_seed(derive(config.training.seed_of_data, Stream.VALIDATION, 0, number))
        log_beta_B1 = torch.full((len(batch), 1), math.log(beta), device=where)
        inputs = inputs_of(model, batch, generator)._replace(log_beta=log_beta_B1)
        noise = torch.randn(1, len(batch), model.noise_dim, generator=generator, device=where)
        total = total + batch_sums(model(inputs, noise), config.objective.bound)
    bound = Sums(total).bound()
    return bound.rate, bound.distortion


def rates(dataset: Dataset, config: RunConfig, seeds: int, command: str) -> None:
    """Measures all three in turn, seed by seed; writes the page and the picture."""
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
    picture = RESULTS / ("rates.png" if name == "digits" else f"rates-{name}.png")
    picture.write_bytes(png(draw(outcomes)))
    page = RESULTS / ("search-rates.md" if name == "digits" else f"search-rates-{name}.md")
    write(page, _table(dataset, config, picture.name), outcomes, command, time.monotonic() - started, 1)
    print(f"wrote {page} and {picture}")


def _areas(found: Mapping[str, Points]) -> dict[str, float]:
    """The hypervolume of each way over that of separate runs; its reference point is the worst of all points."""
    everything = [point for points in found.values() for point in points.values()]
    worst = [max(values) for values in zip(*everything, strict=True)]
    areas = {
        way: hypervolume([Trial(str(beta), {}, "finished", 1, d, r) for beta, (r, d) in points.items()], *worst)
        for way, points in found.items()
    }
    return {way: area / areas[SEPARATE] for way, area in areas.items()}


def _each(outcomes: Sequence[Outcome], way: str, figure: str) -> list[float]:
    return [outcome.figures[figure] for outcome in outcomes if outcome.row == way]


def _mean(values: Sequence[float], decimals: int) -> str:
    """`0.281 ± 0.004`, the latter the standard error."""
    mean = f"{statistics.fmean(values):.{decimals}f}"
    return f"{mean} ± {_error(values):.{decimals}f}" if len(values) > 1 else mean


def _error(values: Sequence[float]) -> float:
    return statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0


def _seconds(outcomes: Sequence[Outcome], way: str) -> list[float]:
    return [outcome.seconds for outcome in outcomes if outcome.row == way]


def _table(dataset: Dataset, config: RunConfig, picture: str) -> Table:
    rows, model, training = dataset.manifest.num_rows, config.model, config.training
    gates = PRESETS["multi_rate_vae"]
    low, high = (gates.changes["objective.controller"][end] for end in ("low", "high"))

    def render(outcomes: Sequence[Outcome]) -> str:
        costs = [
            [
                way,
                _mean(_seconds(outcomes, way), 1),
                _mean(_each(outcomes, way, "share of seconds"), 2),
                _mean(_each(outcomes, way, "area"), 3),
            ]
            for way in WAYS
        ]
        points = [
            [
                f"{beta:g}",
                *(
                    _mean(_each(outcomes, way, f"{part} {beta:g}"), 2)
                    for way in WAYS
                    for part in ("rate", "distortion")
                ),
            ]
            for beta in BETAS
        ]
        header = ["β", *(f"{part}, {way}" for way in WAYS for part in ("rate", "distortion"))]
        return "\n\n".join(
            (
                grid(("", "CPU seconds", "of separate runs' seconds", "of separate runs' area"), costs),
                f"![Rate against distortion, three curves]({picture})",
                grid(header, points),
            )
        )

    return Table(
        title=f"{dataset.manifest.name}: one front by separate runs, by lanes, and by one Multi-Rate model",
        protocol=(
            f"{rows['train']:,} examples to train, {rows['validation']:,} to validate. {model.encoder.model_dump()}, "
            f"{model.latent_dim} latents, {model.likelihood.model_dump()}, batches of {training.batch_size}, "
            f"{training.epochs} epochs at {training.learning_rate:g}, no early stop; rate and distortion of the last "
            "epoch, one draw for each validation example, the same for all.",
            f"β = {', '.join(f'{beta:g}' for beta in BETAS)}. Lanes are the separate runs' configurations. The Multi-Rate "
            f"model has gates and trains each example at its own β, log-uniform from {low:g} to {high:g} as in its preset "
            f"({gates.reference}), for as many epochs as any one of the others; its seconds include its evaluation.",
            "Area: hypervolume of the points that no other of the same way beats, against the largest rate and the largest "
            "distortion of all three, seed by seed, over that of separate runs.",
            "CPU seconds of one thread, which programs that share the machine disturb less than they disturb the clock. "
            "The three take turns within a seed, in one process.",
        ),
        shortfalls=SHORTFALLS.get(dataset.manifest.name, ()),
        jobs=(),
        render=render,
        claims=_claims,
        legend="Mean ± standard error over seeds. Rate and distortion in nats per example.",
    )


def _claims(outcomes: Sequence[Outcome]) -> list[Claim]:
    """Returns what lanes and the Multi-Rate model are to reach, judged by the 95 % interval over seeds."""
    found = []
    for way, least in ((LANES, LEAST_LANES), (MULTI_RATE, LEAST_MULTI_RATE)):
        area, share = (interval(_each(outcomes, way, figure)) for figure in ("area", "share of seconds"))
        found += [
            Claim(f"{way}: the area of separate runs", f"above {least:g}", area.text(3), area.above(least)),
            Claim(
                f"{way}: the CPU seconds of separate runs",
                f"below {MOST_SECONDS:g}",
                share.text(2),
                share.below(MOST_SECONDS),
            ),
        ]
    return found


STYLES = {SEPARATE: ("o", 7.0, "none"), LANES: ("s", 2.6, COLOURS[1]), MULTI_RATE: ("^", 4.5, COLOURS[2])}
"""Marker, its size and its filling: those of separate runs are rings, which lanes lie inside."""


def draw(outcomes: Sequence[Outcome]) -> Figure:
    """Rate against distortion, means over seeds with their standard errors."""
    figure = blank(4.0)
    axes = figure.subplots()
    axes.margins(0.08)
    dress(axes, "rate (nats per example)", "distortion (nats per example)")
    for way, colour in zip(WAYS, COLOURS, strict=False):
        marker, size, filling = STYLES[way]
        x, y = ([_each(outcomes, way, f"{part} {beta:g}") for beta in BETAS] for part in ("rate", "distortion"))
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
        labelcolor=INK, loc="upper right",
    )  # fmt: skip
    return figure
