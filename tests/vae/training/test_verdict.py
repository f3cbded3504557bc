"""The verdict: each finding at its threshold, on histories made by hand, and advice that the command line accepts."""

from __future__ import annotations

import math
import shlex
from dataclasses import replace
from typing import Any

import pytest

from pipelines.cli.options import assignments
from vae.config import RunConfig, override
from vae.config.presets import PRESETS, preset
from vae.config.scale import Scale
from vae.training.hooks import EpochReport
from vae.training.verdict import (
    EARLY,
    EARLY_STRANGE,
    EARLY_STRANGE_HOLLOW,
    EXCESS_NATS,
    STRANGE,
    Finding,
    Measured,
    early_epoch,
    expected_rate,
    judge,
    words,
)

SCALE = Scale((4.0, 3.0, 2.0, 1.5, 1.2), 25.0, 64.0, hollowness=2.0)
ROWS = 1000
MEASURED = Measured(SCALE, ROWS)
MMD = {"kind": "mmd", "weight": 100.0}


def report(**changes: Any) -> EpochReport:
    """An epoch of a sound run, ten units active."""
    values: dict[str, Any] = {
        "epoch": 100,
        "step": 1000,
        "beta": 1.0,
        "train_distortion": 20.0,
        "train_rate": 5.0,
        "validation_distortion": 20.0,
        "validation_rate": 5.0,
        "validation_negative_elbo": 25.0,
        "validation_negative_bound": 25.0,
        "validation_objective": 25.0,
        "constraint_gap": 0.0,
        "active_units": 10,
        "aggregate_std": 1.0,
        "best_epoch": 1,
        "best_objective": 25.0,
        "examples_per_second": 1.0,
        "elapsed_seconds": 1.0,
        "is_last": True,
    }
    return EpochReport(**{**values, **changes})


def found(config: RunConfig | None = None, measured: Measured = MEASURED, **changes: Any) -> list[str]:
    """Names of the findings of a run of one epoch."""
    return [finding.name for finding in judge(config or RunConfig(), [report(**changes)], measured)]


def changed(**changes: Any) -> RunConfig:
    return override(RunConfig(), {name.replace("__", "."): value for name, value in changes.items()})


def test_sound_run_has_no_finding() -> None:
    """A run whose figures are those of a trained model is sound, while it trains and at its end."""
    assert found() == found(is_last=False) == []
    assert words(()) == "sound"


def test_verdict_is_on_the_epoch_that_ships() -> None:
    """The figures are those of the best epoch, whatever came of the last."""
    bad = {"validation_rate": 0.0, "active_units": 0}
    history = [report(epoch=1, is_last=False), report(epoch=2, best_epoch=1, **bad)]
    assert judge(RunConfig(), history, MEASURED) == ()
    history = [report(epoch=1, is_last=False, **bad), report(epoch=2, best_epoch=1)]
    assert [finding.name for finding in judge(RunConfig(), history, MEASURED)] == ["collapsed"]


@pytest.mark.parametrize(("nats", "has_diverged"), [(249.0, False), (251.0, True), (1e26, True)])
def test_weights_that_ran_away_have_diverged(nats: float, has_diverged: bool) -> None:
    """A bound above ten times the 25 nats of a collapsed model is no model's, however finite; it is named first."""
    names = found(validation_negative_elbo=nats, train_distortion=nats)
    assert names[:1] == ["diverged"] * has_diverged


def test_words_name_each_finding_once() -> None:
    """The verdict in words is the findings' names with hyphens, without repetition."""
    one, other = (Finding(name, 0.0, "", "") for name in ("under_regularised", "overfitted"))
    assert words([one, other, one]) == "under-regularised, overfitted"


@pytest.mark.parametrize(("epochs", "early"), [(100, 10), (5, 1), (11, 2)])
def test_run_is_judged_after_a_tenth_of_its_epochs(epochs: int, early: int) -> None:
    """The first verdict falls at the first epoch that ends a tenth of the run."""
    assert early_epoch(changed(training__epochs=epochs)) == early >= EARLY * epochs


@pytest.mark.parametrize(
    ("rate", "active_units", "is_collapsed"),
    [(0.0, 0, True), (0.09, 2, True), (0.11, 2, False), (0.09, 3, False), (2.0, 0, True), (0.9, 1, False)],
)
def test_run_that_is_over_has_collapsed_if_its_latents_tell_nothing(
    rate: float, active_units: int, is_collapsed: bool
) -> None:
    """Collapsed is a rate below 0.1 nats with a quarter of ten dimensions active at most, or no active one."""
    assert (found(validation_rate=rate, active_units=active_units) == ["collapsed"]) == is_collapsed


@pytest.mark.parametrize(
    ("beta", "active_units", "is_accused"),
    [(3.3, 2, True), (3.1, 2, False), (3.3, 3, False), (3.9, 10, False), (4.1, 10, True), (30.0, 10, True)],
)
def test_early_verdict_accuses_beta_above_the_critical_one(beta: float, active_units: int, is_accused: bool) -> None:
    """Above 0.8 of the critical β = 4 a run with a quarter of ten dimensions active collapses; above 4, any run."""
    config = changed(objective__beta=beta)
    names = found(config, validation_rate=1.0, active_units=active_units, is_last=False)
    assert names == (["collapsed"] if is_accused else [])


def test_advice_on_a_collapse_looks_at_the_learning_rate_where_beta_is_light() -> None:
    """A rate above five times the default is lowered; one below is left, and the start is lightened."""
    for rate, wanted in ((0.02, "learning_rate=0.001"), (0.004, "kind: warmup")):
        config = changed(training__learning_rate=rate)
        (finding,) = judge(config, [report(**BAD["collapsed"])], MEASURED)
        assert wanted in finding.advice


def test_early_verdict_waits_where_a_constraint_moves_beta() -> None:
    """A controller that holds a rate finds its own β, so that a heavy start says nothing."""
    config = changed(objective__beta=30.0, objective__controller={"kind": "control", "rate": 5.0})
    assert found(config, validation_rate=0.05, is_last=False) == []


@pytest.mark.parametrize(
    ("is_last", "hollowness", "most"),
    [(True, 2.0, STRANGE), (False, 1.4, EARLY_STRANGE), (False, 2.0, EARLY_STRANGE_HOLLOW)],
)
def test_samples_that_are_not_of_the_data_are_under_regularised(is_last: bool, hollowness: float, most: float) -> None:
    """Accused is a generation gap at its bar, which is higher while a run trains, and highest on data with large holes."""
    for gap, names in ((most - 0.001, []), (most, ["under_regularised"])):
        assert found(measured=Measured(replace(SCALE, hollowness=hollowness), ROWS, gap), is_last=is_last) == names


def test_gap_of_weights_that_ran_away_is_no_finding_of_its_own() -> None:
    """A gap that is not a number says nothing of samples; the run is called diverged by its bound."""
    names = found(measured=Measured(SCALE, ROWS, math.nan), validation_negative_elbo=1e9, train_distortion=1e9)
    assert names == ["diverged"]


def test_small_beta_is_accused_before_the_rate_has_risen() -> None:
    """Posteriors that will be too narrow to fill the prior are foreseen from β, and not claimed of a run that is over."""
    config = changed(objective__beta=1e-4, model__latent_dim=5)
    assert expected_rate(config, SCALE) > math.log(ROWS) + EXCESS_NATS * 5
    assert found(config, validation_rate=0.5, active_units=5, is_last=False) == ["under_regularised"]
    assert found(config, validation_rate=0.5, active_units=5) == []


def test_cycles_give_a_silent_run_another_chance() -> None:
    """Where β falls to 0 again and again it may be 1.3 times the critical one."""
    for beta, names in ((5.1, []), (5.3, ["collapsed"])):
        config = changed(objective__beta=beta, objective__controller={"kind": "cyclical"})
        assert found(config, active_units=0, is_last=False) == names


def test_rate_that_is_held_though_worth_nothing_is_accused() -> None:
    """A capacity under 1.3 times the critical β fills latents with what is not of the data, unless the data is normal."""
    for beta, hollowness, names in ((5.1, 1.1, []), (5.3, 1.1, ["under_regularised"]), (5.3, 1.0, [])):
        config = changed(objective__beta=beta, objective__controller={"kind": "capacity", "capacity": 10.0})
        assert found(config, Measured(replace(SCALE, hollowness=hollowness), ROWS), is_last=False) == names


def test_few_latents_are_foreseen_to_fold_around_what_the_data_is_worth() -> None:
    """Two latents come to a small rate at β = 0.02, while 32 directions of the data are worth ten times log N."""
    config = changed(objective__beta=0.02, model__latent_dim=2)
    wide = Scale((2.0,) * 32, 25.0, 64.0, hollowness=2.0)
    assert expected_rate(config, wide) < math.log(ROWS) + EXCESS_NATS * 2
    assert wide.worth(0.02) == pytest.approx(16 * math.log(100))
    assert found(config, Measured(wide, ROWS), is_last=False) == ["under_regularised"]
    assert found(config, Measured(Scale((2.0,) * 20, 25.0, 64.0, hollowness=2.0), ROWS), is_last=False) == []


@pytest.mark.parametrize(
    ("changes", "scale"),
    [
        ({"objective__regularizers": [MMD]}, {}),
        ({"model__prior": {"kind": "gaussian_mixture"}}, {}),
        ({}, {"hollowness": 1.2}),
        ({}, {"total_variance": 12.0}),
        ({"objective__beta": 0.5}, {}),
        ({"objective__bound": {"kind": "iwae", "samples": 5}}, {}),
        ({"objective__controller": {"kind": "control", "rate": 5.0}}, {}),
    ],
    ids=["matched", "learned_prior", "normal_data", "latents_hold_the_data", "moderate_beta", "importance", "own_beta"],
)
def test_small_beta_is_not_foreseen_to_harm(changes: dict[str, Any], scale: dict[str, float]) -> None:
    """A discrepancy, a learned prior, data without holes, latents for all of it, or a moderate β leave the end open."""
    config = changed(**{"objective__beta": 1e-4, "model__latent_dim": 5, **changes})
    assert found(config, Measured(replace(SCALE, **scale), ROWS), is_last=False) == []


def test_expected_rate_of_a_fixed_noise_is_exact() -> None:
    """With a fixed σ the rate of a linear-Gaussian model is Σ ½ log(λ / β) over what exceeds β."""
    config = changed(objective__beta=1.5, model__likelihood={"kind": "gaussian", "sigma": "fixed"})
    expected = 0.5 * sum(math.log(one / 1.5) for one in (4.0, 3.0, 2.0))
    assert expected_rate(config, SCALE) == pytest.approx(expected)


def test_expected_rate_rises_as_learned_noise_shrinks() -> None:
    """A noise that is learned shrinks to what two dimensions of 4 and 3 leave of 64, which adds to both."""
    config = changed(objective__beta=1.0, model__latent_dim=2, model__likelihood={"kind": "gaussian"})
    noise = (64 - 7) / (64 - 2)
    assert expected_rate(config, SCALE) == pytest.approx(0.5 * math.log(4 * 3 / noise**2))


def test_other_findings_have_their_thresholds() -> None:
    """A constraint missed, a gap above a tenth of the bound, and a loss that still falls by a hundredth."""
    assert found(constraint_gap=0.5) == ["constraint_not_met"]
    assert found(validation_negative_elbo=27.4) == []
    assert found(validation_negative_elbo=27.6) == ["overfitted"]


@pytest.mark.parametrize(("before", "improves"), [(25.2, False), (25.3, True)])
def test_loss_that_still_falls_is_a_finding(before: float, improves: bool) -> None:
    """A run of all its epochs whose last tenth lowered the loss by more than a hundredth is still improving."""
    config = changed(training__epochs=2)
    first = report(epoch=1, best_epoch=1, best_objective=before, is_last=False)
    history = [first, report(epoch=2, best_epoch=2)]
    names = [finding.name for finding in judge(config, history, MEASURED)]
    assert names == (["still_improving"] if improves else [])


@pytest.mark.parametrize(("used", "is_accused"), [(3, True), (4, False)])
def test_codebook_that_is_half_unused_is_a_finding(used: int, is_accused: bool) -> None:
    """A perplexity below half of the codes is reported, and neither collapse nor width is asked of codes."""
    config = override(preset("vq_vae"), {"model.latent_dim": 8, "model.posterior.codes": 8})
    last = report(validation_rate=0.0, active_units=0, aggregate_std=9.0)
    names = [finding.name for finding in judge(config, [last], Measured(SCALE, ROWS, perplexity=used))]
    assert names == (["dead_codes"] if is_accused else [])


BAD: dict[str, dict[str, Any]] = {
    "collapsed": {"validation_rate": 0.0, "active_units": 0},
    "under_regularised": {},
    "constraint_not_met": {"constraint_gap": 1.0},
    "overfitted": {"validation_negative_elbo": 90.0},
}
STRANGE_RUN = Measured(SCALE, ROWS, generation_gap=0.5)


@pytest.mark.parametrize("name", [name for name in PRESETS if name != "vq_vae"])
@pytest.mark.parametrize("finding", BAD)
def test_advice_is_accepted_by_the_command_line(name: str, finding: str) -> None:
    """Behind `betaline train` the advice of every finding gives a valid configuration of every preset, which changes it."""
    config = preset(name)
    advice = [one.advice for one in judge(config, [report(**BAD[finding])], STRANGE_RUN) if one.name == finding]
    assert len(advice) == 1
    flags = shlex.split(advice[0])
    assert flags[0::2] == ["--set"] * (len(flags) // 2)
    assert override(config, assignments(flags[1::2])) != config


def test_advice_of_dead_codes_is_accepted_by_the_command_line() -> None:
    """It asks for as many codes as are used."""
    config = override(preset("vq_vae"), {"model.latent_dim": 8, "model.posterior.codes": 8})
    (finding,) = judge(config, [report()], Measured(SCALE, ROWS, perplexity=3.0))
    mended = override(config, assignments(shlex.split(finding.advice)[1::2]))
    assert mended.model.posterior.model_dump()["codes"] == 3
    assert mended.training.epochs == 2 * config.training.epochs


def test_advice_on_a_heavy_beta_lies_below_the_critical_one() -> None:
    """What is advised to a collapsed and to an under-regularised run is a β that neither is accused for."""
    for beta, name, measured in ((50.0, "collapsed", MEASURED), (1e-4, "under_regularised", STRANGE_RUN)):
        (finding,) = judge(changed(objective__beta=beta), [report(**BAD[name])], measured)
        mended = override(changed(objective__beta=beta), assignments(shlex.split(finding.advice)[1::2]))
        assert mended.objective.beta == pytest.approx(1.0)
        assert found(mended, is_last=False) == []
