"""Rules that choose the best trial, and the scores that compare stacks while they train."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from tests.vae.conftest import _publish, people  # noqa: F401  a fixture
from tests.workers import Apart
from tuning import rules, worker
from tuning.rules import RULES, Rule, check_rule, measured
from tuning.space import SearchConfig, check_space
from tuning.stacks import lane_configs, plan_stacks
from vae import inference
from vae.config import RunConfig, override, parse
from vae.data.batches import InOrder, Share
from vae.data.parquet import Dataset
from vae.errors import ConfigError
from vae.metrics.disentanglement import udr
from vae.metrics.likelihood import bound_sums, negative_log_likelihood
from vae.metrics.suite import measure
from vae.model import VAE
from vae.parts.terms import Inputs
from vae.training.assembly import build_model, share_of
from vae.training.lanes import LaneTraining
from vae.training.world import ALONE

BETAS = {"kind": "choice", "values": [0.1, 1.0]}
SEEDS = {"kind": "choice", "values": [0, 1, 2]}
SPACE = {"objective.beta": BETAS, "training.seed": SEEDS}
BASE = {
    "model": {"latent_dim": 3, "encoder": {"kind": "mlp", "hidden": [16]}, "likelihood": {"kind": "gaussian"}},
    "training": {"epochs": 3, "batch_size": 50, "learning_rate": 5e-3, "aggregate_components": 0},
}


def search(space: dict[str, Any] = SPACE, **changes: Any) -> SearchConfig:
    return parse(SearchConfig, {"base": BASE, "space": space, **changes})


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """scikit-learn's scanned digits: 400 to train, 100 to validate."""
    pixels = (load_digits().images[:500, None] * 255 / 16).round().astype(np.uint8)
    return _publish(tmp_path_factory.mktemp("digits"), pixels, None, {"train": 400, "validation": 100})


@pytest.fixture(scope="module")
def stripes(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Two classes of noisy stripes, 300 to train and 2,048 to validate."""
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=2348)
    lines = np.where(np.arange(8) % 2, 200, 40)
    clean = np.where(labels[:, None, None, None] == 1, lines[:, None], lines[None, :])
    pixels = (clean + rng.integers(-40, 41, size=(2348, 1, 8, 8))).astype(np.uint8)
    splits = {"train": 300, "validation": 2048}
    return _publish(tmp_path_factory.mktemp("stripes"), pixels, labels.astype(np.int64), splits)


@pytest.fixture
def few(tmp_path: Path) -> Dataset:
    """Two classes, and 100 images to validate: fewer than a covariance of features needs."""
    return _publish(tmp_path, np.zeros((120, 1, 8, 8), np.uint8), np.arange(120) % 2, {"train": 20, "validation": 100})


@pytest.fixture
def reports(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What is reported to Ray Tune."""
    found: list[dict[str, Any]] = []
    monkeypatch.setattr(worker.tune, "report", found.append)
    return found


def train(config: SearchConfig, dataset: Dataset) -> LaneTraining:
    """The stack of a search without architectures, told of as a trial tells."""
    configs = lane_configs(config, plan_stacks(config), {})
    reporter = worker.Reporter(config, configs, dataset)
    training = LaneTraining(configs, dataset, on_epoch=reporter.on_epoch)
    reporter.follow(training)
    return training


def code(model: VAE, dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Posterior means [N,L] of the validation split, and the KL of each dimension, written out."""
    rows = Share.of(dataset, "validation").load(0, dataset.num_rows("validation"))
    mean, std = inference.encode(model, Inputs(rows.values.float() / 255))
    kl = 0.5 * (mean.square() + std.square() - 1) - std.log()
    return mean.numpy(), kl.double().mean(0).numpy()


def test_udr_ranks_the_seeds_of_each_setting(digits: Dataset, reports: list[dict[str, Any]]) -> None:
    """When the stack is over, each lane's score is the metric's, of the lanes with its β alone; none before."""
    training = train(search(select="udr"), digits)
    before, last = (json.loads(report[worker.LANES]) for report in reports[-2:])
    assert [lane["scores"] for lane in before] == [{}] * 6
    for lanes in ((0, 1, 2), (3, 4, 5)):
        codes, kls = zip(*(code(training.model_of(lane), digits) for lane in lanes), strict=True)
        assert [last[lane]["scores"]["udr"] for lane in lanes] == pytest.approx(udr(codes, kls), abs=1e-6)
    assert len({lane["scores"]["udr"] for lane in last}) == 6


def test_udr_leaves_out_lanes_that_failed(digits: Dataset) -> None:
    """Of two survivors each has the agreement of both; a single one has no score."""
    config = search()
    configs = dict(enumerate(lane_configs(config, plan_stacks(config), {})))
    models = {lane: build_model(one, digits) for lane, one in configs.items()}
    survivors = {lane: configs[lane] for lane in (0, 2, 5)}
    compare = RULES["udr"].compare
    assert compare is not None
    scores = compare(survivors, models, digits)
    codes, kls = zip(*(code(models[lane], digits) for lane in (0, 2)), strict=True)
    assert scores.keys() == {0, 2}
    assert [scores[0], scores[2]] == pytest.approx(udr(codes, kls), abs=1e-6)


def test_frechet_is_that_of_the_metrics(stripes: Dataset) -> None:
    """The Fréchet distance of the family `generation`, between the validation split and as many generated images."""
    check_rule(search(select="frechet"), stripes)
    config = parse(RunConfig, BASE)
    model = build_model(config, stripes)
    whole = measure(model, stripes, ["generation"], split="validation")
    (expected,) = (value for name, value in whole.items() if name.startswith("frechet_distance."))
    assert measured("frechet", model, config, stripes, ALONE) == {"frechet": pytest.approx(expected)}


def test_measured_rules_are_of_the_validation_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`nll` is the metric's with 100 draws on any number of ranks, `denoise_psnr` that of its family; the test split has no
    say.
    """
    pixels = (load_digits().images[:160, None] * 255 / 16).round().astype(np.uint8)
    pixels[120:] //= 16  # the test split is another
    dataset = _publish(tmp_path, pixels, None, {"train": 80, "validation": 40, "test": 40})
    corrupted = {"objective": {"corruption": {"kind": "gaussian_noise"}}}
    config = parse(RunConfig, {**BASE, **corrupted})
    model = build_model(config, dataset)
    validation = InOrder(share_of(config, dataset, "validation"))
    nll = negative_log_likelihood(model, validation, num_samples=100, seed=0).nats
    assert measured("nll", model, config, dataset, ALONE) == {"nll": pytest.approx(nll, rel=1e-6)}
    monkeypatch.setattr(rules, "BATCH_ROWS", 16)
    alone = measured("nll", model, config, dataset, ALONE)["nll"]
    parts = [measured("nll", model, config, dataset, Apart(rank, 2))["nll"] for rank in range(2)]
    assert sum(parts) == pytest.approx(alone, rel=1e-12)
    assert min(parts) > 0
    psnr, other = (
        measure(model, dataset, ["denoising"], split=split)["denoise_psnr_db"] for split in ("validation", "test")
    )
    assert measured("denoise_psnr", model, config, dataset, ALONE) == {"denoise_psnr": pytest.approx(psnr)}
    assert psnr != pytest.approx(other)


VAMP = {"kind": "choice", "values": [{"kind": "vamp", "components": 5}]}
TWO_WORKERS = {"base": {**BASE, "scaling": {"num_workers": 2}}}


@pytest.mark.parametrize(
    ("data", "space", "changes", "facts"),
    [
        (
            "digits",
            SPACE,
            {"select": "mig"},
            r"^select: mig needs 2 categorical .* URI has 0; choose by `active_units`",
        ),
        (
            "people",
            SPACE,
            {"select": "frechet"},
            r"^select: frechet needs images, and URI holds a table; choose by nll",
        ),
        ("people", SPACE, {"select": "denoise_psnr"}, r"^select: denoise_psnr needs images, .*; choose by impute_rmse"),
        ("digits", SPACE, {"select": "frechet"}, r"^select: frechet .* 2 classes or more .* URI has 0; choose by nll"),
        ("few", SPACE, {"select": "frechet"}, r"^select: frechet needs 2,048 .* URI has 100; choose by nll"),
        (
            "digits",
            {"model.prior": VAMP, **SPACE},
            {"select": "udr"},
            r"^select: udr .* posterior diagonal_gaussian and prior vamp .* choose by bound, or use diagonal_gaussian",
        ),
        (
            "digits",
            SPACE,
            {"select": "udr", **TWO_WORKERS},
            r"^select: udr .*: scaling.num_workers: .* `select: bound`$",
        ),
        (
            "digits",
            SPACE,
            {"stop_by": "hypervolume", **TWO_WORKERS},
            r"^stop_by: hypervolume .*: scaling.num_workers: .* `stop_by: bound`$",
        ),
    ],
)
def test_rule_without_its_figure_is_refused(
    data: str, space: dict[str, Any], changes: dict[str, Any], facts: str, request: pytest.FixtureRequest
) -> None:
    """Before anything is trained, with an alternative."""
    dataset = request.getfixturevalue(data)
    with pytest.raises(ConfigError, match=facts.replace("URI", re.escape(dataset.uri))):
        check_rule(search(space, **changes), dataset)


@pytest.mark.parametrize("rule", ["nll", "udr", "bound", "rate <= 20"])
def test_rule_is_accepted(rule: str, digits: Dataset) -> None:
    """Of data without labels, too."""
    check_rule(search(select=rule), digits)


def test_rule_states_its_direction_and_one_way_to_measure_it() -> None:
    """A rule without a direction cannot be made, nor one that is measured twice or not at all."""
    with pytest.raises(TypeError, match="better"):
        Rule(name="new", summary="", reported=lambda trial: 0.0)  # pyright: ignore[reportCallIssue]
    with pytest.raises(AssertionError):
        Rule(name="new", better="lower", summary="")


@pytest.mark.parametrize(
    ("space", "changes", "facts"),
    [
        (
            {"objective.beta": BETAS},
            {"select": "udr"},
            r"^select: udr .*expected 2 choices of training.seed .* found 0",
        ),
        (SPACE, {"select": "udr", "lanes": False}, r"^select: udr .* lanes is false; set it to true$"),
        (
            {"training.seed": SEEDS, "objective.beta": {"kind": "choice", "values": [1.0]}},
            {"stop_by": "hypervolume"},
            r"^stop_by: hypervolume .* expected 2 choices of objective.beta .* found 1",
        ),
    ],
)
def test_rule_that_compares_lanes_needs_them(space: dict[str, Any], changes: dict[str, Any], facts: str) -> None:
    """Seeds for `udr`, weights of the rate for a front."""
    check_space(search(**{name: value for name, value in changes.items() if name != "lanes"}))
    with pytest.raises(ConfigError, match=facts):
        check_space(search(space, **changes))


def test_trials_are_compared_by_their_best_lane(digits: Dataset, reports: list[dict[str, Any]]) -> None:
    """By the lowest bound at β = 1 of the epochs that would ship, unless the search says otherwise."""
    train(search({"objective.beta": BETAS}), digits)
    bounds = [[lane["best"]["validation_negative_bound"] for lane in json.loads(one[worker.LANES])] for one in reports]
    assert [report[worker.SCORE] for report in reports] == [min(pair) for pair in bounds]


def test_trials_are_compared_by_their_fronts(digits: Dataset, reports: list[dict[str, Any]]) -> None:
    """By the area under the front of an epoch's lanes, two rectangles here, whatever the trial's own model is."""
    config = search({"objective.beta": BETAS}, stop_by="hypervolume")
    train(config, digits)
    reference = worker.reference_nats(config.base, digits)
    assert len(reports) == 3
    for report in reports:
        best = [lane["best"] for lane in json.loads(report[worker.LANES])]
        (r1, d1), (r2, d2) = sorted((one["validation_rate"], one["validation_distortion"]) for one in best)
        area = (reference - r1) * (reference - d1) + (reference - r2) * max(0, d1 - d2)
        assert report[worker.SCORE] == pytest.approx(-area)


def test_reference_is_of_the_untrained_base(digits: Dataset) -> None:
    """Its negative ELBO on the validation split, whatever the sign; at least a nat for each of the 64 pixels."""
    config = parse(RunConfig, BASE)
    rows = share_of(config, digits, "validation").load(0, 100)
    for sigma in (0.05, 0.4, 2.0):
        one = override(config, {"model.likelihood.initial_sigma": sigma})
        bound = bound_sums(build_model(one, digits), [rows], seed=0).bound()
        assert (abs(bound.negative_elbo) > 64) == (sigma != 0.4)
        assert worker.reference_nats(one, digits) == pytest.approx(max(64, abs(bound.negative_elbo)))
    with torch.random.fork_rng():
        torch.manual_seed(7)
        assert worker.reference_nats(config, digits) == worker.reference_nats(
            override(config, {"training.epochs": 9}), digits
        )
