"""Evaluate: everything before the gate. Scores a run on the test split, reports, registers, and proves that it loads."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipelines import packaging, registry, report
from pipelines.jobs.job import Job
from pipelines.requests import PromoteRequest
from pipelines.runs import emit
from tuning.frontier import Trial
from vae import serving
from vae.config import RunConfig, parse
from vae.data.batches import Batch, InOrder, Share
from vae.data.parquet import Dataset
from vae.errors import DataError, Diverged, RegistryError
from vae.likelihoods import binarization
from vae.metrics.likelihood import bound_sums, importance_sampled_nll
from vae.model import VAE
from vae.state import WEIGHTS, load_model
from vae.storage import locate, sha256_of, write_whole
from vae.training import example_spec

REPORT_ROWS = 1000


def run(job: Job) -> dict[str, Any]:
    """Scores a trained run on the test split, registers it, and proves that it loads. The flow decides on the alias."""
    request = parse(PromoteRequest, job.request, "promote")
    trained = job.result_of(request.run)
    if "model" not in trained:
        raise RegistryError(f"{request.run} trained no model: give the name that `betaline train` printed")
    dataset = Dataset.open(trained["dataset"])
    if not dataset.num_rows("test"):
        raise DataError(f"{dataset.uri} has no test split, on which a model is judged; ingest the data with one")
    dataset.verify(["test"])
    evidence = _evidence(job, request, dataset, trained)
    assert evidence.model is not None
    assert evidence.nll is not None
    assert evidence.bound is not None
    score_name = protocol(evidence.model, request.num_samples)
    score = registry.Score(evidence.nll.nll, score_name, dataset.manifest.dataset_id)
    if not math.isfinite(score.nats):
        raise Diverged(f"{score_name} of {request.run} is {score.nats}: the model is not registered")
    metrics = {
        "test_negative_elbo": evidence.bound.negative_elbo,
        "test_distortion": evidence.bound.distortion,
        "test_rate": evidence.bound.rate,
        "test_active_units": float(evidence.bound.active_units),
        f"test_{score_name}": score.nats,
    }
    run_id = trained["mlflow_run_id"]
    registry.log_metrics(run_id, metrics)
    with TemporaryDirectory() as scratch:
        version = _register(request, evidence, trained, score, Path(scratch))
        champion = registry.find(request.name, request.alias)
        champion_score = _score_champion(champion, score, dataset, request.num_samples, Path(scratch))
    return {
        "version": asdict(version),
        "score": asdict(score),
        "champion": asdict(champion) if champion else None,
        "champion_score": asdict(champion_score) if champion_score else None,
        "metrics": metrics,
        "mlflow_run_id": run_id,
        "experiment_id": registry.experiment_of(run_id),
        "report": f"runs:/{run_id}/report/report.html",
        "threshold_nats": request.threshold_nats,
        "alias": request.alias,
    }


def _evidence(job: Job, request: PromoteRequest, dataset: Dataset, trained: Mapping[str, Any]) -> report.Evidence:
    """Everything that the report is made of, measured on the test split."""
    config = parse(RunConfig, trained["config"], request.run)
    model = load_model(trained["model"])
    test = InOrder(Share.of(dataset, "test", binarization=binarization(config.model.likelihood)))
    rows = dataset.read_rows("test", 0, min(REPORT_ROWS, test.share.num_rows))
    found = job.result_of(request.search) if request.search else None
    return report.Evidence(
        model=model,
        config=config,
        dataset=dataset.manifest,
        name=request.name,
        run_id=trained["mlflow_run_id"],
        pixels=rows.pixels.reshape(-1, *model.examples.shape),
        labels=rows.labels,
        history=trained["history"],
        nll=importance_sampled_nll(model, _announced(test), num_samples=request.num_samples, seed=0),
        bound=bound_sums(model, test, seed=0).bound(),
        trials=[Trial(**trial) for trial in found["trials"]] if found else [],
        chosen_trial=found["best"]["trial_id"] if found else None,
        seconds={"train": trained["train_seconds"]},
    )


def _register(
    request: PromoteRequest,
    evidence: report.Evidence,
    trained: Mapping[str, Any],
    score: registry.Score,
    scratch: Path,
) -> registry.Version:
    """Logs the report and the model, registers it unless an earlier attempt has, and loads it from there once."""
    emit("evaluate", {"what": "report and model card"})
    card = report.card(evidence, f"models:/{request.name}@{request.alias}")
    run_id = trained["mlflow_run_id"]
    registry.log_files(run_id, report.write(evidence, scratch / "report").values(), "report")
    local = _local_copy(trained["model"], scratch / serving.ARTIFACT)
    weights = sha256_of(locate(str(local / WEIGHTS)))
    version = registry.registered(request.name, run_id, weights)
    if version is None:
        emit("evaluate", {"what": "registering"})
        uri = packaging.log_model(run_id, local, _input_example(evidence), card)
        version = registry.register(request.name, uri, run_id, weights, score, card)
    emit("evaluate", {"what": "loading it from the registry"})
    packaging.check_loads(version.uri)
    return version


def _input_example(evidence: report.Evidence) -> Any:
    """Two images as `predict` takes them, with their classes where the model is conditional."""
    images = (evidence.pixels[:2] / 255).astype("float32")
    if evidence.model is None or not evidence.model.num_classes or evidence.labels is None:
        return images
    classes = evidence.model.examples.classes or ()
    return images, {"condition": [classes[label] for label in evidence.labels[:2]]}


def _announced(batches: InOrder) -> Iterator[Batch]:
    """The batches, with an event for each: a large test split takes minutes."""
    total, done = batches.share.num_rows, 0
    for batch in batches:
        emit("evaluate", {"what": f"importance-sampled likelihood, {done:,} of {total:,} test examples"})
        yield batch
        done += len(batch)


def protocol(model: VAE, num_samples: int) -> str:
    """Name of the score: figures under different binarisation policies or densities are not comparable."""
    policy = binarization(model.config.likelihood)
    kind = model.config.likelihood.kind
    return f"nll_{kind}{f'_{policy}' if policy else ''}_is{num_samples}"


def _score_champion(
    champion: registry.Version | None,
    candidate: registry.Score,
    dataset: Dataset,
    num_samples: int,
    scratch: Path,
) -> registry.Score | None:
    """The champion's score on the candidate's data; it is evaluated again where it was registered on other data."""
    if champion is None or champion.score is None:
        return None
    if (champion.score.dataset_id, champion.score.name) == (candidate.dataset_id, candidate.name):
        return champion.score
    model = load_model(str(packaging.download(champion.uri, scratch / "champion")))
    data = example_spec(dataset)
    fits = model.examples == data if model.num_classes else model.examples.shape == data.shape
    if not fits or protocol(model, num_samples) != candidate.name:
        return champion.score
    emit("evaluate", {"what": f"{champion.name} version {champion.version} on the new data"})
    test = InOrder(Share.of(dataset, "test", binarization=binarization(model.config.likelihood)))
    nll = importance_sampled_nll(model, test, num_samples=num_samples, seed=0)
    return registry.Score(nll.nll, candidate.name, candidate.dataset_id)


def _local_copy(uri: str, folder: Path) -> Path:
    """The files of a folder, on this machine."""
    source = locate(uri)
    for info in source.list():
        write_whole(locate(str(folder / info.base_name)), (source / info.base_name).read())
    return folder
