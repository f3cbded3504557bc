"""Search spaces: labels, grids, and what is refused before the first trial."""

from __future__ import annotations

from typing import Any

import pytest

from tuning.space import Choice, SearchConfig, check_space, configuration, grid, grid_size, labels
from vae.config import RunConfig, override, parse
from vae.errors import ConfigError
from vae.parts.bodies.conv import Conv
from vae.parts.bodies.mlp import MLP

ENCODERS = [{"kind": "mlp", "hidden": [8]}, {"kind": "conv", "channels": [4, 8]}]


def search(space: dict[str, Any], **changes: Any) -> SearchConfig:
    return parse(SearchConfig, {"space": space, **changes}, "search")


def choice(*values: Any) -> dict[str, Any]:
    return {"kind": "choice", "values": values}


def test_default_space_is_accepted() -> None:
    """The space that a newcomer gets is whole, and its grid is counted."""
    check_space(SearchConfig())
    assert grid_size(SearchConfig().space) == len(list(grid(SearchConfig().space))) == 8


def test_grid_has_every_combination_once() -> None:
    """The grid is the product of the choices, by label."""
    space = search({"model.encoder": choice(*ENCODERS), "objective.beta": choice(0.5, 1.0, 4.0)}).space
    points = list(grid(space))
    assert grid_size(space) == len(points) == 6
    assert {(p["model.encoder"], p["objective.beta"]) for p in points} == {
        (encoder, beta) for encoder in ("mlp 8", "conv 4-8") for beta in (0.5, 1.0, 4.0)
    }


def test_continuous_space_has_no_size() -> None:
    """A dimension that is no choice has no last combination; the grid leaves it to the sampler."""
    space = search(
        {"objective.beta": {"kind": "uniform", "low": 0.1, "high": 4, "log": True}, "model.latent_dim": choice(2, 4)}
    ).space
    assert grid_size(space) is None
    assert list(grid(space)) == [{"model.latent_dim": 2}, {"model.latent_dim": 4}]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((0.5, 2, "relu", True, None), [0.5, 2, "relu", True, None]),
        (ENCODERS, ["mlp 8", "conv 4-8"]),
        (
            ({"kind": "mlp", "hidden": [8, 4], "gated": True}, {"kind": "conv", "channels": [4], "hidden": 9}),
            ["mlp 8-4 gated=True", "conv 4"],
        ),
        (({"kind": "warmup", "steps": 5},), ['{"kind": "warmup", "steps": 5}']),
    ],
)
def test_labels_are_short(values: Any, expected: list[Any]) -> None:
    """Scalars name themselves, bodies by their sizes, and whatever else by its JSON."""
    assert list(labels(Choice(values=tuple(values)))) == expected


def test_labels_of_similar_values_differ() -> None:
    """Values that would share a short name keep one each, so that none is lost from the grid."""
    similar = [
        {"kind": "conv", "channels": [4], "hidden": 8},
        {"kind": "conv", "channels": [4], "hidden": 16},
        {"kind": "conv", "channels": [4], "hidden": 32},
    ]
    assert list(labels(Choice(values=tuple(similar))).values()) == similar


def test_configuration_of_a_trial_puts_labels_back() -> None:
    """Labels become the sections that they name, scalars the values; the rest is the base."""
    config = search(
        {"model.encoder": choice(*ENCODERS), "objective.beta": choice(0.5, 4.0), "model.latent_dim": choice(2, 3)}
    )
    run = configuration(config, {"model.encoder": "conv 4-8", "objective.beta": 4.0, "model.latent_dim": 3})
    assert run == override(RunConfig(), {"model.encoder": ENCODERS[1], "objective.beta": 4.0, "model.latent_dim": 3})
    assert run.model.encoder == Conv(channels=(4, 8))


def test_configuration_of_a_trial_leaves_the_space_alone() -> None:
    """A dimension inside another one's section changes the trial, not the search."""
    config = search({"model.encoder": choice(ENCODERS[0]), "model.encoder.activation": choice("tanh", "relu")})
    before = config.model_dump()
    run = configuration(config, {"model.encoder": "mlp 8", "model.encoder.activation": "tanh"})
    assert run.model.encoder == MLP(hidden=(8,), activation="tanh")
    assert config.model_dump() == before


@pytest.mark.parametrize(
    ("space", "facts"),
    [
        ({}, r"^space: nothing varies"),
        ({"scaling.num_workers": choice(1, 2)}, r"^space.scaling.num_workers: .*; set base.scaling.num_workers$"),
        ({"model.latent_dm": choice(2)}, r"^space.model.latent_dm: .*did you mean `latent_dim`"),
        ({"objective.beta": choice(1.0, -1.0)}, r"^space.objective.beta: .* got -1.0$"),
        ({"objective.beta": {"kind": "uniform", "low": 2, "high": 1}}, r"^space.objective.beta: .* got 2.0 to 1.0$"),
        (
            {"objective.beta": {"kind": "uniform", "low": 0, "high": 1, "log": True}},
            r"low > 0 where log, got 0.0 to 1.0$",
        ),
        ({"model.latent_dim": {"kind": "integers", "low": 0, "high": 4}}, r"^space.model.latent_dim: .* got 0$"),
        ({"objective.beta": {"kind": "uniform", "low": 0, "high": 1}}, r"^num_trials: "),
    ],
)
def test_bad_space_is_refused(space: dict[str, Any], facts: str) -> None:
    """An empty space, an unknown field, a value or bound that is refused, and a search without an end, by the field."""
    with pytest.raises(ConfigError, match=facts):
        check_space(search(space))


def test_real_range_over_whole_numbers_is_refused() -> None:
    """A uniform range over an integer field would fail at the first trial: it fails here, though its ends are whole."""
    chosen = search({"model.latent_dim": {"kind": "uniform", "low": 2, "high": 8}}, num_trials=3)
    with pytest.raises(ConfigError, match=r"^space.model.latent_dim: .* valid integer"):
        check_space(chosen)


@pytest.mark.parametrize(
    ("values", "facts"),
    [
        ({"space": {"objective.beta": choice()}}, r"^search: space.objective.beta.values: .* at least 1 item"),
        (
            {"space": {"objective.beta": {**choice(1), "valus": [1]}}},
            r"^search: space.objective.beta.valus: .* `values`",
        ),
        ({"num_trails": 3}, r"^search: num_trails: .* `num_trials`"),
        (
            {"base": {"objective": {"controller": {"kind": "warmup", "step": 1}}}},
            r"^search: base.objective.controller.step: .* `steps`",
        ),
        ({"select": "luck"}, r"select: expected one of bound, elbo, active_units, nll, .* got 'luck'"),
    ],
)
def test_bad_search_is_refused(values: dict[str, Any], facts: str) -> None:
    """Typos are named through the space's fields and the base, as a user would write them; an unknown rule, too."""
    with pytest.raises(ConfigError, match=facts):
        parse(SearchConfig, values, "search")


def test_population_based_training_is_refused() -> None:
    """A scheduler that changes β in mid-run is refused with what works."""
    with pytest.raises(ConfigError, match=r"pbt changes β and weights in mid-run.* use asha$"):
        parse(SearchConfig, {"scheduler": "pbt"})
