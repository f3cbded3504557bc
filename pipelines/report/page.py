"""The page: one HTML file that loads nothing from elsewhere, and the figures beside it."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipelines.report import charts, pictures, search_charts, wording
from pipelines.report.columns import columns
from pipelines.report.evidence import Evidence
from pipelines.report.findings import remarks, scores, verdict
from pipelines.report.theme import DARK, LIGHT, Theme
from pipelines.yaml_files import write_yaml
from tuning.frontier import pareto
from vae.data.manifest import SourceFile

MOST_SOURCES, MOST_CLASSES = 20, 50
# The figures in the order of the page.
HEADINGS = (
    ("reconstructions", "Reconstructions"),
    ("samples", "Samples from the prior"),
    ("curves", "Distortion and rate"),
    ("kl", "Latent dimensions"),
    ("latent", "Latent space"),
    ("frontier", "Rate and distortion of the trials"),
)


@dataclass(frozen=True)
class Picture:
    """A figure of the page, for light and dark."""

    name: str
    """Of its file, without `.png`."""
    light: bytes
    dark: bytes
    alt: str
    caption: str

    @property
    def light_uri(self) -> str:
        return f"data:image/png;base64,{base64.b64encode(self.light).decode()}"

    @property
    def dark_uri(self) -> str:
        return f"data:image/png;base64,{base64.b64encode(self.dark).decode()}"

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, as a PNG's header has them."""
        return int.from_bytes(self.light[16:20]), int.from_bytes(self.light[20:24])


def write(evidence: Evidence, folder: Path) -> dict[str, Path]:
    """Writes `report.html` and its figures as PNGs.

    Args:
        evidence: Of the run.
        folder: Where to; made if it is not there.

    Returns:
        The files by name: `report.html` always, and those of `reconstructions.png`, `samples.png`, `curves.png`,
        `latent.png`, `kl.png` and `frontier.png` for which there is evidence.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shown, left_out = _pictures(evidence)
    files = {}
    for picture in shown.values():
        files[f"{picture.name}.png"] = folder / f"{picture.name}.png"
        files[f"{picture.name}.png"].write_bytes(picture.light)
    files["report.html"] = folder / "report.html"
    # A message may hold bytes that were no text; they must not keep a failed run from its report.
    files["report.html"].write_text(_render(evidence, shown, left_out), encoding="utf-8", errors="backslashreplace")
    return files


def _render(evidence: Evidence, shown: Mapping[str, Picture], left_out: list[str]) -> str:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {name: getattr(wording, name) for name in ("nats", "size", "seconds", "value")}
    return environment.get_template("report.html.j2").render(
        evidence=evidence,
        dataset=evidence.dataset,
        pictures=shown,
        headings=HEADINGS,
        left_out=left_out,
        verdict=verdict(evidence),
        remarks=remarks(evidence),
        scores=scores(evidence),
        failure=None if evidence.failure is None else evidence.failure_text,
        configuration=_configuration(evidence),
        full_configuration=write_yaml(evidence.config.model_dump(mode="json")),
        full_ingest=write_yaml(evidence.dataset.ingest),
        shape=wording.shape(evidence.dataset),
        sources=_sources(evidence),
        classes=list(enumerate(evidence.dataset.classes or ()))[:MOST_CLASSES],
        columns=columns(evidence),
        search=_search(evidence),
        unit=wording.UNIT,
    )


# --- figures --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Plan:
    """A figure that can be drawn."""

    name: str
    draw: Callable[[Theme], bytes]
    alt: str
    caption: str


def _pictures(evidence: Evidence) -> tuple[dict[str, Picture], list[str]]:
    """The figures by name, and what is left out and why."""
    plans: list[_Plan] = []
    left_out: list[str] = []
    planners = (_plan_reconstructions, _plan_samples, _plan_curves, _plan_kl, _plan_latent, _plan_frontier)
    for (_, heading), planner in zip(HEADINGS, planners, strict=True):
        planned = planner(evidence)
        if isinstance(planned, str):
            left_out.append(f"{heading}: {planned}.")
        else:
            plans.append(planned)
    if not scores(evidence):
        left_out.append("Scores: nothing was measured on the test split.")
    drawn = {p.name: Picture(p.name, p.draw(LIGHT), p.draw(DARK), p.alt, p.caption) for p in plans}
    return drawn, left_out


def _plan_curves(evidence: Evidence) -> _Plan | str:
    if not evidence.history:
        return "no epoch was finished"
    history, best = list(evidence.history), evidence.best
    caption = (
        "Training figures are means over the epoch while the weights move; validation is measured at the epoch's end. "
        "The best epoch has the lowest validation rate + distortion, and its weights are kept."
    )
    if charts.is_clipped(history):
        caption += " The first tenth of the epochs goes beyond the frame."
    alt = f"Distortion and rate in nats per example over {len(history)} epochs, training and validation"
    return _Plan(
        "curves",
        lambda theme: charts.curves(history, best, theme),
        f"{alt}; best epoch {best['epoch']}." if best else f"{alt}.",
        caption,
    )


def _plan_reconstructions(evidence: Evidence) -> _Plan | str:
    if reason := _no_pictures(evidence) or evidence.cannot_run:
        return reason
    grid = pictures.reconstructions(evidence)
    rows, columns = grid.images.shape[:2]
    told = "class" if evidence.config.model.condition == ("class",) else "condition"
    conditional = f" The model is told each row's own {told}." if evidence.config.model.condition else ""
    if evidence.config.data.missing is not None:
        conditional += " Black in the data is also what was hidden from the model."
    return _Plan(
        "reconstructions",
        grid.draw,
        f"{rows // 2 * columns} test examples, each above its reconstruction.",
        f"The first {rows // 2 * columns} test rows (data) above their reconstructions (model): the decoder's "
        f"mean at the posterior's mean.{conditional}",
    )


def _no_pictures(evidence: Evidence) -> str | None:
    return "an example is a row of a table" if evidence.is_table else None


def _plan_samples(evidence: Evidence) -> _Plan | str:
    model = evidence.model
    if model is None:
        return "there is no trained model"
    # Without a condition, or with the class alone, no test row is needed.
    needs_rows = set(model.config.condition) - {"class"}
    reason = _no_pictures(evidence) or evidence.cannot_run
    if reason and (needs_rows or evidence.is_table or reason == "the model's weights are not finite numbers"):
        return reason
    grid = pictures.samples(evidence)
    caption = f"Decoder's mean at latents drawn from the prior, seed {pictures.SAMPLES_SEED}."
    if not model.conditions:
        alt = f"{grid.images.shape[0] * grid.images.shape[1]} images drawn from the prior."
        return _Plan("samples", grid.draw, alt, caption)
    shown, columns = grid.images.shape[:2]
    one, many = ("a condition of the test rows", "conditions") if needs_rows else ("a class", "classes")
    most = "" if needs_rows or shown == model.num_classes else f" The first {shown} of {model.num_classes} classes."
    return _Plan(
        "samples",
        grid.draw,
        f"Images drawn from the prior: a row for each of {shown} {many}, a column for each of {columns} latents.",
        f"{caption} A row is {one}; a column is one latent for all {many}, so what stays the same down a column is the "
        f"style.{most}",
    )


def _plan_frontier(evidence: Evidence) -> _Plan | str:
    if not evidence.trials:
        return "the configuration was not searched for"
    trials, chosen = [trial for trial in evidence.trials if wording.is_scored(trial)], evidence.chosen
    if not trials:
        return f"none of the {len(evidence.trials)} trials came to a result"
    caption = "Each point is a trial at its best epoch on validation data."
    if len({wording.beta_of(trial) for trial in trials}) > 1:
        caption += " Colour is β."
    if len({wording.architecture_of(trial) for trial in trials}) > 1:
        caption += " Shape is the architecture."
    if any(trial.status != "finished" for trial in trials):
        caption += " Hollow points did not train to the end."
    if chosen is not None:
        caption += " Points on the dotted line have the chosen trial's bound; points below it would be better."
    return _Plan(
        "frontier",
        lambda theme: search_charts.frontier(trials, chosen, evidence.dataset.example.num_values, theme),
        f"Rate against distortion of {len(trials)} trials with the Pareto front and the chosen trial.",
        caption,
    )


def _plan_kl(evidence: Evidence) -> _Plan | str:
    bound, dimensions = evidence.bound, evidence.config.model.latent_dim
    if bound is None:
        return "nothing was measured on the test split"
    if bound.kl_per_dimension:
        measure = "KL to the prior of each of"
        caption = f"Means over the test split; they add up to the rate, {wording.nats(bound.rate)} nats."
    else:
        measure = "Variance of the posterior mean over the test split, for each of"
        caption = f"{measure} the latent dimensions: this model's KL has no closed form for each of them."
    return _Plan(
        "kl",
        lambda theme: charts.dimensions(bound, theme),
        f"{measure} {dimensions} latent dimensions, the largest first.",
        f"{caption} {bound.active_units} of {dimensions} dimensions are active: their posterior mean varies over the data "
        "by more than 0.01.",
    )


def _plan_latent(evidence: Evidence) -> _Plan | str:
    if reason := evidence.cannot_run:
        return reason
    classes = evidence.dataset.classes
    count = min(evidence.num_rows, charts.LATENT_ROWS)
    caption = f"Posterior means of {count} test rows"
    caption += " projected onto their first two principal components." if evidence.config.model.latent_dim > 2 else "."
    if "class" in evidence.config.model.condition:
        caption += " The model is told the class, so a good latent mixes the classes."
    if classes and evidence.labels is not None and len(classes) > charts.MOST_CLASSES:
        caption += f" {len(classes)} classes are too many to tell apart by colour."
    return _Plan("latent", lambda theme: charts.latent(evidence, theme), f"Scatter of {count} latent means.", caption)


# --- tables ---------------------------------------------------------------------------------------------------------


def _configuration(evidence: Evidence) -> list[tuple[str, list[tuple[str, str]]]]:
    """Groups of names and values, the configuration in short."""
    model, training, scaling = evidence.config.model, evidence.config.training, evidence.config.scaling
    parameters = sum(p.numel() for p in evidence.model.parameters()) if evidence.model is not None else None
    patience = training.patience_epochs
    return [
        (
            "Model",
            [
                ("encoder", wording.body(model.encoder)),
                ("decoder", "mirrors the encoder" if model.decoder is None else wording.body(model.decoder)),
                ("latent dimensions", str(model.latent_dim)),
                ("posterior", wording.posterior(model.posterior)),
                ("prior", wording.prior(model.prior)),
                ("likelihood", wording.likelihood(model.likelihood)),
                ("condition", wording.condition(model) or "none"),
                *([("parameters", f"{parameters:,}")] if parameters is not None else []),
            ],
        ),
        (
            "Objective and training",
            [
                ("minimises", wording.objective(evidence.config.objective)),
                *([("missing", wording.missing(missing))] if (missing := evidence.config.data.missing) else []),
                ("epochs", f"{training.epochs} at most" + (f", patience {patience}" if patience else "")),
                ("batch size", f"{training.batch_size} examples over all workers"),
                ("learning rate", wording.learning_rate(training)),
                ("weight decay", f"{training.weight_decay:g}"),
                ("moving average", "off" if training.ema_decay is None else f"{training.ema_decay:g} per step"),
                ("workers", str(scaling.num_workers)),
                ("seed", str(training.seed)),
            ],
        ),
    ]


def _sources(evidence: Evidence) -> dict[str, Any]:
    """The source files to show, and how many there are in all."""
    dataset = evidence.dataset
    shown: list[SourceFile] = list(dataset.sources[:MOST_SOURCES])
    listing = dataset.source_listing
    return {"shown": shown, "total": listing.files if listing else len(dataset.sources), "listing": listing}


def _search(evidence: Evidence) -> dict[str, Any] | None:
    """The rows of the search's table."""
    if not evidence.trials:
        return None
    names = wording.parameter_names(evidence.trials)
    return {
        "columns": [(name, wording.column_name(name)) for name in names],
        "trials": wording.in_order(evidence.trials),
        "front": {trial.trial_id for trial in pareto(list(filter(wording.is_scored, evidence.trials)))},
    }
