"""The page: one HTML file that loads nothing from elsewhere, and the figures beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipelines.cli.yaml_files import write_yaml
from pipelines.report import figures, search, wording
from pipelines.report.columns import columns
from pipelines.report.costs import pace
from pipelines.report.evidence import Evidence
from pipelines.report.figures import Picture
from pipelines.report.findings import remarks, scores, verdict
from pipelines.report.measures import measures
from vae.data.manifest import Manifest, SourceFile

MOST_SOURCES, MOST_CLASSES = 20, 50


def write(evidence: Evidence, folder: Path) -> dict[str, Path]:
    """Writes `report.html` and its figures as PNGs.

    Args:
        evidence: Of the run.
        folder: Where to; made if it is not there.

    Returns:
        The files by name: `report.html` always, and those of the figures that there is evidence for.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shown, left_out = figures.draw(evidence)
    if not scores(evidence):
        left_out.append(f"Scores: nothing was measured on the {evidence.split} split.")
    if evidence.dataset is None:
        left_out.append("Data and lineage: the dataset could not be opened.")
    files = {}
    for picture in shown:
        files[f"{picture.name}.png"] = folder / f"{picture.name}.png"
        picture.light.save(files[f"{picture.name}.png"], compress_level=3)
    files["report.html"] = folder / "report.html"
    # A message may hold bytes that were no text; they must not keep a failed run from its report.
    files["report.html"].write_text(_render(evidence, shown, left_out), encoding="utf-8", errors="backslashreplace")
    return files


def _render(evidence: Evidence, shown: Sequence[Picture], left_out: list[str]) -> str:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {name: getattr(wording, name) for name in ("hours", "nats", "seconds", "size", "value")}
    return environment.get_template("report.html.j2").render(
        evidence=evidence,
        dataset=evidence.dataset,
        pictures=shown,
        left_out=left_out,
        verdict=verdict(evidence),
        remarks=remarks(evidence),
        scores=scores(evidence),
        measures=measures(evidence.metrics, is_table=evidence.is_table),
        failure=None if evidence.failure is None else evidence.failure_text,
        configuration=_configuration(evidence),
        full_configuration=write_yaml(evidence.config.model_dump(mode="json")),
        **({} if evidence.dataset is None else _lineage(evidence.dataset)),
        columns=columns(evidence),
        search=search.table(evidence),
        pace=pace(evidence.config, evidence.history),
        unit=wording.UNIT,
    )


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


def _lineage(dataset: Manifest) -> dict[str, Any]:
    """What the page says of the data; of the source files those to show, and how many there are in all."""
    shown: list[SourceFile] = list(dataset.sources[:MOST_SOURCES])
    listing = dataset.source_listing
    return {
        "full_ingest": write_yaml(dataset.ingest),
        "shape": wording.shape(dataset),
        "sources": {"shown": shown, "total": listing.files if listing else len(dataset.sources), "listing": listing},
        "classes": list(enumerate(dataset.classes or ()))[:MOST_CLASSES],
    }
