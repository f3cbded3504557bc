"""Training in this process: `vae.fit`."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from pipelines.api.bar import drawn
from pipelines.api.given import dataset_of
from pipelines.api.loading import load
from pipelines.api.model import FIT, Fit, Model, opened
from pipelines.api.places import home_of
from pipelines.api.wording import in_python
from pipelines.cluster.runs import RunFolder
from vae import progress
from vae.config import RunConfig, override, parse
from vae.config.suiting import facts_of, fitted, suited
from vae.data.parquet import Dataset
from vae.errors import ConfigError, Diverged
from vae.model import VAE
from vae.training.assembly import DRAWS, identity_of
from vae.training.latents import fit_latents
from vae.training.loop import Training
from vae.training.state import save_model, weights_of
from vae.training.verdict import Finding, judge, judge_data, measure
from vae.training.world import World, set_up_process


def fit(
    data: Any,
    preset: str | None = None,
    *,
    config: RunConfig | Mapping[str, Any] | None = None,
    changes: Mapping[str, Any] | None = None,
    epochs: int | None = None,
    start: Model | str | Path | None = None,
    workers: int | None = None,
    name: str | None = None,
    reading: Mapping[str, Any] | None = None,
    home: str | Path | None = None,
    show: bool = True,
) -> Model:
    """Trains a model in this process, from where the same call was interrupted, and returns it at its best epoch.

    Args:
        data: Images, rows, a dataset of items, or the path, URI or name of a source or of a dataset: see docs/python.md.
        preset: Name of a preset; None chooses one that suits the data.
        config: Whole configuration, in place of a preset.
        changes: Fields to change by their dotted names, such as `{"model.latent_dim": 2}`.
        epochs: Largest number of epochs: `training.epochs`.
        start: Trained model whose weights to start from, as far as both have them; its parts are then the default.
        workers: Workers of a Ray cluster, which RAY_ADDRESS names; None trains in this process.
        name: Name of the model, and of a dataset that is made; None takes that of the source's file.
        reading: How the data are read: fields of `betaline ingest`, such as `{"label": "species"}`.
        home: Folder of datasets and runs; None takes `BETALINE_HOME`, or `.betaline` in this folder.
        show: Whether to show progress.

    Raises:
        BetalineError: What is wrong with a setting or the data, or Diverged.
    """
    name, place = name or _name_of(data), home_of(home)
    with drawn(name, show=show):
        dataset = dataset_of(data, name, place, reading or {})
    begun = start if start is None or isinstance(start, Model) else load(start)
    shorthands = _given({"training.epochs": epochs, "scaling.num_workers": workers})
    configured = _configured(preset, config, dataset, begun, {**(changes or {}), **shorthands})
    folder = RunFolder(place, _identity(name, configured, dataset, begun))
    return (_fitted if workers is None else _on_cluster)(configured, dataset, begun, folder, name, show=show)


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the values that are not None."""
    return {name: value for name, value in values.items() if value is not None}


def _name_of(data: Any) -> str:
    if isinstance(data, Dataset):
        return data.manifest.name
    return Path(str(data)).stem.partition("@")[0] or "data" if isinstance(data, str | Path) else "data"


def _configured(
    preset: str | None,
    config: RunConfig | Mapping[str, Any] | None,
    dataset: Dataset,
    begun: Model | None,
    changes: Mapping[str, Any],
) -> RunConfig:
    if preset is not None and config is not None:
        raise ConfigError("fit: give a preset or a config, not both; changes go over either")
    if config is None:
        chosen = (fitted(preset, dataset) if preset else suited(facts_of(dataset))).config()
        of_start = begun if preset is None else None
        config = chosen if of_start is None else of_start.fit.config if of_start.fit else chosen
        if of_start is not None:
            config = override(config, {"model": of_start.network.config.model_dump()}, "start")
    elif not isinstance(config, RunConfig):
        config = parse(RunConfig, config, "config")
    return override(config, changes, "changes")


def _identity(name: str, config: RunConfig, dataset: Dataset, begun: Model | None) -> str:
    """Returns the name of the run's folder: the same for the same configuration, data and model to start from."""
    start = None if begun is None else hashlib.sha256(weights_of(begun.network)).hexdigest()
    content = json.dumps([DRAWS, identity_of(config), dataset.manifest.dataset_id, start], sort_keys=True)
    return f"fit-{name}-{hashlib.sha256(content.encode()).hexdigest()[:12]}"


def _fitted(
    config: RunConfig, dataset: Dataset, begun: Model | None, folder: RunFolder, name: str, *, show: bool
) -> Model:
    """Returns the run's model if it has ended; else trains it, or goes on with what the run's folder holds."""
    trained, start = folder.location / "model", folder.location / "start"
    if (trained / FIT).exists():
        return opened(trained.uri, trust_code=True)
    if begun is not None:
        save_model(begun.network, start.uri)
    dataset.check_sizes()
    started = time.monotonic()
    with drawn(name, show=show), _set_up(config):
        training = Training(
            config,
            dataset,
            World(device=torch.device("cuda" if torch.cuda.is_available() else "cpu")),
            (folder.location / "checkpoints").uri,
            start=None if begun is None else start.uri,
        )
        if training.kept is not None and begun is not None:
            progress.report(training.kept.sentence(begun.name))
        is_over = _ends(training)
        network, history = training.best_model(), training.record.history
        fit_latents(network, config, dataset)
        findings = _judged(training, network) if is_over else ()
    facts = Fit(
        name=name,
        config=config,
        dataset=dataset.uri,
        dataset_id=dataset.manifest.dataset_id,
        history=tuple(history),
        findings=findings,
        seconds=time.monotonic() - started,
        is_over=is_over,
        folder=folder.uri,
    )
    model = Model(network, facts)
    if is_over:
        model.save(trained.uri)
    return model


def _on_cluster(
    config: RunConfig, dataset: Dataset, begun: Model | None, folder: RunFolder, name: str, *, show: bool
) -> Model:
    from pipelines.api.remote import trained_on_cluster

    start = None if begun is None else (folder.location / "start").uri
    if begun is not None and start is not None:
        save_model(begun.network, start)
    return trained_on_cluster(config, dataset, folder, name, start, show=show)


def _judged(training: Training, network: VAE) -> tuple[Finding, ...]:
    """Returns the findings of the verdict on a training that has ended."""
    progress.report("judging the run")
    config, dataset = training.config, training.dataset
    findings = judge(config, training.record.history, measure(config, dataset, network))
    return (*findings, *judge_data(config, dataset, network))


def _ends(training: Training) -> bool:
    """Trains to the end; returns False if it was interrupted."""
    try:
        training.run()
    except KeyboardInterrupt:
        return False
    except Diverged as error:
        raise Diverged(in_python(str(error))) from None
    return True


@contextmanager
def _set_up(config: RunConfig) -> Iterator[None]:
    """Sets torch up as in a worker while the block runs, and then as the caller had it."""
    threads = torch.get_num_threads()
    set_up_process(config.scaling.cpus_per_worker)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_flush_denormal(False)
