"""Evaluate: everything before the gate. Scores a run on the test split, reports, registers, and proves that it loads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipelines import packaging, registry, report
from pipelines.jobs.job import Job
from pipelines.requests import PromoteRequest
from pipelines.runs import emit
from tuning.frontier import Trial
from vae.config import RunConfig, parse
from vae.data.batches import InOrder, Share
from vae.data.parquet import Dataset
from vae.likelihoods import binarization
from vae.metrics.likelihood import bound_sums, importance_sampled_nll
from vae.model import VAE
from vae.state import load_model
from vae.storage import locate, write_whole
from vae.training import example_spec

REPORT_ROWS = 1000


def run(job: Job) -> dict[str, Any]:
    """Scores a trained run on the test split, registers it, and proves that it loads. The flow decides on the alias."""
    request = parse(PromoteRequest, job.request, "promote")
    trained = job.result_of(request.run)
    run_id, config = trained["mlflow_run_id"], parse(RunConfig, trained["config"], request.run)
    dataset = Dataset.open(trained["dataset"])
    dataset.verify(["test"])
    model = load_model(trained["model"])
    emit("evaluate", {"what": "importance-sampled likelihood on the test split"})
    score, evidence = _evidence(request, model, config, dataset, trained)
    if request.search:
        found = job.result_of(request.search)
        evidence.update(trials=[Trial(**trial) for trial in found["trials"]], chosen_trial=found["best"]["trial_id"])
    emit("evaluate", {"what": "report and model card"})
    with TemporaryDirectory() as scratch:
        made = report.Evidence(**evidence, name=request.name, version=None, run_id=run_id, failure=None)
        card = report.card(made, f"models:/{request.name}@{request.alias}")
        files = report.write(made, Path(scratch) / "report")
        registry.log_files(run_id, files.values(), "report")
        version = registry.registered(request.name, request.run)
        if version is None:
            emit("evaluate", {"what": "registering"})
            weights = _local_copy(trained["model"], Path(scratch) / "weights")
            uri = packaging.log_model(run_id, weights, (made.pixels[:2] / 255).astype("float32"), card)
            version = registry.register(request.name, uri, run_id, request.run, score, card)
        emit("evaluate", {"what": "loading it from the registry"})
        packaging.check_loads(version.uri)
        champion = registry.find(request.name, request.alias)
        champion_score = _score_champion(champion, score, dataset, request.num_samples, Path(scratch))
    metrics = {
        "test_negative_elbo": evidence["bound"].negative_elbo,
        "test_distortion": evidence["bound"].distortion,
        "test_rate": evidence["bound"].rate,
        f"test_{score.name}": score.nats,
        "test_active_units": float(evidence["bound"].active_units),
    }
    registry.log_metrics(run_id, metrics)
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


def _evidence(
    request: PromoteRequest, model: VAE, config: RunConfig, dataset: Dataset, trained: Mapping[str, Any]
) -> tuple[registry.Score, dict[str, Any]]:
    share = Share.of(dataset, "test", binarization=binarization(config.model.likelihood))
    test = InOrder(share)
    nll = importance_sampled_nll(model, test, num_samples=request.num_samples, seed=0)
    rows = dataset.read_rows("test", 0, min(REPORT_ROWS, share.num_rows))
    score = registry.Score(nll.nll, protocol(model, request.num_samples), dataset.manifest.dataset_id)
    evidence = {
        "model": model,
        "config": config,
        "dataset": dataset.manifest,
        "pixels": rows.pixels.reshape(-1, *model.examples.shape),
        "labels": rows.labels,
        "history": trained["history"],
        "bound": bound_sums(model, test, seed=0).bound(),
        "nll": nll,
        "trials": [],
        "chosen_trial": None,
        "seconds": {"train": trained["train_seconds"]},
    }
    return score, evidence


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
    if champion.score.dataset_id == candidate.dataset_id or champion.score.name != candidate.name:
        return champion.score
    model = load_model(str(packaging.download(champion.uri, scratch / "champion")))
    if model.examples != example_spec(dataset):
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
