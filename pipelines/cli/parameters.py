"""Arguments and options that several commands share, each defined once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from typer import Argument, Option

from pipelines.operating.triggers import TRIGGERS
from tuning.rules import RULES

DEFAULT_HOME = ".betaline"
SET = "Override one field: --set {} (repeatable)."

Json = Annotated[bool, Option("--json", help="Print the result as one JSON object, the last line on stdout.")]
Home = Annotated[
    str,
    Option("--home", envvar="BETALINE_HOME", help="Folder or URI of the datasets, the runs and the servers' state."),
]
RunName = Annotated[
    str | None, Option("--run", help="Name of the run; an unfinished run of that name resumes. By default a new name.")
]
ConfigFile = Annotated[
    Path | None, Option("--config", help="YAML or JSON file of the configuration; fields: docs/configuration.md.")
]
Settings = Annotated[list[str] | None, Option("--set", help=SET.format("objective.beta=4"))]
SearchSettings = Annotated[list[str] | None, Option("--set", help=SET.format("base.training.epochs=20"))]
StartFrom = Annotated[
    str | None,
    Option("--from", help="Model whose weights to start from: a run, models:/NAME@ALIAS, or a model's folder."),
]
Source = Annotated[
    str,
    Argument(
        help="A table (CSV and the like, .jsonl, .xlsx, .parquet), images, IDX or .npz files, or a folder of them; or "
        "built in: sklearn:digits, sprites."
    ),
]
NewDataset = Annotated[str, Argument(help="Name of the dataset to make.")]
Split = Annotated[
    str, Option(help="Fractions of the examples for VALIDATION,TEST, unless the source has splits of its own.")
]
SplitSeed = Annotated[int, Option(help="Seed of the shuffle and of the splits.")]
Resize = Annotated[str | None, Option(metavar="HEIGHTxWIDTH", help="Size of all images in pixels; by default kept.")]
Color = Annotated[str, Option(help="Conversion of images: keep, grey or rgb.")]
OnBad = Annotated[str, Option(help="Bad examples: reject the source, or quarantine them and go on.")]
Label = Annotated[str | None, Option(help="Label column, or array of an .npz file; by default detected.")]
ColumnsFile = Annotated[Path | None, Option("--columns", help="YAML file of the roles and types of a table's columns.")]
WriteColumns = Annotated[
    Path | None, Option("--write-columns", help="With --dry-run: file to write the columns to as they were understood.")
]
Strict = Annotated[
    bool, Option("--strict", help="Refuse a table of which something was guessed, left out or read otherwise.")
]
IngestSettings = Annotated[list[str] | None, Option("--set", help=SET.format("header=false"))]
ScheduledSettings = Annotated[
    list[str] | None,
    Option("--set", help=SET.format("objective.beta=4 of train, base.objective.beta=4 of tune, header=false of watch")),
]
PresetName = Annotated[
    str | None,
    Option("--preset", help="Published model to start from: `betaline presets`. By default one for the data."),
]
Projection = Annotated[
    str, Option("--projection", help="Map of the latent space in the report: pca, or umap (extra report-umap).")
]
Dataset = Annotated[str, Argument(help="Dataset: NAME (its newest version), NAME@ID, or its folder, a path or a URI.")]
ModelName = Annotated[str | None, Option("--name", help="Name of the model; by default that of the dataset.")]
Registered = Annotated[str, Argument(metavar="NAME", help="Name of the registered model.")]
Alias = Annotated[str, Option("--alias", help="Alias of the version, such as champion or challenger.")]
Register = Annotated[
    str | None,
    Option("--register", help="Register the model, and give it this alias if it is better. Not registered by default."),
]
Approve = Annotated[
    bool, Option("--approve", help="Let a person decide on the alias: the flow run waits for `betaline approve`.")
]
Metrics = Annotated[
    list[str] | None,
    Option(
        "--metrics",
        help="Metrics to measure as well: reconstruction, information, disentanglement, generation, denoising, "
        "imputation, synthesis (repeatable).",
    ),
]
NumSamples = Annotated[int, Option("--num-samples", help="Importance samples for each test example.")]
Exact = Annotated[bool, Option("--exact", help="Score all test examples; by default as many as the decision needs.")]
Select = Annotated[
    str | None,
    Option(
        "--select", help=f"Metric to choose by: {', '.join(RULES)}, or a target such as 'rate <= 20': docs/train.md."
    ),
]
if TYPE_CHECKING:
    Event = str
else:
    Event = Literal[tuple(TRIGGERS)]
OnEvent = Annotated[
    Event | None,
    Option("--on", help=f"Event instead of a time: {', or '.join(one.summary for one in TRIGGERS.values())}."),
]
Subject = Annotated[
    str, Argument(metavar="DATASET", help="NAME (its newest at each run), NAME@ID or folder; for watch, a source.")
]
ScheduleName = Annotated[
    str | None,
    Option("--name", help="Name of the model, or for watch of the new dataset; by default the dataset's."),
]
Overlap = Annotated[
    Literal["queue", "refuse"] | None,
    Option("--overlap", help="Treatment of a run due during another one; by default queue, but refuse for watch."),
]
Pool = Annotated[str, Option("--pool", help="Prefect work pool of type process; made if it does not exist.")]
