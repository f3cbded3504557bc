"""The flow that trains one configuration."""

from __future__ import annotations

from functools import partial

from prefect.artifacts import create_markdown_artifact

from pipelines.cluster.needs import needs_of
from pipelines.flows.job_events import linked_report
from pipelines.flows.promote import promote_if_asked
from pipelines.flows.ray_job import folder_of, home, own_identity, ray_job, stage
from pipelines.stages.train import TrainRequest, TrainResult


@stage
def train(request: TrainRequest, run: str | None = None) -> TrainResult:
    """Trains one configuration on the cluster.

    Args:
        request: What to train, on which dataset; and the alias that the model may take afterwards.
        run: Name of the run; the same name resumes an earlier run. None derives a new name.
    """
    identity = own_identity("train", run)
    asked = request.model_dump(mode="json", exclude={"alias", "approve", "exact"})
    with linked_report("train", folder_of(identity)) as report:
        result = ray_job("train", asked, identity, TrainResult, partial(needs_of, request, home()))
    best = result.best
    chosen = f"{result.chosen.sentence}\n\n" if result.chosen else ""
    create_markdown_artifact(
        f"{chosen}Run **{result.run}** of **{request.name}**: best of {len(result.history)} epochs is {best.epoch}, "
        f"validation bound {best.validation_negative_bound:.3f} nats (distortion {best.validation_distortion:.3f}, "
        f"rate {best.validation_rate:.3f}).",
        key="training",
        description=f"Training of {request.name}",
    )
    promotion = promote_if_asked(request, identity)
    return result.model_copy(update={"report_url": report.url, "promotion": promotion})
