"""Typed results of stages: what Prefect keeps of them comes back, and their JSON has the keys that programs read."""

from __future__ import annotations

from typing import Any

import pytest
from prefect.serializers import JSONSerializer
from pydantic_core import to_jsonable_python

from pipelines.data.sources.tables.columns import Understood
from pipelines.data.sources.tables.values import Numerals
from pipelines.stages.ingest import IngestResult, WatchResult
from pipelines.stages.promote import PendingPromotion
from pipelines.stages.report import ReportResult
from pipelines.stages.tune import TuneResult
from tuning.frontier import Trial
from tuning.space import SearchConfig
from vae.config import RunConfig

COLUMN = Understood("x", "feature", "money", numerals=Numerals(",", is_plain=False), remarks=("decimal comma",))
DATASET = IngestResult("id", "uri", "digits", {"train": 3}, ("a",), False, 0, None, (), (COLUMN,), 1.0, 1.0, 1.0, 0)
BEST = Trial("a", {"objective.beta": 1.0}, "finished", 1, distortion=1.0, rate=2.0, negative_bound=3.0)
SEARCH = TuneResult(
    run="search", mlflow_run_id="run-1", dataset="uri", trials=(BEST,), pareto=("a",), best=BEST, config=RunConfig(),
    search=SearchConfig(), select="bound", search_seconds=1.0, verdict="sound", findings=(), report=None,
)  # fmt: skip
PENDING = PendingPromotion(reason="a person decides", flow_run="red-owl")


@pytest.mark.parametrize(
    "result",
    [
        DATASET,
        WatchResult(source="s", step="ingested", dataset=DATASET),
        SEARCH,
        SEARCH.model_copy(update={"promotion": PENDING}),
    ],
    ids=["ingest", "watch", "search", "promoted search"],
)
def test_prefect_keeps_a_result(result: Any) -> None:
    """A result that Prefect has stored as JSON is equal, in its own class."""
    serializer = JSONSerializer()
    assert serializer.loads(serializer.dumps(result)) == result


def test_json_of_a_result_has_no_key_of_a_step_that_was_not_asked_for() -> None:
    """`promotion`, `dataset` and `report` are keys only after a promotion, an ingest and a drawing."""
    assert "promotion" not in to_jsonable_python(SEARCH)
    assert "promotion" in to_jsonable_python(SEARCH.model_copy(update={"promotion": PENDING}))
    assert to_jsonable_python(WatchResult(source="s", step="ready")) == {"source": "s", "step": "ready"}
    found = ReportResult(run="one", drawn=False, report_url="http://m")
    assert to_jsonable_python(found) == {"run": "one", "drawn": False, "report_url": "http://m"}
