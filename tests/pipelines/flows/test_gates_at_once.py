"""Two gates that decide on one alias at the same moment."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from mlflow import MlflowClient

from pipelines.models import registry, tracking
from pipelines.models.versions import Score
from pipelines.services import Services
from tests.pipelines.models.test_gate import evaluated

pytestmark = pytest.mark.servers("services")


def candidate(name: str, nats: float) -> Any:
    """The evaluation of a new version with a score, made when the alias had no version."""
    client, score = MlflowClient(), Score(nats, "nll_is200", "d1")
    run = client.get_run(tracking.open_run(name, f"{name}-{nats:g}"))
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
    tags = {registry.SCORE_NAME: score.name, registry.SCORE: repr(score.nats), tracking.DATASET: score.dataset_id}
    number = client.create_model_version(name, f"{run.info.artifact_uri}/model", run.info.run_id, tags).version
    version = registry.resolve(f"{name}/{number}")
    return evaluated(version=version, score=score)


@pytest.mark.parametrize("round_", range(2))
def test_better_of_two_models_is_champion_and_the_other_is_known(services: Services, round_: int) -> None:
    """Whichever gate comes first, the lower score has the alias, and a rollback finds what had it before."""
    from pipelines.flows.promote import settled

    name = f"at-once-{round_}"
    worse, better = (candidate(name, nats) for nats in (81.0, 80.0))
    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(settled, (worse, better))
    assert second.promote
    champion = registry.find(name, "champion")
    assert champion is not None
    assert champion.version == better.version.version
    before = registry.tags_of(champion).get(f"{registry.BEFORE}.champion")
    assert before == (worse.version.version if first.promote else None)
    if first.promote:
        assert registry.rollback(name, "champion")[1].version == worse.version.version
