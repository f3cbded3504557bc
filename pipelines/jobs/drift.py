"""Drift: compares a registered model's figures on fresh data with those of its registration."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from pipelines.data.apply import pull
from pipelines.jobs.job import Job
from pipelines.models import drift, registry, tracking
from pipelines.stages.drift import DriftRequest, DriftResult
from vae import progress
from vae.data.catalog import resolve
from vae.data.parquet import Dataset

Request = DriftRequest


def run(job: Job[DriftRequest]) -> DriftResult:
    """Compares fresh data with the data that a registered model was trained on."""
    request = job.request
    progress.report("loading the model")
    dataset = Dataset.open(job.pinned("dataset", lambda: resolve(job.home, request.dataset)))
    version = registry.resolve(job.pinned("model", lambda: registry.resolve(request.name, request.alias).uri))
    with TemporaryDirectory() as scratch:
        reference = tracking.read_file(version.run_id, f"report/{drift.REFERENCE}", Path(scratch))
    known = drift.Reference.model_validate_json(reference)
    served, _ = pull(version.uri)
    fresh = drift.profile_of(
        served.model, dataset, known.ranges, max_rows=request.max_rows, num_samples=known.profile.num_samples
    )
    findings = drift.compare(known.profile, fresh)
    return DriftResult(
        name=version.name,
        version=version.version,
        alias=request.alias,
        dataset=dataset.uri,
        dataset_id=dataset.manifest.dataset_id,
        num_examples=fresh.num_examples,
        findings=tuple(findings),
        drifted=any(finding.drifted for finding in findings),
    )
