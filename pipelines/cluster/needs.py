"""Resources that a training needs, computed from its request and its dataset before a job is submitted."""

from __future__ import annotations

import math

from pipelines.cluster.resources import GIB, Resources
from pipelines.jobs.choosing import default_of
from pipelines.models import registry, tracking
from pipelines.stages.promote import PromoteRequest
from pipelines.stages.train import TrainRequest
from pipelines.stages.tune import TuneRequest
from vae.config import RunConfig
from vae.data.catalog import resolve
from vae.data.parquet import Dataset
from vae.training.footprint import TRUST, Footprint, check_length, fitting_batch, footprint


def check_search(request: TuneRequest, home: str) -> None:
    """Refuses a search without a dataset, or whose experiment was deleted; raises as `needs_of` does."""
    resolve(home, request.dataset)
    tracking.refuse_deleted(request.name)


def check_promotion(request: PromoteRequest) -> None:
    """Refuses a promotion where the experiment, or the run of the version that has the alias, was deleted in MLflow.

    Raises:
        RegistryError: With the command that restores it.
    """
    champion = registry.find(request.name, request.alias)
    tracking.refuse_deleted(request.name, [champion.run_id] if champion is not None and champion.run_id else [])


def needs_of(request: TrainRequest, home: str) -> Resources:
    """Returns the resources of a training's workers.

    Memory is estimated for workers without a GPU, and taken as the least that the estimate may mean.

    Args:
        request: The training.
        home: BETALINE_HOME, a path or a URI.

    Raises:
        RegistryError: If the experiment was deleted in MLflow.
        DataError: If there is no such dataset, or it has no validation split.
        ConfigError: If the batch or a schedule does not fit the dataset.
    """
    tracking.refuse_deleted(request.name)
    dataset = Dataset.open(resolve(home, request.dataset))
    config = request.config_for(RunConfig() if request.config else default_of(request.preset, dataset).config())
    check_length(config, dataset)
    scaling = config.scaling
    estimate = None if scaling.gpus_per_worker else footprint(config, dataset)
    return Resources(
        num_workers=scaling.least_workers,
        cpus_per_worker=scaling.cpus_per_worker,
        gpus_per_worker=scaling.gpus_per_worker,
        memory_per_worker=estimate.total / TRUST if estimate else 0.0,
        on_shortage=lambda most_bytes: _advice(config, dataset, estimate, most_bytes) if estimate else "",
    )


def _advice(config: RunConfig, dataset: Dataset, estimate: Footprint, most_bytes: float) -> str:
    """Returns which parts take the memory, and what would fit."""
    parts = {"weights and their copies": estimate.weights, "one step": estimate.step, "data": estimate.data}
    listed = ", ".join(f"{name} {size / GIB:.1f} GiB" for name, size in parts.items())
    found = f"estimated to a factor of {TRUST:g}: {listed}. "
    if estimate.data > max(estimate.step, estimate.weights):
        budget = max(1 << 26, int(most_bytes - (estimate.total - estimate.data)))
        return f"{found}Hold less data: --set training.feed=streaming --set training.memory_budget_bytes={budget}"
    if batch := fitting_batch(config, dataset, most_bytes):
        return f"{found}Use a smaller batch: --set training.batch_size={batch}"
    example = dataset.manifest.example
    if example.kind == "image":
        _, height, width = example.shape
        scale = math.sqrt(most_bytes / estimate.total)
        sides = "x".join(str(max(8, int(side * scale) // 8 * 8)) for side in (height, width))
        return f"{found}Ingest smaller images: betaline ingest … --resize {sides}"
    return f"{found}Use a smaller model, such as fewer hidden units, or machines with more memory"
