"""The metrics of a model's uses beside the simplest answers."""

from __future__ import annotations

from pipelines.report.measures import COUNTS, KNOWN, measures
from vae.metrics.disentanglement.suite import Disentanglement
from vae.metrics.generation import Generation


def test_measures_stand_beside_their_baselines() -> None:
    """A metric is better or not than all of its simple answers, in the direction that is its own."""
    denoise, rmse, mig = measures(
        {"denoise_psnr_db": 24.5, "denoise_psnr_db.noisy": 20.0, "denoise_psnr_db.median": 25.0,
         "impute_rmse": 0.4, "impute_rmse.simple": 1.0, "mig": 0.25},
        is_table=False,
    )  # fmt: skip
    assert denoise.baselines == (("the noisy images", "20.00"), ("3×3 median filter", "25.00"))
    assert (denoise.value, denoise.unit, denoise.better, denoise.beats) == ("24.50", "dB", "higher", False)
    assert (rmse.beats, rmse.unit, rmse.baselines) == (True, "of the pixels' range", (("each pixel's mean", "1.000"),))
    assert (mig.baselines, mig.beats) == ((), None)


def test_measures_of_a_table_count_in_standard_deviations() -> None:
    """The same name has another unit and another baseline where columns are filled in."""
    (rmse,) = measures({"impute_rmse": 1.1, "impute_rmse.simple": 1.0}, is_table=True)
    assert (rmse.beats, rmse.unit) == (False, "standard deviations")
    assert rmse.baselines[0][0] == "each column's mean or commonest category"


def test_measures_say_in_which_features_and_keep_what_they_do_not_know() -> None:
    """A suffix that is no baseline names features; a metric without words keeps its name."""
    recall, other = measures({"recall.cnn-64-a1b2c3": 0.5, "new_metric": -1.0}, is_table=False)
    assert recall.name == "Generation, recall (cnn-64-a1b2c3)"
    assert (other.name, other.value, other.better) == ("new_metric", "−1.000", "")


def test_every_metric_of_the_suite_has_words() -> None:
    """What the families of images measure is known by name."""
    fields = {*Generation.__dataclass_fields__, *Disentanglement.__dataclass_fields__}
    assert fields - {"features", "num_real", "num_generated", *COUNTS} <= {*KNOWN}
