"""What a search chooses by, and what its trials are compared by while they train."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from tests.vae.conftest import _publish, people  # noqa: F401  a fixture
from tuning import trial
from tuning.scores import check_rule, rankings, reference_nats, scores_of
from tuning.space import SearchConfig, check_space
from tuning.stacks import lane_configs, split
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
def reports(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What is reported to Ray Tune."""
    found: list[dict[str, Any]] = []
    monkeypatch.setattr(trial.tune, "report", found.append)
    return found


def train(config: SearchConfig, dataset: Dataset) -> LaneTraining:
    """The stack of a search without architectures, told of as a trial tells."""
    configs = lane_configs(config, split(config), {})
    teller = trial._Teller(config, configs, dataset)
    training = LaneTraining(configs, dataset, hooks=teller)
    teller.follow(training)
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
    before, last = (json.loads(report[trial.LANES]) for report in reports[-2:])
    assert [lane["scores"] for lane in before] == [{}] * 6
    for lanes in ((0, 1, 2), (3, 4, 5)):
        codes, kls = zip(*(code(training.model_of(lane), digits) for lane in lanes), strict=True)
        assert [last[lane]["scores"]["udr"] for lane in lanes] == pytest.approx(udr(codes, kls), abs=1e-6)
    assert len({lane["scores"]["udr"] for lane in last}) == 6


def test_udr_leaves_out_lanes_that_failed(digits: Dataset) -> None:
    """Of two survivors each has the agreement of both; a single one has no score."""
    config = search()
    configs = dict(enumerate(lane_configs(config, split(config), {})))
    models = {lane: build_model(one, digits) for lane, one in configs.items()}
    survivors = {lane: configs[lane] for lane in (0, 2, 5)}
    found = rankings(survivors, models, digits)
    codes, kls = zip(*(code(models[lane], digits) for lane in (0, 2)), strict=True)
    assert found.keys() == {0, 2}
    assert [found[0]["udr"], found[2]["udr"]] == pytest.approx(udr(codes, kls), abs=1e-6)


def test_frechet_is_that_of_the_metrics(stripes: Dataset) -> None:
    """The Fréchet distance of the family `generation`, between the validation split and as many generated images."""
    check_rule(search(select="frechet"), stripes)
    config = parse(RunConfig, BASE)
    model = build_model(config, stripes)
    whole = measure(model, stripes, ["generation"], split="validation")
    (expected,) = (value for name, value in whole.items() if name.startswith("frechet_distance."))
    assert scores_of(model, "frechet", config, stripes) == {"frechet": pytest.approx(expected)}


def test_measured_rules_are_of_the_validation_split(tmp_path: Path) -> None:
    """`nll` is the metric's with 100 draws, `denoise_psnr` that of its family; the test split has no say."""
    pixels = (load_digits().images[:160, None] * 255 / 16).round().astype(np.uint8)
    pixels[120:] //= 16  # the test split is another
    dataset = _publish(tmp_path, pixels, None, {"train": 80, "validation": 40, "test": 40})
    corrupted = {"objective": {"corruption": {"kind": "gaussian_noise"}}}
    config = parse(RunConfig, {**BASE, **corrupted})
    model = build_model(config, dataset)
    validation = InOrder(share_of(config, dataset, "validation"))
    nll = negative_log_likelihood(model, validation, num_samples=100, seed=0).nats
    assert scores_of(model, "nll", config, dataset) == {"nll": nll}
    psnr, other = (
        measure(model, dataset, ["denoising"], split=split)["denoise_psnr_db"] for split in ("validation", "test")
    )
    assert scores_of(model, "denoise_psnr", config, dataset) == {"denoise_psnr": pytest.approx(psnr)}
    assert psnr != pytest.approx(other)


def test_rule_without_what_it_looks_at_is_refused(digits: Dataset, stripes: Dataset, people: Dataset) -> None:  # noqa: F811
    """Before anything is trained, with what to choose by instead."""
    check_rule(search(select="nll"), digits)
    check_rule(search(select="udr"), digits)
    vamp = search(
        {"model.prior": {"kind": "choice", "values": [{"kind": "vamp", "components": 5}]}, **SPACE}, select="udr"
    )
    spread = {"base": {**BASE, "scaling": {"num_workers": 2}}}
    for config, dataset, message in (
        (
            search(select="mig"),
            digits,
            "select: mig is measured against 2 categorical attributes or more, and URI has 0; choose by `active_units` or "
            "`udr`, which need no labels, or ingest the data with its factors",
        ),
        (search(select="frechet"), people, "select: frechet is of images, and URI holds a table; choose by nll"),
        (
            search(select="frechet"),
            digits,
            "select: frechet is measured in the features of a classifier, which learns 2 classes or more, and URI has 0; "
            "choose by nll, or ingest the data with labels",
        ),
        (
            vamp,
            digits,
            "select: udr compares the dimensions whose KL says that they are used, which posterior diagonal_gaussian and "
            "prior vamp do not have in closed form; choose by bound, or use diagonal_gaussian with standard_normal",
        ),
        (
            search(select="udr", **spread),
            digits,
            "select: udr compares the lanes of a stack, and these models have none: scaling.num_workers: a stack trains on "
            "one worker, got 2; use `select: bound`",
        ),
        (
            search(stop_by="hypervolume", **spread),
            digits,
            "stop_by: hypervolume compares the lanes of a stack, and these models have none: scaling.num_workers: a stack "
            "trains on one worker, got 2; use `stop_by: bound`",
        ),
    ):
        with pytest.raises(ConfigError) as error:
            check_rule(config, dataset)
        assert str(error.value) == message.replace("URI", dataset.uri)


def test_frechet_of_few_images_is_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A covariance of as many features would be noise."""
    pixels = np.zeros((120, 1, 8, 8), np.uint8)
    few = _publish(tmp_path_factory.mktemp("few"), pixels, np.arange(120) % 2, {"train": 20, "validation": 100})
    with pytest.raises(
        ConfigError,
        match=r"frechet compares 2,048 validation images or more, and .* has 100; choose by nll, or ingest the data with "
        r"a larger validation split$",
    ):
        check_rule(search(select="frechet"), few)


@pytest.mark.parametrize(
    ("space", "changes", "message"),
    [
        (
            {"objective.beta": BETAS},
            {"select": "udr"},
            "select: udr compares the seeds of each setting, which train as lanes of one stack: expected 2 choices of "
            "training.seed or more, found 0; add `training.seed` choices to the space",
        ),
        (
            SPACE,
            {"select": "udr", "lanes": False},
            "select: udr compares the seeds of each setting, which train as lanes of one stack, and lanes is false; set it "
            "to true",
        ),
        (
            {"training.seed": SEEDS, "objective.beta": {"kind": "choice", "values": [1.0]}},
            {"stop_by": "hypervolume"},
            "stop_by: hypervolume is of a front with several weights of the rate, which train as lanes of one stack: "
            "expected 2 choices of objective.beta or more, found 1; add `objective.beta` choices to the space",
        ),
    ],
)
def test_rule_that_compares_lanes_needs_them(space: dict[str, Any], changes: dict[str, Any], message: str) -> None:
    """Seeds for `udr`, weights of the rate for a front."""
    check_space(search(**{name: value for name, value in changes.items() if name != "lanes"}))
    with pytest.raises(ConfigError) as error:
        check_space(search(space, **changes))
    assert str(error.value) == message


def test_trials_are_compared_by_their_best_lane(digits: Dataset, reports: list[dict[str, Any]]) -> None:
    """By the lowest bound at β = 1 of the epochs that would ship, unless the search says otherwise."""
    train(search({"objective.beta": BETAS}), digits)
    bounds = [[lane["best"]["validation_negative_bound"] for lane in json.loads(one[trial.LANES])] for one in reports]
    assert [report[trial.SCORE] for report in reports] == [min(pair) for pair in bounds]


def test_trials_are_compared_by_their_fronts(digits: Dataset, reports: list[dict[str, Any]]) -> None:
    """By the area under the front of an epoch's lanes, two rectangles here, whatever the trial's own model is."""
    config = search({"objective.beta": BETAS}, stop_by="hypervolume")
    train(config, digits)
    reference = reference_nats(config.base, digits)
    assert len(reports) == 3
    for report in reports:
        best = [lane["best"] for lane in json.loads(report[trial.LANES])]
        (r1, d1), (r2, d2) = sorted((one["validation_rate"], one["validation_distortion"]) for one in best)
        area = (reference - r1) * (reference - d1) + (reference - r2) * max(0, d1 - d2)
        assert report[trial.SCORE] == pytest.approx(-area)


def test_reference_is_of_the_untrained_base(digits: Dataset) -> None:
    """Its negative ELBO on the validation split, whatever the sign; at least a nat for each of the 64 pixels."""
    config = parse(RunConfig, BASE)
    rows = share_of(config, digits, "validation").load(0, 100)
    for sigma in (0.05, 0.4, 2.0):
        one = override(config, {"model.likelihood.initial_sigma": sigma})
        bound = bound_sums(build_model(one, digits), [rows], seed=0).bound()
        assert (abs(bound.negative_elbo) > 64) == (sigma != 0.4)
        assert reference_nats(one, digits) == pytest.approx(max(64, abs(bound.negative_elbo)))
    with torch.random.fork_rng():
        torch.manual_seed(7)
        assert reference_nats(config, digits) == reference_nats(override(config, {"training.epochs": 9}), digits)
