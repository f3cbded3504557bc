"""The page of a report: one HTML file that loads nothing from elsewhere, and its figures beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipelines.report import figures, search
from pipelines.report.columns import columns
from pipelines.report.costs import pace
from pipelines.report.evidence import Evidence
from pipelines.report.findings import remarks, scores, verdict
from pipelines.report.formats import joined
from pipelines.report.measures import measures
from pipelines.report.templates import render
from pipelines.stages.yaml_files import write_yaml
from vae.progress import counted

MOST_SOURCES, MOST_CLASSES = 20, 50


def write(evidence: Evidence, folder: Path) -> dict[str, Path]:
    """Writes `report.html` and its figures as PNGs.

    Args:
        evidence: Evidence of the run.
        folder: Folder to write to; made if it does not exist.

    Returns:
        The files by name: `report.html` always, and the figures that the evidence suffices for.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pictures, left_out = figures.draw(evidence)
    if not scores(evidence):
        left_out.append(f"Scores: nothing was measured on the {evidence.split} split.")
    if evidence.dataset is None:
        left_out.append("Data and lineage: the dataset could not be opened.")
    files = {f"{picture.name}.png": folder / f"{picture.name}.png" for picture in pictures}
    for picture in counted(pictures, "writing the report", len(pictures), "figures"):
        picture.light.save(files[f"{picture.name}.png"], compress_level=3)
    files["report.html"] = folder / "report.html"
    html = render(
        "report.html.j2",
        evidence=evidence,
        dataset=evidence.dataset,
        pictures=pictures,
        left_out=left_out,
        verdict=verdict(evidence),
        remarks=remarks(evidence),
        scores=scores(evidence),
        measures=measures(evidence.metrics, evidence.kind),
        configuration=_configuration(evidence),
        full_configuration=write_yaml(evidence.config.model_dump(mode="json")),
        **({} if evidence.dataset is None else _lineage(evidence)),
        columns=columns(evidence),
        search=search.table(evidence.trials, evidence.chosen_trial),
        pace=pace(evidence.config, evidence.history),
    )
    # A message may hold bytes that are no text; a failed run gets its report all the same.
    files["report.html"].write_text(html, encoding="utf-8", errors="backslashreplace")
    return files


def _configuration(evidence: Evidence) -> list[tuple[str, list[tuple[str, str]]]]:
    """Returns the configuration in short: groups of names and values."""
    model, training, scaling = evidence.config.model, evidence.config.training, evidence.config.scaling
    patience = training.patience_epochs
    rising = f"after {training.warmup_steps:,} steps of warm-up" if training.warmup_steps else ""
    falling = "falling to 0 by a cosine" if training.learning_rate_schedule == "cosine" else ""
    missing, parameters = evidence.config.data.missing, evidence.num_parameters
    of_model = [
        ("encoder", model.encoder.summary),
        ("decoder", "mirrors the encoder" if model.decoder is None else model.decoder.summary),
        ("latent dimensions", str(model.latent_dim)),
        ("posterior", model.posterior.summary),
        ("prior", model.prior.summary),
        ("likelihood", model.likelihood.summary),
        ("condition", joined(evidence.condition) if evidence.condition else "none"),
        *([] if parameters is None else [("parameters", f"{parameters:,}")]),
    ]
    of_training = [
        ("minimises", evidence.config.objective.summary),
        *([] if missing is None else [("missing", missing.summary)]),
        ("epochs", f"{training.epochs} at most" + (f", patience {patience}" if patience else "")),
        ("batch size", f"{training.batch_size} examples over all workers"),
        ("learning rate", ", ".join(filter(None, (f"{training.learning_rate:g}", rising, falling)))),
        ("weight decay", f"{training.weight_decay:g}"),
        ("moving average", "off" if training.ema_decay is None else f"{training.ema_decay:g} per step"),
        ("workers", str(scaling.num_workers)),
        ("seed", str(training.seed)),
    ]
    return [("Model", of_model), ("Objective and training", of_training)]


def _lineage(evidence: Evidence) -> dict[str, Any]:
    """Returns the lineage of the data: its shape and ingest, the first classes, and the first source files."""
    dataset = evidence.manifest
    listing = dataset.source_listing
    total = listing.files if listing else len(dataset.sources)
    return {
        "full_ingest": write_yaml(dataset.ingest),
        "shape": evidence.kind.described(dataset.example),
        "sources": {"shown": dataset.sources[:MOST_SOURCES], "total": total, "listing": listing},
        "classes": list(enumerate(dataset.classes or ()))[:MOST_CLASSES],
    }
