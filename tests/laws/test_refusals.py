"""Configurations whose parts do not fit: each is refused in one sentence that names the field and what would work."""

from __future__ import annotations

import ast
import copy
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from pydantic import ValidationError

import vae
from vae.config import RunConfig, parse
from vae.errors import ConfigError

Values = dict[str, Any]

QUANTIZED: Values = {"posterior": {"kind": "vector_quantized"}, "prior": {"kind": "uniform_codes"}, "latent_dim": 8}
LADDER: Values = {"posterior": {"kind": "ladder"}, "prior": {"kind": "hierarchical"}}
TABLE: Values = {"encoder": {"kind": "table"}, "likelihood": {"kind": "mixed"}}
STUDENT_T: Values = {"posterior": {"kind": "student_t"}}


def model(**changes: Any) -> Values:
    return {"model": changes}


def objective(model: Values, **changes: Any) -> Values:
    return {"model": model, "objective": changes}


class Refusal(NamedTuple):
    """What is refused, the field that the message begins with, and the changes that it proposes, by dotted names."""

    values: Values
    field: str
    proposals: list[Values]


REFUSALS: dict[str, Refusal] = {
    "codes without a prior of codes": Refusal(
        model(posterior={"kind": "vector_quantized"}, latent_dim=8),
        "model.prior",
        [{"model.prior": {"kind": "uniform_codes"}}, {"model.prior": {"kind": "autoregressive_codes"}}],
    ),
    "torch module as the encoder alone": Refusal(
        model(encoder={"kind": "custom", "target": "torch.nn:Flatten"}),
        "model.decoder",
        [{"model.decoder": {"kind": "mlp"}}],
    ),
    "condition named twice": Refusal(
        model(condition=["class", "size", "class"]), "model.condition", [{"model.condition": ["class", "size"]}]
    ),
    "regulariser of codes": Refusal(
        objective(QUANTIZED, regularizers=[{"kind": "mmd"}]),
        "objective.regularizers",
        [
            {"objective.regularizers": []},
            {"model.posterior": {"kind": "diagonal_gaussian"}, "model.prior": {"kind": "standard_normal"}},
        ],
    ),
    "latent that codes do not fill": Refusal(
        model(**{**QUANTIZED, "latent_dim": 10}), "model.latent_dim", [{"model.latent_dim": 8}]
    ),
    "latent smaller than a code": Refusal(
        model(**{**QUANTIZED, "latent_dim": 1}), "model.latent_dim", [{"model.latent_dim": 4}]
    ),
    "prior of codes without codes": Refusal(
        model(prior={"kind": "autoregressive_codes"}, latent_dim=8),
        "model.prior",
        [{"model.posterior": {"kind": "vector_quantized"}}, {"model.prior": {"kind": "standard_normal"}}],
    ),
    "latent that groups do not fill": Refusal(
        model(prior={"kind": "hierarchical", "groups": 3}), "model.latent_dim", [{"model.latent_dim": 9}]
    ),
    "ladder without groups": Refusal(
        model(posterior={"kind": "ladder"}), "model.posterior", [{"model.prior": {"kind": "hierarchical"}}]
    ),
    "vamp of a posterior without a density": Refusal(
        model(prior={"kind": "vamp"}, posterior={"kind": "flow"}),
        "model.prior",
        [{"model.posterior": {"kind": "diagonal_gaussian"}}],
    ),
    "vamp of a table": Refusal(
        model(prior={"kind": "vamp"}, **TABLE),
        "model.prior",
        [{"model.prior": {"kind": "gaussian_mixture"}}, {"model.prior": {"kind": "flow"}}],
    ),
    "conditional prior of nothing": Refusal(
        model(prior={"kind": "conditional"}), "model.prior", [{"model.condition": "class"}]
    ),
    "film of nothing": Refusal(model(condition_by="film"), "model.condition_by", [{"model.condition": "class"}]),
    "channel film without channels": Refusal(
        model(condition="class", condition_by="channel_film"),
        "model.condition_by",
        [{"model.condition_by": "film"}, {"model.encoder": {"kind": "conv"}}],
    ),
    "table as an image": Refusal(model(encoder={"kind": "table"}), "model", [{"model.likelihood": {"kind": "mixed"}}]),
    "image as a table": Refusal(model(likelihood={"kind": "mixed"}), "model", [{"model.encoder": {"kind": "table"}}]),
    "table with an image's decoder": Refusal(
        model(**TABLE, decoder={"kind": "mlp"}), "model", [{"model.decoder": {"kind": "table"}}]
    ),
    "corrupted table": Refusal(
        objective(TABLE, corruption={"kind": "blur"}),
        "objective.corruption",
        [{"objective.corruption": None, "data.missing": {"kind": "mcar"}}],
    ),
    "importance weighted codes": Refusal(
        objective(QUANTIZED, bound={"kind": "iwae"}), "objective.bound", [{"objective.bound": {"kind": "elbo"}}]
    ),
    "multi rate without gates": Refusal(
        objective({}, controller={"kind": "multi_rate"}),
        "objective.controller",
        [{"model.beta_gates": True}, {"objective.controller": {"kind": "constant"}}],
    ),
    "gates without multi rate": Refusal(
        objective({"beta_gates": True}),
        "objective.controller",
        [{"objective.controller": {"kind": "multi_rate"}}, {"model.beta_gates": False}],
    ),
    "controller of the rate of codes": Refusal(
        objective(QUANTIZED, controller={"kind": "capacity"}),
        "objective.controller",
        [{"objective.controller": {"kind": "constant"}}],
    ),
    "steps that are not whole": Refusal(
        objective({}, controller={"kind": "warmup", "steps": 2.5}),
        "objective.controller.steps",
        [{"objective.controller.steps": 2}],
    ),
    "capacity that starts at its end": Refusal(
        objective({}, controller={"kind": "capacity", "steps": 500, "start": 500}),
        "objective.controller.start",
        [{"objective.controller.start": 499}, {"objective.controller.steps": 501}],
    ),
    "capacity in iwae": Refusal(
        objective({}, bound={"kind": "iwae"}, controller={"kind": "capacity"}),
        "objective.controller",
        [{"objective.bound": {"kind": "elbo"}}, {"objective.bound": {"kind": "ciwae"}}],
    ),
    "free bits in iwae": Refusal(
        objective({}, bound={"kind": "iwae"}, controller={"kind": "free_bits"}),
        "objective.controller",
        [{"objective.bound": {"kind": "elbo"}}, {"objective.bound": {"kind": "ciwae"}}],
    ),
    "free bits without a closed form": Refusal(
        objective(STUDENT_T, controller={"kind": "free_bits"}),
        "objective.controller",
        [
            {"model.posterior": {"kind": "diagonal_gaussian"}, "model.prior": {"kind": "standard_normal"}},
            {
                "model.posterior": {"kind": "diagonal_gaussian"},
                "model.prior": {"kind": "conditional"},
                "model.condition": ["class"],
            },
            {"model.posterior": {"kind": "ladder"}, "model.prior": {"kind": "hierarchical"}},
        ],
    ),
    "free bits of a mixture": Refusal(
        objective({"prior": {"kind": "gaussian_mixture"}}, controller={"kind": "free_bits"}),
        "objective.controller",
        [{"model.prior": {"kind": "standard_normal"}}],
    ),
    "geco from zero": Refusal(
        objective({}, beta=0, controller={"kind": "geco", "distortion": 60.0}),
        "objective.beta",
        [{"objective.beta": 1}],
    ),
    "multi rate upside down": Refusal(
        objective({"beta_gates": True}, controller={"kind": "multi_rate", "low": 5.0, "high": 2.0}),
        "objective.controller",
        [{"objective.controller.low": 2.0, "objective.controller.high": 5.0}],
    ),
    "control upside down": Refusal(
        objective({}, controller={"kind": "control", "lowest": 5.0, "highest": 2.0}),
        "objective.controller",
        [{"objective.controller.lowest": 2.0, "objective.controller.highest": 5.0}],
    ),
    "regularizer of one example": Refusal(
        {"objective": {"regularizers": [{"kind": "mmd"}]}, "training": {"batch_size": 1}},
        "training.batch_size",
        [{"training.batch_size": 2}, {"training.batch_size": 64}],
    ),
    "regularizer of codes": Refusal(
        objective(QUANTIZED, regularizers=[{"kind": "mmd"}]),
        "objective.regularizers",
        [
            {"objective.regularizers": []},
            {"model.posterior": {"kind": "diagonal_gaussian"}, "model.prior": {"kind": "standard_normal"}},
        ],
    ),
    "total correlation without moments": Refusal(
        objective(STUDENT_T, regularizers=[{"kind": "total_correlation"}]),
        "objective.regularizers",
        [
            {"objective.regularizers": [{"kind": "mmd"}]},
            {"objective.regularizers": [{"kind": "adversary"}]},
            {"model.posterior": {"kind": "diagonal_gaussian"}},
        ],
    ),
    "dip without moments": Refusal(
        objective(LADDER, regularizers=[{"kind": "dip"}]),
        "objective.regularizers",
        [{"objective.regularizers": [{"kind": "mmd"}]}, {"objective.regularizers": [{"kind": "adversary"}]}],
    ),
    "two adversaries": Refusal(
        objective({}, regularizers=[{"kind": "adversary"}, {"kind": "adversary"}]),
        "objective.regularizers",
        [{"objective.regularizers": [{"kind": "adversary"}]}],
    ),
    "fewer workers at most than at least": Refusal(
        {"scaling": {"num_workers": 2, "min_workers": 4}},
        "scaling.min_workers",
        [{"scaling.min_workers": 2}],
    ),
    "batch smaller than the workers": Refusal(
        {"training": {"batch_size": 7}, "scaling": {"num_workers": 8}},
        "training.batch_size",
        [{"training.batch_size": 8}, {"scaling.num_workers": 7}],
    ),
}
UNSAID = {"standard_normal", "constant", "mcar", "class"}
"""Of proposals: another choice than the refused one, where the message says only that it has to be another."""

EVERY_REFUSAL = pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)


def change(values: Values, changes: Values) -> Values:
    """The values with dotted names replaced."""
    changed = copy.deepcopy(values)
    for name, value in changes.items():
        *sections, last = name.split(".")
        place = changed
        for section in sections:
            place = place.setdefault(section, {})
        place[last] = value
    return changed


def words(value: Any) -> list[str]:
    """Names and numbers in a proposal."""
    if isinstance(value, dict):
        return words(list(value.values()))
    if isinstance(value, list | tuple):
        return [word for each in value for word in words(each)]
    return [str(value)] if isinstance(value, str | int | float) and not isinstance(value, bool) else []


@EVERY_REFUSAL
def test_refusal_is_one_sentence_that_names_the_field(refusal: Refusal) -> None:
    """One line without a full stop, which begins with the field's dotted name."""
    with pytest.raises(ConfigError) as error:
        parse(RunConfig, refusal.values)
    message = str(error.value)
    assert message.startswith(f"configuration: {refusal.field}")
    assert message[len(f"configuration: {refusal.field}")] in " :"
    assert "\n" not in message
    assert ". " not in message
    assert not message.endswith(".")
    assert 60 < len(message) < 300


@EVERY_REFUSAL
def test_refusal_proposes_what_is_accepted(refusal: Refusal) -> None:
    """Each proposal is in the message's own words, and with it the configuration is read."""
    with pytest.raises(ConfigError) as error:
        parse(RunConfig, refusal.values)
    for proposal in refusal.proposals:
        parse(RunConfig, change(refusal.values, proposal))
        assert all(word in str(error.value) for word in words(list(proposal.values())) if word not in UNSAID)


def raised_at(values: Values) -> tuple[str, int]:
    """The file and line that refuse."""
    with pytest.raises(ValidationError) as error:
        RunConfig.model_validate(values)
    (problem,) = error.value.errors()
    trace = problem["ctx"]["error"].__traceback__
    while trace.tb_next is not None:
        trace = trace.tb_next
    return trace.tb_frame.f_code.co_filename, trace.tb_lineno


def test_every_refusal_of_the_configuration_is_here() -> None:
    """Each ValueError that the configuration or a part raises is what one of these cases comes to."""
    folder = Path(vae.__file__).parent
    raises = {
        (str(path), node.lineno)
        for room in ("config", "parts")
        for path in (folder / room).rglob("*.py")
        if path.name != "custom.py"  # refuses the code of users: see tests/pipelines/api/test_custom_parts.py
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and ast.unparse(node.exc.func) == "ValueError"
    }
    assert len(raises) > 15
    assert raises == {raised_at(refusal.values) for refusal in REFUSALS.values()}
