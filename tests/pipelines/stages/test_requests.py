"""What a flow is asked."""

from __future__ import annotations

import pytest

from pipelines.stages.demo import digits
from pipelines.stages.train import TrainRequest
from pipelines.stages.tune import TuneRequest
from tuning.space import Choice, SearchConfig, around
from vae.config import DataConfig, RunConfig, TrainingConfig, override, parse
from vae.config.presets import preset
from vae.data.missing import MissingCompletelyAtRandom
from vae.errors import ConfigError


def test_final_training_keeps_all_but_how_it_is_trained() -> None:
    """Data, model and objective of the search's base go on; training and scaling are those of the request."""
    search = digits().search
    assert search is not None
    base = override(search.base, {"data.missing": {"kind": "mcar", "share": 0.1}, "objective.beta": 2.0})
    request = digits().model_copy(update={"training": TrainingConfig(epochs=7)})
    final = request.final(base)
    assert final.data == DataConfig(missing=MissingCompletelyAtRandom(share=0.1))
    assert (final.model, final.objective) == (base.model, base.objective)
    assert (final.training.epochs, final.scaling) == (7, request.scaling)
    assert request.model_copy(update={"training": None}).final(base).training == base.training


def test_training_lays_changes_over_its_configuration_or_over_what_suits_the_data() -> None:
    """A configuration that is named stays, whatever suits the data; otherwise the changes lie over what does."""
    asked, changes = {"dataset": "d", "name": "d"}, {"objective.beta": 2.0, "scaling.num_workers": 2}
    named = parse(TrainRequest, {**asked, "config": preset("beta_vae").model_dump(), "changes": {"training.epochs": 3}})
    assert named.config_for(preset("miwae")) == override(preset("beta_vae"), {"training.epochs": 3})
    open_request = parse(TrainRequest, {**asked, "changes": changes})
    assert open_request.config_for(preset("miwae")) == override(preset("miwae"), changes)
    assert open_request.scaling.num_workers == 2
    assert parse(TrainRequest, open_request.model_dump(mode="json")) == open_request


def test_search_without_a_base_is_around_what_suits_the_data() -> None:
    """The default space has the base's own encoder, so that a table is searched over bodies for tables."""
    request = parse(
        TuneRequest, {"dataset": "d", "name": "d", "changes": {"base.training.epochs": 5, "grace_epochs": 2}}
    )
    found = request.search_around(preset("table_vae"))
    assert found.base == override(preset("table_vae"), {"training.epochs": 5})
    assert found.grace_epochs == 2
    assert [value["kind"] for value in choices(found)] == ["table", "table"]
    assert [value["hidden"] for value in choices(found)] == [[64, 64], [128, 128]]
    named = parse(TuneRequest, {"dataset": "d", "name": "d", "search": {"grace_epochs": 3}})
    assert named.search_around(preset("table_vae")) == SearchConfig(grace_epochs=3)
    assert around(RunConfig()) == SearchConfig()


def choices(search: SearchConfig) -> list[dict[str, object]]:
    """The encoders that a search varies over."""
    dimension = search.space["model.encoder"]
    assert isinstance(dimension, Choice)
    return [value for value in dimension.values if isinstance(value, dict)]


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        (TrainRequest, {"objective.betta": 1}),
        (TuneRequest, {"base.objective.betta": 1}),
        (TuneRequest, {"grce_epochs": 1}),
    ],
)
def test_changes_that_no_dataset_accepts_are_refused_with_the_request(
    kind: type[TrainRequest | TuneRequest], changes: dict[str, int]
) -> None:
    """A typo is refused before any service starts, with the nearest field."""
    with pytest.raises(ConfigError, match=r"unknown key \(did you mean"):
        parse(kind, {"dataset": "d", "name": "d", "changes": changes})
