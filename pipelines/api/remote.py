"""Training on a cluster from Python: `vae.fit(…, workers=4)`."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from pipelines.api.command import betaline
from pipelines.api.model import FIT, Fit, Model, opened
from pipelines.api.registry import needs_cluster
from pipelines.cluster.runs import RunFolder
from pipelines.stages.train import TrainResult
from pipelines.stages.yaml_files import write_yaml
from vae.config import RunConfig, parse
from vae.data.parquet import Dataset
from vae.errors import ConfigError
from vae.storage import write_whole


def trained_on_cluster(
    config: RunConfig, dataset: Dataset, folder: RunFolder, name: str, start: str | None, *, show: bool
) -> Model:
    """Trains by `betaline train`, on the cluster that `RAY_ADDRESS` names or else the home's own; returns the model.

    Args:
        config: The run, with its workers.
        dataset: Dataset in the home.
        folder: Folder of the run.
        name: Name of the model.
        start: URI of the folder of a model to start from; None for new weights.
        show: Whether to show progress.

    Raises:
        BetalineError: What the command refused.
    """
    needs_cluster()
    home, _, identity = folder.uri.rpartition("/runs/")
    if not home:
        raise ConfigError(f"fit: workers need a home that they reach, got {folder.uri}")
    with TemporaryDirectory(prefix="betaline-") as scratch:
        file = Path(scratch) / "config.yaml"
        file.write_text(write_yaml(config.model_dump(mode="json")))
        flags = [f"--name={name}", f"--config={file}", f"--run={identity}", f"--home={home}"]
        flags += [] if start is None else [f"--from={start}"]
        result = parse(TrainResult, betaline("train", dataset.uri, *flags, show=show), "train")
    facts = Fit(
        name=name,
        config=result.config,
        dataset=result.dataset,
        dataset_id=result.dataset_id,
        history=result.history,
        findings=result.findings,
        seconds=result.train_seconds,
        folder=folder.uri,
    )
    write_whole(folder.location / "model" / FIT, facts.model_dump_json(indent=1).encode())
    return opened(result.model, trust_code=True)
