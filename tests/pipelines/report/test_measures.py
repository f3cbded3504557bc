"""Metrics of a model's uses beside the simplest answers."""

from __future__ import annotations

from pipelines.report.kinds import kind_named
from pipelines.report.measures import measures
from vae.metrics.catalogue import COUNTS, METRICS
from vae.metrics.disentanglement.suite import Disentanglement
from vae.metrics.generation import Generation


def test_measures_stand_beside_their_baselines() -> None:
    """A metric is compared with all of its simple answers, in its own direction."""
    denoise, rmse, mig = measures(
        {"denoise_psnr_db": 24.5, "denoise_psnr_db.noisy": 20.0, "denoise_psnr_db.median": 25.0,
         "impute_rmse": 0.4, "impute_rmse.simple": 1.0, "mig": 0.25},
        kind_named("image"),
    )  # fmt: skip
    assert denoise.baselines == (("the noisy images", "20.00"), ("3×3 median filter", "25.00"))
    assert (denoise.value, denoise.unit, denoise.better, denoise.beats) == ("24.50", "dB", "higher", False)
    assert (rmse.beats, rmse.unit, rmse.baselines) == (True, "of the pixels' range", (("each pixel's mean", "1.000"),))
    assert (mig.baselines, mig.beats) == ((), None)


def test_measures_of_a_table_count_in_standard_deviations() -> None:
    """The same metric has another unit and another baseline for a table."""
    (rmse,) = measures({"impute_rmse": 1.1, "impute_rmse.simple": 1.0}, kind_named("table"))
    assert (rmse.beats, rmse.unit) == (False, "standard deviations")
    assert rmse.baselines[0][0] == "each column's mean or commonest category"


def test_measures_name_their_features_and_keep_unknown_metrics() -> None:
    """A suffix that is no baseline names the features; an unknown metric keeps its name."""
    recall, other = measures({"recall.cnn-64-a1b2c3": 0.5, "new_metric": -1.0}, kind_named("image"))
    assert recall.name == "Generation, recall (cnn-64-a1b2c3)"
    assert (other.name, other.value, other.better) == ("new_metric", "−1.000", "")


def test_every_metric_of_the_suite_has_words() -> None:
    """Every metric of the families for images has a name on the page."""
    fields = {*Generation.__dataclass_fields__, *Disentanglement.__dataclass_fields__}
    assert fields - {"features", "num_real", "num_generated", *COUNTS} <= {*METRICS}
