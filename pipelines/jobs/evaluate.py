"""Evaluate: everything before the gate. Scores a run on the test split, reports, registers, and proves that it loads."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from pipelines import report
from pipelines.cluster.runs import emit
from pipelines.flows.requests import PromoteRequest
from pipelines.jobs import reports
from pipelines.jobs.job import Job
from pipelines.jobs.searched import best_so_far, is_search
from pipelines.models import drift, packaging, registry, tracking
from pipelines.report import projections
from pipelines.report.costs import Stage, training_stage
from tuning.frontier import Trial
from vae import serving
from vae.config import MetricFamily, ModelConfig, RunConfig, parse
from vae.data.batches import Batch, InOrder, Share
from vae.data.missing import MissingConfig
from vae.data.parquet import Dataset
from vae.data.schema import Column, ExampleSpec
from vae.data.statistics import example_spec
from vae.data.tables import write_rows
from vae.errors import DataError, Diverged, RegistryError
from vae.metrics.likelihood import bound_sums, negative_log_likelihood
from vae.metrics.suite import NOISE, claimed, measure
from vae.model import VAE
from vae.parts.likelihoods.preparing import prepare
from vae.storage import locate, sha256_of, write_whole
from vae.training.state import WEIGHTS, load_model
from vae.training.verdict import Finding, words


def run(job: Job) -> dict[str, Any]:
    """Scores a trained run on the test split, registers it, and proves that it loads. The flow decides on the alias."""
    request = parse(PromoteRequest, job.request, "promote")
    trained = best_so_far(job, request.run) if is_search(job, request.run) else job.result_of(request.run)
    if "model" not in trained:
        raise RegistryError(f"{request.run} trained no model: give the name that `betaline train` or `tune` printed")
    projections.check(request.projection)
    started, known = time.monotonic(), _trained(request, trained)

    def spent() -> list[Stage]:
        return [*known.stages, Stage("evaluate", time.monotonic() - started)]

    def failed(said: str) -> report.Evidence:
        return replace(known, stages=spent(), failure=said)

    # One step after the other, so that the report of a promotion that fails has what was found before.
    with reports.left_on_failure(job, trained["mlflow_run_id"], failed, tracking.FAILED_PROMOTION_FOLDER):
        if request.search:
            found = job.result_of(request.search)
            known = _searched(known, {**found, "chosen_trial": found["best"]["trial_id"]})
        dataset = Dataset.open(trained["dataset"])
        known = replace(known, dataset=dataset.manifest)
        if not dataset.num_rows("test"):
            raise DataError(f"{dataset.uri} has no test split, on which a model is judged; ingest the data with one")
        dataset.verify(["test"])
        model = load_model(trained["model"])
        known = reports.judged(known, dataset, model)
        test = _test_split(dataset, known.config.model, known.config.data.missing)
        known = replace(known, model=model, rows=reports.fixed_rows(test.share))
        known = replace(known, bound=bound_sums(model, test, seed=0).bound())
        nll = negative_log_likelihood(model, _announced(test), num_samples=request.num_samples, seed=0)
        known = replace(known, nll=nll)
        score = _score(request, known, dataset)
        known = replace(known, metrics=_uses(request, known, dataset))
        known = replace(known, stages=spent())
        return _registered(job, request, known, dataset, trained, score)


def _trained(request: PromoteRequest, trained: Mapping[str, Any]) -> report.Evidence:
    """What the training has told."""
    config = parse(RunConfig, trained["config"], request.run)
    known = report.Evidence(
        config=config,
        dataset=None,
        name=request.name,
        run_id=trained["mlflow_run_id"],
        history=trained["history"],
        projection=request.projection,
        findings=divergence(trained),
        stages=[training_stage(config, trained["train_seconds"])],
    )
    return _searched(known, trained)


def divergence(trained: Mapping[str, Any]) -> list[Finding]:
    """Returns the finding of a run that diverged, whose model is of the epochs before."""
    if "diverged" not in trained:
        return []
    epochs, advice = len(trained["history"]), f"--start-from {trained['run']} {trained['advice']}"
    return [Finding("diverged", epochs, f"the training diverged after {epochs} epochs: {trained['diverged']}", advice)]


def _searched(known: report.Evidence, found: Mapping[str, Any]) -> report.Evidence:
    """The same with a search's trials, where there are any."""
    stages = [Stage("search", spent)] if (spent := found.get("search_seconds")) else []
    return replace(
        known,
        trials=[Trial(**trial) for trial in found.get("trials", [])],
        chosen_trial=found.get("chosen_trial"),
        rule=found.get("select", "bound"),
        stages=[*stages, *known.stages],
    )


def _score(request: PromoteRequest, known: report.Evidence, dataset: Dataset) -> registry.Score:
    """What the gate compares.

    Raises:
        Diverged: If it is no number.
    """
    assert known.nll is not None
    name = protocol(known.config.model, known.config.data.missing, request.num_samples)
    if not math.isfinite(known.nll.nats):
        raise Diverged(f"{name} of {request.run} is {known.nll.nats}: the model is not registered")
    return registry.Score(known.nll.nats, name, dataset.manifest.dataset_id)


def _uses(request: PromoteRequest, known: report.Evidence, dataset: Dataset) -> dict[str, float]:
    """The metrics of what the model is used for, and of those that were asked for."""
    assert known.model is not None
    families: tuple[MetricFamily, ...] = (*claimed(known.model), *request.metrics)
    if not families:
        return {}
    emit("evaluate", {"what": ", ".join(dict.fromkeys(families))})
    return measure(known.model, dataset, families, corruption=known.config.objective.corruption or NOISE)


def _registered(
    job: Job,
    request: PromoteRequest,
    known: report.Evidence,
    dataset: Dataset,
    trained: Mapping[str, Any],
    score: registry.Score,
) -> dict[str, Any]:
    """The version, and what the gate compares it with."""
    assert known.bound is not None
    metrics = {
        "test_negative_elbo": known.bound.negative_elbo,
        "test_distortion": known.bound.distortion,
        "test_rate": known.bound.rate,
        "test_active_units": float(known.bound.active_units),
        f"test_{score.name}": score.nats,
        **{f"test_{metric}": value for metric, value in known.metrics.items()},
    }
    run_id, missing = trained["mlflow_run_id"], known.config.data.missing
    tracking.log_metrics(run_id, metrics)
    with TemporaryDirectory() as scratch:
        left, version = _register(job, request, known, dataset, trained, score, Path(scratch))
        champion = registry.find(request.name, request.alias)
        champion_score = _score_champion(champion, score, dataset, missing, request.num_samples, Path(scratch))
    return {
        "version": asdict(version),
        "score": asdict(score),
        "champion": asdict(champion) if champion else None,
        "champion_score": asdict(champion_score) if champion_score else None,
        "metrics": metrics,
        "mlflow_run_id": run_id,
        "experiment_id": tracking.experiment_of(run_id),
        "report": left,
        "threshold_nats": request.threshold_nats,
        "require": request.require,
        "verdict": words(known.findings),
        "findings": [asdict(finding) for finding in known.findings],
        "accept": request.accept,
        "alias": request.alias,
    }


def _test_split(dataset: Dataset, config: ModelConfig, missing: MissingConfig | None) -> InOrder:
    return InOrder(Share.of(dataset, "test", binarization=config.likelihood.binarization_policy, missing=missing))


def _register(
    job: Job,
    request: PromoteRequest,
    evidence: report.Evidence,
    dataset: Dataset,
    trained: Mapping[str, Any],
    score: registry.Score,
    scratch: Path,
) -> tuple[str, registry.Version]:
    """Logs the report and the model, registers it unless an earlier attempt has, and loads it from there once. Returns the
    report's URI, and the version.
    """
    emit("evaluate", {"what": "report and model card"})
    card = report.card(evidence, f"models:/{request.name}@{request.alias}")
    assert evidence.model is not None
    reference = scratch / drift.REFERENCE
    reference.write_text(drift.reference_of(evidence.model, dataset).model_dump_json())
    run_id = trained["mlflow_run_id"]
    left = reports.log(job, run_id, [*report.write(evidence, scratch / "report").values(), reference])
    local = _local_copy(trained["model"], scratch / serving.ARTIFACT)
    weights = sha256_of(locate(str(local / WEIGHTS)))
    version = registry.registered(request.name, run_id, weights)
    if version is None:
        emit("evaluate", {"what": "registering"})
        uri = packaging.log_model(run_id, local, evidence.config.model, _input_example(evidence), card)
        verdict = words(evidence.findings)
        version = registry.register(request.name, uri, run_id, weights, score, card, verdict)
    emit("evaluate", {"what": "loading it from the registry"})
    packaging.check_loads(version.uri)
    return left, version


def _input_example(evidence: report.Evidence) -> Any:
    """Two rows as `predict` takes them, with what the model is told of them where it is conditional."""
    assert evidence.model is not None
    assert evidence.rows is not None
    values, columns = evidence.rows.values[:2], evidence.model.examples.columns
    rows = (values.float() / 255).numpy() if columns is None else write_rows(values.numpy(), columns)
    conditions = evidence.conditions(2)
    return (rows, {"condition": conditions}) if conditions else rows


def _announced(batches: InOrder) -> Iterator[Batch]:
    """The batches, with an event for each: a large test split takes minutes."""
    total, done = batches.share.num_rows, 0
    for batch in batches:
        emit("evaluate", {"what": f"likelihood, {done:,} of {total:,} test examples"})
        yield batch
        done += len(batch)


def protocol(config: ModelConfig, missing: MissingConfig | None, num_samples: int) -> str:
    """Returns the name of the score. Figures under different binarisation policies, densities or holes are not comparable,
    and a vector-quantised model has a bound where others have an estimate.

    `grey` marks densities over pixels whose scales have the floor of one grey level: a score without it is of a version
    with a lower floor.
    """
    quantized = config.posterior.has_codes
    parts = [
        "nelbo" if quantized else "nll",
        config.likelihood.protocol,
        missing and f"{missing.kind}{missing.share:g}",
        None if quantized else f"is{num_samples}",
    ]
    return "_".join(filter(None, parts))


def _score_champion(
    champion: registry.Version | None,
    candidate: registry.Score,
    dataset: Dataset,
    missing: MissingConfig | None,
    num_samples: int,
    scratch: Path,
) -> registry.Score | None:
    """The champion's score on the candidate's data; it is evaluated again where it was registered on other data."""
    if champion is None or champion.score is None:
        return None
    if (champion.score.dataset_id, champion.score.name) == (candidate.dataset_id, candidate.name):
        return champion.score
    model = load_model(str(packaging.download(champion.uri, scratch / "champion")))
    data = example_spec(dataset, missing)
    if not fits(model, data) or protocol(model.config, missing, num_samples) != candidate.name:
        return champion.score
    model.examples = with_bounds_of(model.examples, data)
    emit("evaluate", {"what": f"{champion.name} version {champion.version} on the new data"})
    test = _test_split(dataset, model.config, missing)
    nll = negative_log_likelihood(model, test, num_samples=num_samples, seed=0)
    return registry.Score(nll.nats + unit_change(model, data, test), candidate.name, candidate.dataset_id)


def with_bounds_of(known: ExampleSpec, data: ExampleSpec) -> ExampleSpec:
    """Returns what a model knows of its examples with the plausible ranges of other data: two models are compared by their
    likelihoods of the same values.
    """
    if known.columns is None or data.columns is None:
        return known
    pairs = zip(known.columns, data.columns, strict=True)
    return replace(known, columns=tuple(replace(mine, lowest=its.lowest, highest=its.highest) for mine, its in pairs))


def fits(model: VAE, data: ExampleSpec) -> bool:
    """Whether a model can be asked about other data: the same shape and columns, and the same of what it is told. Means and
    standard deviations may differ: it keeps its own.
    """
    known, told = model.examples, set(model.config.condition)
    return (
        known.shape == data.shape
        and _names(known.columns) == _names(data.columns)
        and (known.classes == data.classes or "class" not in told)
        and (_names(known.attributes) == _names(data.attributes) or not told - {"class"})
    )


def _names(columns: Sequence[Column] | None) -> list[tuple[str, tuple[str, ...] | None]] | None:
    return None if columns is None else [(column.name, column.categories) for column in columns]


def unit_change(model: VAE, data: ExampleSpec, batches: Iterable[Batch]) -> float:
    """What a model's negative log-likelihood of a table grows by in the units of other data, in nats per example.

    A density is per unit: of each observed number by log of the model's standard deviation over the data's.
    """
    if model.examples.columns is None or data.columns is None:
        return 0.0
    ratios = [mine.std / theirs.std for mine, theirs in zip(model.examples.columns, data.columns, strict=True)]
    log_ratio_D = torch.tensor(ratios, dtype=torch.float64).log()
    changes = []
    for batch in batches:
        _, observed_BD = prepare(batch.values, model.config.likelihood, model.examples, torch.Generator())
        assert observed_BD is not None, "of a table"
        changes.append(observed_BD.double() @ log_ratio_D)
    return torch.cat(changes).mean().item()


def _local_copy(uri: str, folder: Path) -> Path:
    """The files of a folder, on this machine."""
    source = locate(uri)
    for info in source.list():
        write_whole(locate(str(folder / info.base_name)), (source / info.base_name).read())
    return folder
