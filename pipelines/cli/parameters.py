"""Arguments and options that several commands share, each defined once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

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
Pool = Annotated[str, Option("--pool", help="Prefect work pool of type process; made if it does not exist.")]
