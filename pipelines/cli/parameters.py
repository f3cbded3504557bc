"""Arguments and options that several commands share, each defined once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

DEFAULT_HOME = ".betaline"


def _settings(example: str) -> Any:
    return typer.Option("--set", help=f"Override one field: --set {example} (repeatable).")


Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object, the last line on stdout.")]
Home = Annotated[
    str,
    typer.Option(
        "--home", envvar="BETALINE_HOME", help="Folder or URI of the datasets, the runs and the servers' state."
    ),
]
RunName = Annotated[
    str | None,
    typer.Option("--run", help="Name of the run; an unfinished run of that name resumes. By default a new name."),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", help="YAML or JSON file with the configuration; docs/configuration.md lists its fields."),
]
Settings = Annotated[list[str] | None, _settings("objective.beta=4")]
SearchSettings = Annotated[list[str] | None, _settings("base.training.epochs=20")]
IngestSettings = Annotated[list[str] | None, _settings("header=false")]
ScheduledSettings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Override one field: objective.beta=4 of train, base.objective.beta=4 of tune, header=false of watch "
        "(repeatable).",
    ),
]
PresetName = Annotated[
    str | None,
    typer.Option(
        "--preset", help="Published model to start from, see `betaline presets`; by default one for the data."
    ),
]
Projection = Annotated[
    str,
    typer.Option("--projection", help="Map of the latent space in the report: pca, or umap (extra report-umap)."),
]
Dataset = Annotated[
    str, typer.Argument(help="Dataset: NAME (its newest version), NAME@ID, or the path or URI of its folder.")
]
ModelName = Annotated[str | None, typer.Option("--name", help="Name of the model; by default that of the dataset.")]
Registered = Annotated[str, typer.Argument(metavar="NAME", help="Name of the registered model.")]
Alias = Annotated[str, typer.Option("--alias", help="Alias of the version, such as champion or challenger.")]
Register = Annotated[
    str | None,
    typer.Option(
        "--register",
        help="Evaluate and register the model, and give it this alias, such as champion, if it is better. By default "
        "nothing is registered.",
    ),
]
Approve = Annotated[
    bool,
    typer.Option("--approve", help="Let a person decide on the alias: the flow run waits for `betaline approve`."),
]
Pool = Annotated[str, typer.Option("--pool", help="Prefect work pool of type process; made if it does not exist.")]
