"""Answers of a view: requests to `predict`, made from the view and its models, and panels of what they answer.

Shapes: N rows, L latent dimensions, R rows of panels, K panels in each, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.explorer.asking import Ask, Call, params_of
from pipelines.explorer.given import Example, condition_of, example_of
from pipelines.explorer.kinds import Kind, Panel
from pipelines.explorer.models import Models, Subject
from pipelines.explorer.views import Compare, Edit, Latent, Path, Rate, Repair, Transfer, View
from vae.data.transforms import transform_of
from vae.errors import ConfigError

GIVEN, SPREAD = "given", "uncertainty"
MOST_SPREAD = 0.5
"""Largest standard deviation of a pixel: one that is 0 or 1 with the same probability."""
DIGITS = 3
"""Decimals of a latent's coordinate, on the page and in the lines of Python."""


@dataclass(frozen=True)
class Shown:
    """Answer of a view."""

    call: Call
    panels: Sequence[Sequence[Panel]]
    """Panels in rows, [R][K]."""
    numbers: Sequence[tuple[str, str]] = ()
    """Names and values beside the panels."""

    @property
    def flat(self) -> list[Panel]:
        """All panels in one list."""
        return [panel for row in self.panels for panel in row]

    @property
    def kind(self) -> Kind:
        """Kind of the examples in the panels."""
        return self.call.asks[0].subject.kind


def look(view: View, subject: Subject, models: Models) -> Shown:
    """Returns the answer of a view.

    Args:
        view: The view.
        subject: The model that it names.
        models: Source of a second model.

    Raises:
        ValueError: If the view does not fit the model; the message says what would.
    """
    if refusal := refusal_of(type(view), subject):
        raise ConfigError(refusal)
    if isinstance(view, Compare):
        return _compare(view, subject, models)
    return LOOKS[type(view)](view, subject)


def refusal_of(kind: type[View], subject: Subject) -> str | None:
    """Returns why a model has nothing to show in a view; None if it has."""
    if kind is Rate and not subject.model.config.beta_gates:
        return (
            "this model was trained at one beta and takes no other; one that was trained with model.beta_gates, such as "
            "the preset multi_rate_vae, does"
        )
    return subject.abilities[kind.task]


def _answered(subject: Subject, inputs: Any, params: Mapping[str, Any], before: Sequence[Panel], name: str) -> Shown:
    """Returns some panels and the one answer to a request, side by side."""
    call = Call(inputs, (Ask(subject, params),))
    return Shown(call, [[*before, *subject.kind.panels(call.answers()[0], [name])]])


# --- one example ----------------------------------------------------------------------------------------------------


def start_of(view: View, subject: Subject) -> tuple[NDArray[np.float32], list[str]]:
    """Returns the latent [L] of a view's example, and its condition."""
    if not view.x:
        condition = [view.condition or subject.any_condition] if subject.model.conditions else []
        return np.zeros(subject.model.config.latent_dim, np.float32), condition
    example = example_of(subject, view.x)
    condition = condition_of(subject, example, view.condition)
    code = subject.ask(example.values, params_of(condition, view.beta, task="encode"))
    return code["mean"][0].round(DIGITS), condition


def output_of(view: Latent, subject: Subject) -> str:
    """Returns what a view decodes to: `mean` or `sample`."""
    return view.output or transform_of(subject.model.examples).new_examples


def _latent(view: Latent, subject: Subject) -> Shown:
    z_L, condition = start_of(view, subject)
    latent_dim = len(z_L)
    z_L = z_L.astype(np.float64)
    for dimension, value in view.moved:
        if not 0 <= dimension < latent_dim:
            raise ConfigError(f"link, moved: no dimension {dimension}; there are 0 to {latent_dim - 1}")
        z_L[dimension] = value
    z_NL = z_L.round(DIGITS)[None] + 0.0  # no negative zeros
    params = params_of(condition, view.beta, task="decode", output=output_of(view, subject), seed=view.seed)
    return _answered(subject, z_NL, params, (), "decoded")


def _path(view: Path, subject: Subject) -> Shown:
    first, second = example_of(subject, view.x), example_of(subject, view.other or another(subject), "other")
    conditions = condition_of(subject, first, view.condition) + condition_of(subject, second, view.condition)
    params = params_of(conditions, view.beta, task="interpolate", path=view.path, n=view.n)
    call = Call(subject.kind.pair(first.values, second.values), (Ask(subject, params),))
    (points,) = call.answers()
    names = [f"{step / (view.n - 1):.0%}" for step in range(view.n)]
    return Shown(call, [subject.kind.panels(subject.kind.points(points), names)])


def input_of(view: Repair, subject: Subject) -> tuple[Example, Any]:
    """Returns the example of a view, and the damaged input that the model gets."""
    example = example_of(subject, view.x)
    return example, subject.kind.damaged(subject, view, example.values)


def _repair(view: Repair, subject: Subject) -> Shown:
    example, values = input_of(view, subject)
    params = params_of(condition_of(subject, example, view.condition), view.beta, task=view.do)
    if view.do == "reconstruct":
        call, names = Call(values, (Ask(subject, params),)), ["reconstructed"]
    else:
        params |= {"num_samples": view.draws, "seed": view.seed}
        call = Call(values, tuple(Ask(subject, {**params, "output": output}) for output in ("mean", "std")))
        names = ["denoised" if view.do == "denoise" else "imputed", SPREAD]
    answers = call.answers()
    row = subject.kind.panels(values, [GIVEN])
    for answer, name in zip(answers, names, strict=True):
        row += subject.kind.panels(answer, [name])
    if len(answers) > 1:
        row[-1] = replace(row[-1], white=MOST_SPREAD)
    return Shown(call, [row], subject.kind.repair_numbers(values, answers))


def _transfer(view: Transfer, subject: Subject) -> Shown:
    example = example_of(subject, view.x)
    condition = condition_of(subject, example, view.condition)
    if view.target or not view.other:
        target = view.target or next(iter(c for c in subject.conditions if [c] != condition), subject.any_condition)
        params = params_of(condition, task="transfer", seed=view.seed, target=[target])
        before = subject.kind.panels(example.values, [f"{GIVEN}: {condition[0]}"])
        return _answered(subject, example.values, params, before, f"as {target}")
    other = example_of(subject, view.other, "other")
    params = {"task": "transfer", "seed": view.seed}
    before = subject.kind.panels(example.values, [GIVEN]) + subject.kind.panels(other.values, ["reference"])
    return _answered(
        subject, subject.kind.pair(example.values, other.values), params, before, "under the reference's condition"
    )


def _edit(view: Edit, subject: Subject) -> Shown:
    attribute = view.attribute or next(iter(subject.attributes), "")
    changes = {"attribute": attribute, "strength": view.strength, "method": view.method}
    return _changed(view, subject, f"{attribute} {view.strength:+g}", task="edit", **changes)


def _rate(view: Rate, subject: Subject) -> Shown:
    return _changed(view, subject, f"β = {view.beta:.3g}", task="reconstruct")


def _changed(view: View, subject: Subject, name: str, **params: Any) -> Shown:
    """Returns the example of a view beside the answer to a request about it."""
    example = example_of(subject, view.x)
    condition = condition_of(subject, example, view.condition)
    before = subject.kind.panels(example.values, [GIVEN])
    return _answered(subject, example.values, params_of(condition, view.beta, **params), before, name)


LOOKS: Mapping[type[View], Callable[[Any, Subject], Shown]] = {
    Latent: _latent,
    Path: _path,
    Repair: _repair,
    Transfer: _transfer,
    Edit: _edit,
    Rate: _rate,
}


# --- two models -----------------------------------------------------------------------------------------------------


def _compare(view: Compare, subject: Subject, models: Models) -> Shown:
    rows = subject.rows
    if rows is None:
        raise ConfigError("the dataset of this model is out of reach, so there are no rows to compare two models on")
    other = models.pull(view.against or _rival(subject, models))
    if other.shape != subject.shape or other.kind is not subject.kind:
        raise ConfigError(
            f"{other.offer.reference} takes examples of shape {other.shape}, {subject.offer.reference} of "
            f"{subject.shape}; choose versions of the same data"
        )
    chosen = np.random.default_rng(view.seed).permutation(len(rows))[: view.n].tolist()
    values = rows.take(chosen)
    asks = []
    for one in (subject, other):
        condition = _conditions_of_rows(one, subject, chosen)
        asks.append(Ask(one, params_of(condition, task="reconstruct")))
        asks.append(Ask(one, params_of(condition, task="score", num_samples=view.draws, seed=view.seed)))
    call = Call(values, tuple(asks))
    first, score, second, other_score = call.answers()
    columns = [subject.kind.panels(values, [f"row {number}" for number in chosen])]
    numbers = []
    for one, rebuilt, score_N in ((subject, first, score), (other, second, other_score)):
        reference = one.offer.reference
        columns.append(one.kind.panels(rebuilt, [f"{reference}: {nats:.1f} nats" for nats in score_N]))
        mean = f"{float(np.mean(score_N)):.3f} nats, the mean of {len(chosen)} rows"
        numbers.append((f"{reference}, log p(x)", mean))
    return Shown(call, [list(row) for row in zip(*columns, strict=True)], numbers)


def _conditions_of_rows(one: Subject, subject: Subject, numbers: Sequence[int]) -> list[str]:
    """Returns the conditions of the subject's rows for another model."""
    if not one.model.conditions:
        return []
    same = one.rows is not None and subject.rows is not None and one.rows.dataset_id == subject.rows.dataset_id
    source = one if same else subject
    if source.rows is None or source.rows.conditions is None or source.model.conditions != one.model.conditions:
        raise ConfigError(f"{one.offer.reference} needs conditions that these rows do not have; choose another version")
    return [source.rows.conditions[number] for number in numbers]


def _rival(subject: Subject, models: Models) -> str:
    """Returns the challenger, or else the newest other version of the same name."""
    others = [o for o in models.offers() if o.name == subject.offer.name and o.version != subject.offer.version]
    if not others:
        raise ConfigError(
            f"{subject.offer.name} has one version alone; choose a version of another model to compare with"
        )
    return next((o for o in others if "challenger" in o.aliases), others[0]).reference


# --- rows to choose from --------------------------------------------------------------------------------------------


def offered(view: View, subject: Subject, count: int) -> list[int]:
    """Returns the numbers of rows to choose from: row 0, which a view begins with, and others that the seed draws."""
    if subject.rows is None:
        return []
    drawn = np.random.default_rng(view.seed).permutation(len(subject.rows))
    return [0, *(number for number in drawn.tolist() if number)][:count]


def another(subject: Subject) -> str:
    """Returns a row of another class than the first, if there is one, as the default end of a path."""
    if subject.rows is None or len(subject.rows) < 2:
        return ""
    classes = subject.rows.classes
    return f"row:{next((n for n in range(1, len(classes)) if classes[n] != classes[0]), 1) if classes else 1}"
