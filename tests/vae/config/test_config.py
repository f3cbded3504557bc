"""Configurations: what is refused, and with which words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from tuning.space import SearchConfig
from vae.config import RunConfig, merged, override, parse
from vae.config.reading import _sections
from vae.errors import ConfigError
from vae.parts.bodies.conv import Conv
from vae.parts.bodies.mlp import MLP
from vae.parts.bounds.iwae import Iwae
from vae.parts.controllers.constant import Constant
from vae.parts.described import descriptions
from vae.parts.likelihoods.gaussian import Gaussian
from vae.parts.posteriors.student_t import StudentTPosterior
from vae.parts.priors.gaussian_mixture import GaussianMixture

FULL = override(
    RunConfig(),
    {
        "model.encoder": {"kind": "mlp", "hidden": [7], "activation": "tanh"},
        "model.likelihood": {"kind": "bernoulli", "binarization": "static"},
        "model.posterior": {"kind": "flow", "transforms": 3},
        "model.prior": {"kind": "flow", "transforms": 3},
        "objective.controller": {"kind": "warmup", "steps": 7},
        "objective.bound": {"kind": "ciwae", "samples": 3, "mix": 0.5},
    },
)
"""A configuration with a value of its own in every section that has kinds."""


def refusal(values: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as error:
        parse(RunConfig, values)
    return str(error.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"objective": {"bta": 2}}, "configuration: objective.bta: unknown key (did you mean `beta`?)"),
        (
            {"model": {"encoder": {"kind": "mlp", "hiden": [3]}}},
            "configuration: model.encoder.hiden: unknown key (did you mean `hidden`?)",
        ),
        (
            {"model": {"decoder": {"kind": "conv", "chanels": [3]}}},
            "configuration: model.decoder.chanels: unknown key (did you mean `channels`?)",
        ),
        (
            {"zzz": 1},
            "configuration: zzz: unknown key; known keys: data, model, objective, scaling, training",
        ),
    ],
)
def test_parse_names_the_nearest_key(values: dict[str, Any], message: str) -> None:
    """An unknown key is refused with the nearest known one, through unions too."""
    assert refusal(values) == message


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"beta": -1}, "objective.beta: input should be greater than or equal to 0, got -1"),
        ({"beta": float("nan")}, "objective.beta: input should be a finite number, got nan"),
        ({"beta": float("inf")}, "objective.beta: input should be a finite number, got inf"),
        (
            {"controller": {"kind": "warmup", "steps": 0}},
            "objective.controller.steps: input should be greater than 0, got 0",
        ),
    ],
)
def test_parse_refuses_an_impossible_objective(values: dict[str, Any], message: str) -> None:
    """A β below 0, not a number or infinite, and a warm-up of no steps are refused."""
    assert refusal({"objective": values}) == f"configuration: {message}"


def test_parse_reports_every_problem_at_once() -> None:
    """Two bad values give two lines, each with its field and what was found."""
    assert refusal({"training": {"epochs": 0, "ema_decay": 1}}).splitlines() == [
        "configuration: training.epochs: input should be greater than 0, got 0",
        "configuration: training.ema_decay: input should be less than 1, got 1",
    ]


@pytest.mark.parametrize(
    ("body", "field"),
    [({"kind": "mlp", "hidden": []}, "hidden"), ({"kind": "conv", "channels": []}, "channels")],
)
def test_parse_refuses_a_body_without_layers(body: dict[str, Any], field: str) -> None:
    """A body of no layers is refused by the configuration, not by an index error in the network."""
    message = refusal({"model": {"encoder": body}})
    assert message.startswith(f"configuration: model.encoder.{field}: tuple should have at least 1 item")


def test_parse_refuses_a_batch_that_is_smaller_than_the_workers() -> None:
    """Each worker needs an example of every batch; a batch need not divide among them."""
    message = refusal({"training": {"batch_size": 7}, "scaling": {"num_workers": 8}})
    assert message.startswith("configuration: training.batch_size: expected an example for each of scaling.num_workers")
    parse(RunConfig, {"training": {"batch_size": 7}, "scaling": {"num_workers": 3}})


def test_parse_says_where_the_values_came_from() -> None:
    """The origin of the values leads every line."""
    with pytest.raises(ConfigError, match=r"^run\.yaml: objective\.beta: "):
        parse(RunConfig, {"objective": {"beta": "high"}}, "run.yaml")


def test_configuration_survives_json() -> None:
    """A configuration written as JSON reads back equal."""
    config = parse(
        RunConfig,
        {
            "model": {
                "encoder": {"kind": "conv", "channels": [4, 8]},
                "decoder": {"kind": "mlp", "hidden": [5]},
            },
            "objective": {"beta": 0.1, "controller": {"kind": "warmup", "steps": 3}},
        },
    )
    assert RunConfig.model_validate_json(config.model_dump_json()) == config
    assert isinstance(config.model.encoder, Conv)
    assert isinstance(config.model.decoder, MLP)


def test_override_replaces_dotted_fields() -> None:
    """Dotted keys replace single fields and whole sections, and leave the rest and the original alone."""
    base = RunConfig()
    changed = override(
        base,
        {"model.latent_dim": 3, "objective.beta": 2.5, "model.encoder": {"kind": "conv", "channels": [4]}},
    )
    assert (changed.model.latent_dim, changed.objective.beta) == (3, 2.5)
    assert changed.model.encoder == Conv(channels=(4,))
    assert changed.training == base.training
    assert base == RunConfig()


def test_override_leaves_the_values_it_was_given_alone() -> None:
    """A section given as a mapping is not changed by a later key inside it."""
    encoder = {"kind": "mlp", "hidden": [8]}
    changed = override(RunConfig(), {"model.encoder": encoder, "model.encoder.activation": "tanh"})
    assert changed.model.encoder == MLP(hidden=(8,), activation="tanh")
    assert encoder == {"kind": "mlp", "hidden": [8]}


@pytest.mark.parametrize(
    ("section", "kind", "expected"),
    [
        ("model.encoder", "conv", Conv()),
        ("model.likelihood", "gaussian", Gaussian()),
        ("model.posterior", "student_t", StudentTPosterior()),
        ("model.prior", "gaussian_mixture", GaussianMixture()),
        ("objective.controller", "constant", Constant()),
        ("objective.bound", "iwae", Iwae()),
    ],
)
def test_override_with_another_kind_takes_its_defaults(section: str, kind: str, expected: Any) -> None:
    """A new kind leaves no field of the old one in its section, nor any value of it."""
    part, name = section.split(".")
    changed = override(FULL, {f"{section}.kind": kind})
    assert getattr(getattr(changed, part), name) == expected


def test_override_with_the_same_kind_keeps_the_section() -> None:
    """The kind that a section has already changes nothing."""
    assert override(FULL, {"model.encoder.kind": "mlp", "objective.controller.kind": "warmup"}) == FULL


@pytest.mark.parametrize("turn", [1, -1])
def test_override_does_not_depend_on_the_order(turn: int) -> None:
    """A section, its kind and its fields are laid over each other from the outside in, in whatever order they come."""
    changes = {
        "model.encoder.channels": [4],
        "model.encoder.kind": "conv",
        "model.decoder.hidden": [3],
        "model.decoder": {"kind": "mlp"},
    }
    model = override(FULL, dict(list(changes.items())[::turn])).model
    assert (model.encoder, model.decoder) == (Conv(channels=(4,)), MLP(hidden=(3,)))


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("model.latent_dm", "model.latent_dm: unknown key (did you mean `latent_dim`?)"),
        ("modle.latent_dim", "modle.latent_dim: there is no section 'modle'"),
        ("model.latent_dim.x", "model.latent_dim.x: there is no section 'model.latent_dim'"),
    ],
)
def test_override_refuses_unknown_fields(key: str, message: str) -> None:
    """A dotted key that leads nowhere is refused and says how far it leads."""
    with pytest.raises(ConfigError) as error:
        override(RunConfig(), {key: 3}, "--set")
    assert str(error.value) == f"--set: {message}"


def test_sections_are_frozen() -> None:
    """A configuration cannot change under a running job."""
    with pytest.raises(ValueError, match="frozen"):
        RunConfig().training.epochs = 3  # pyright: ignore[reportAttributeAccessIssue]


def test_merged_replaces_a_section_of_another_kind() -> None:
    """Fields of a section are laid over those below; a section that names its kind replaces the other whole."""
    below = {"a": {"kind": "x", "one": 1}, "b": {"two": 2, "three": 3}}
    assert merged(below, {"a": {"kind": "y"}, "b": {"two": 5}}) == {"a": {"kind": "y"}, "b": {"two": 5, "three": 3}}
    assert merged(below, {"a": {"one": 7}})["a"] == {"kind": "x", "one": 7}


FRAGMENTS = (
    "Of ",
    "What ",
    "How ",
    "For ",
    "None ",
    "As ",
    "At ",
    "By ",
    "In ",
    "That ",
    "From ",
    "auto",
    "Per ",
    "Where ",
)


def every_field() -> Iterator[tuple[str, str | None]]:
    """Yields the dotted name of each field of a training and of a search, with its description."""
    seen: set[type[BaseModel]] = set()

    def below(section: type[BaseModel]) -> Iterator[tuple[str, str | None]]:
        if section in seen:
            return
        seen.add(section)
        for name, field in section.model_fields.items():
            sections = [found for found in _sections(field.annotation) if issubclass(found, BaseModel)]
            description = descriptions(section).get(name)
            if name != "kind" and (description or not sections):
                yield f"{section.__name__}.{name}", description
            for found in sections:
                yield from below(found)

    yield from below(RunConfig)
    yield from below(SearchConfig)


def test_field_descriptions_name_the_fields_thing() -> None:
    """A person reads one in a form, alone: it begins with the thing that the field is, and is a sentence."""
    fields = list(every_field())
    assert len(fields) > 90
    wrong = [
        f"{field}: {description}"
        for field, description in fields
        if not description or description.startswith(FRAGMENTS) or not description.rstrip().endswith(".")
    ]
    assert not wrong, "\n".join(wrong)
