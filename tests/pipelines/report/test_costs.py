"""Duration and cost of a run."""

from __future__ import annotations

from pipelines.report.costs import Stage, pace, training_stage
from tests.pipelines.report.conftest import epochs
from vae.config import RunConfig, parse


def test_training_costs_what_its_workers_hold() -> None:
    """Two workers of three cores and a GPU each take six core-hours and two GPU-hours in an hour."""
    config = parse(RunConfig, {"scaling": {"num_workers": 2, "cpus_per_worker": 3, "gpus_per_worker": 1}})
    stage = training_stage(config, 3600.0)
    assert (stage.cpu_hours, stage.gpu_hours) == (6, 2)
    assert training_stage(config, 900.0).cpu_hours == 1.5
    assert Stage("evaluate", 60.0).cpu_hours is None


def test_pace_is_that_of_the_epochs() -> None:
    """Steps, examples, speed and the median time of an epoch; the clock of a resumed run starts anew."""
    config = parse(RunConfig, {"training": {"epochs": 9, "batch_size": 32}})
    history = [
        {**epoch, "elapsed_seconds": seconds} for epoch, seconds in zip(epochs(4), (2, 4.5, 1.0, 4.0), strict=True)
    ]
    rows = dict(pace(config, history))
    assert rows["epochs"] == "4 of 9 at most"
    assert rows["optimiser steps"] == "40"
    assert rows["examples seen"] == "1,280"
    assert rows["examples per second"].startswith("10,000")
    assert rows["seconds per epoch"].startswith("2.5 s")
    assert pace(config, []) == []


def test_pace_of_epochs_in_mlflow_says_less() -> None:
    """Epochs as MLflow keeps them have neither steps nor speed."""
    assert pace(RunConfig(), [{"epoch": 1}, {"epoch": 2}]) == [("epochs", "2 of 100 at most")]
