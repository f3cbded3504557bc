"""The registry from Python: services that run, models in MLflow, and the way of a fitted model to an alias."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from pipelines.api.command import betaline
from pipelines.api.places import home_of
from pipelines.cluster.runs import RESULT, RunFolder
from pipelines.stages.promote import PromoteResult
from pipelines.stages.train import JudgedModel
from vae.config import parse
from vae.errors import RegistryError, ServiceError
from vae.parts.sources import CODE
from vae.storage import locate, write_whole

if TYPE_CHECKING:
    from pipelines.api.model import Fit, Model

REGISTERED = "models:/"
"""Beginning of the address of a registered model."""


@dataclass(frozen=True)
class Connection:
    """Servers that this process now uses."""

    mlflow: str
    """Address of MLflow."""
    home: str
    """Folder of the datasets and the services' state; empty for a server that the environment named."""

    def __repr__(self) -> str:
        return (
            f"MLflow at {self.mlflow}, {f'of the home {self.home}' if self.home else 'which MLFLOW_TRACKING_URI names'}"
        )


def connect(home: str | Path | None = None) -> Connection:
    """Finds the services that run, and sets this process's environment up for them; starts none.

    Afterwards `vae.load("models:/…")` and MLflow's own functions read the registry.

    Args:
        home: Folder of the services' state; None takes the server that `MLFLOW_TRACKING_URI` names, or else the home of
            `BETALINE_HOME`, or `.betaline` in this folder.

    Raises:
        ServiceError: If no service runs.
    """
    if home is None and (named := os.environ.get("MLFLOW_TRACKING_URI")):
        return Connection(named, "")
    needs_cluster()
    from pipelines.services.embedded import attach

    folder = home_of(home)
    services = None if "://" in folder else attach(folder)
    if services is None:
        raise ServiceError(
            f"no services run in {folder}; start them with `betaline up --home {folder}`, give their home, or set "
            "MLFLOW_TRACKING_URI"
        )
    os.environ.update(services.environment())
    return Connection(services.mlflow_url, folder)


@contextmanager
def downloaded(uri: str) -> Iterator[str]:
    """Yields a temporary folder with the weights and the configuration of a registered model.

    Raises:
        RegistryError: If there is no such version, or betaline did not register it.
        ServiceError: If no service runs.
    """
    needs_cluster()
    connect()
    from pipelines.models import packaging, registry

    version = registry.resolve(uri.removeprefix(REGISTERED))
    with TemporaryDirectory(prefix="betaline-") as folder:
        yield str(packaging.download(version.uri, Path(folder)))


def register(model: Model, name: str, alias: str, show: bool, **options: Any) -> PromoteResult:
    """Takes a fitted model through the gate of `betaline promote`; see `Model.register`."""
    needs_cluster()
    from pipelines.services.lease import connect as leased

    fit = _finished(model)
    home, _, identity = fit.folder.rpartition("/runs/")
    with leased(home):
        if RunFolder(home, identity).read(RESULT) is None:  # trained in this process, not by a job
            identity = _recorded(fit, home, f"{identity}-registered", name)
        asked = {"alias": alias, "home": home, **options}
        flags = [f"--{option.replace('_', '-')}={value}" for option, value in asked.items()]
        result = betaline("promote", identity, name, *flags, show=show)
    return parse(PromoteResult, result, "promote")


def _recorded(fit: Fit, home: str, identity: str, name: str) -> str:
    """Records a fit as a run of MLflow, and as the result of a training that a promotion finds; returns its identity."""
    from pipelines.models import tracking

    folder = RunFolder(home, identity)
    run_id = tracking.open_run(
        name,
        identity,
        params={**fit.config.model_dump(mode="json"), "dataset": fit.dataset},
        tags={tracking.DATASET: fit.dataset_id, "betaline.kind": "fit"},
    )
    tracking.log_epochs(run_id, [vars(epoch) for epoch in fit.history])
    tracking.close_run(run_id)
    if (code := locate(fit.folder) / "model" / CODE).exists():
        write_whole(folder.location / CODE, code.read())
    folder.write(RESULT, _as_result(fit, identity, run_id).model_dump(mode="json"))
    return identity


def _finished(model: Model) -> Fit:
    if model.fit is None or not model.fit.is_over:
        raise RegistryError(
            f"{model.name} did not come to the end of a vae.fit, so there is nothing to compare it by: call vae.fit with "
            "the same arguments, which goes on where it stopped"
        )
    if not model.fit.folder:
        raise RegistryError(f"{model.name} was trained elsewhere, so its run is not here: train it with vae.fit")
    return model.fit


def _as_result(fit: Fit, identity: str, run_id: str) -> JudgedModel:
    return JudgedModel(
        run=identity,
        mlflow_run_id=run_id,
        dataset=fit.dataset,
        dataset_id=fit.dataset_id,
        config=fit.config,
        train_seconds=fit.seconds,
        model=f"{fit.folder}/model",
        history=fit.history,
        findings=fit.findings,
    )


def needs_cluster() -> None:
    """Raises if MLflow is not installed, which comes with the extra `cluster`.

    Raises:
        ServiceError: With the command that installs it.
    """
    if find_spec("mlflow") is None:
        raise ServiceError("registries and clusters need more libraries: pip install 'betaline[cluster]'")
