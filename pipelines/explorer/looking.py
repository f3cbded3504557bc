"""From a view and its models to what is on the page: a request to `predict`, and its answers as panels side by side.

Shapes: N rows, L latent, R rows of panels, K panels in one, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, assert_never

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipelines.explorer.asking import Ask, Call, told
from pipelines.explorer.given import Example, condition_of, damaged, example_of, read_holes, with_cells
from pipelines.explorer.models import Models, Subject
from pipelines.explorer.views import Compare, Edit, Latent, Path, Rate, Repair, Transfer, View
from vae.errors import ConfigError

GIVEN, SPREAD = "given", "uncertainty"
MOST_SPREAD = 0.5
"""The standard deviation of a pixel that is 0 or 1 with the same chance: there is no more."""
DIGITS = 3
"""Decimals of a latent's coordinate, on the page and in the lines of Python."""


@dataclass(frozen=True)
class Panel:
    """One example on the page."""

    name: str
    values: Any
    """An image [C,H,W] float32, in [0, 1] or NaN where a pixel is missing; or a data frame of one row."""
    white: float = 1.0
    """The value that is drawn white."""


@dataclass(frozen=True)
class Shown:
    """What a view shows."""

    call: Call
    panels: Sequence[Sequence[Panel]]
    """[R][K]"""
    figures: Sequence[tuple[str, str]] = ()
    """Names and values beside the panels."""

    @property
    def flat(self) -> list[Panel]:
        """All panels in one list."""
        return [panel for row in self.panels for panel in row]

    @property
    def is_table(self) -> bool:
        """True if the panels are rows of a table, and not images."""
        return isinstance(self.panels[0][0].values, pd.DataFrame)


def look(view: View, subject: Subject, models: Models) -> Shown:
    """What a view shows.

    Args:
        view: What to look at.
        subject: The model it names.
        models: Where a second one comes from.

    Raises:
        ValueError: If the view does not fit the model; the message says what would.
    """
    if refusal := refusal_of(type(view), subject):
        raise ConfigError(refusal)
    match view:
        case Latent():
            return _latent(view, subject)
        case Path():
            return _path(view, subject)
        case Repair():
            return _repair(view, subject)
        case Transfer():
            return _transfer(view, subject)
        case Edit():
            return _edit(view, subject)
        case Rate():
            return _rate(view, subject)
        case Compare():
            return _compare(view, subject, models)
        case _:
            assert_never(view)  # pyright: ignore[reportArgumentType]


def refusal_of(kind: type[View], subject: Subject) -> str | None:
    """Why a model has nothing to show in a view; None where it has."""
    if kind is Rate and not subject.model.config.beta_gates:
        return (
            "this model was trained at one beta and takes no other; one that was trained with model.beta_gates, such as "
            "the preset multi_rate_vae, does"
        )
    return subject.abilities[kind.task]


# --- one example ----------------------------------------------------------------------------------------------------


def start_of(view: View, subject: Subject) -> tuple[NDArray[np.float32], list[str]]:
    """The latent [L] that an example has, and what the model is told of it."""
    if not view.x:
        condition = [view.condition or subject.any_condition] if subject.model.conditions else []
        return np.zeros(subject.model.config.latent_dim, np.float32), condition
    example = example_of(subject, view.x)
    condition = condition_of(subject, example, view.condition)
    code = subject.ask(example.values, _at(view, condition, task="encode"))
    return code["mean"][0].round(DIGITS), condition


def _latent(view: Latent, subject: Subject) -> Shown:
    z_L, condition = start_of(view, subject)
    latent_dim = len(z_L)
    z_L = z_L.astype(np.float64)
    for dimension, value in view.moved:
        if not 0 <= dimension < latent_dim:
            raise ConfigError(f"link, moved: no dimension {dimension}; there are 0 to {latent_dim - 1}")
        z_L[dimension] = value
    z_NL = z_L.round(DIGITS)[None] + 0.0  # no negative zeros
    call = Call(z_NL, (Ask(subject, _at(view, condition, task="decode", output=view.output, seed=view.seed)),))
    return Shown(call, [panels(subject, call.answers()[0], ["decoded"])])


def _path(view: Path, subject: Subject) -> Shown:
    first, second = example_of(subject, view.x), example_of(subject, view.other or another(subject), "other")
    conditions = condition_of(subject, first, view.condition) + condition_of(subject, second, view.condition)
    inputs = (
        pd.concat([first.values, second.values], ignore_index=True)
        if subject.is_table
        else np.stack([first.values[0], second.values[0]])[None]
    )
    call = Call(inputs, (Ask(subject, _at(view, conditions, task="interpolate", path=view.path, n=view.n)),))
    found = call.answers()[0]
    names = [f"{step / (view.n - 1):.0%}" for step in range(view.n)]
    return Shown(call, [panels(subject, found if subject.is_table else found[0], names)])


def given_to(view: Repair, subject: Subject) -> tuple[Example, Any]:
    """The example of a view, and what of it the model is given."""
    example = example_of(subject, view.x)
    if subject.examples.columns is not None:
        return example, with_cells(example.values, view.cells, subject.examples.columns)
    values = damaged(example.values, view.noise, read_holes(subject, view.holes), view.seed)
    # Only a denoiser takes pixels that noise has taken out of their range.
    return example, values if view.do == "denoise" or values.dtype == np.uint8 else values.clip(0, 1)


def _repair(view: Repair, subject: Subject) -> Shown:
    example, values = given_to(view, subject)
    condition = condition_of(subject, example, view.condition)
    if view.do == "reconstruct":
        call = Call(values, (Ask(subject, _at(view, condition, task="reconstruct")),))
        names = ["reconstructed"]
    else:
        drawn = _at(view, condition, task=view.do, num_samples=view.draws, seed=view.seed)
        call = Call(values, tuple(Ask(subject, {**drawn, "output": output}) for output in ("mean", "std")))
        names = ["denoised" if view.do == "denoise" else "imputed", SPREAD]
    answers = call.answers()
    row = panels(subject, values, [GIVEN])
    for answer, name in zip(answers, names, strict=True):
        row += panels(subject, answer, [name])
    if len(answers) > 1:
        row[-1] = replace(row[-1], white=MOST_SPREAD)
    return Shown(call, [row], _repair_figures(subject, values, answers))


def _repair_figures(subject: Subject, values: Any, answers: Sequence[Any]) -> list[tuple[str, str]]:
    if subject.is_table:
        gaps = int(values.isna().to_numpy().sum())
        return [("cells filled in", str(gaps))] if gaps else []
    given = _image(values[0])
    there = ~np.isnan(given)
    missed = (given - answers[0][0])[there]
    figures = [("difference from what was given", f"{float(np.sqrt(np.square(missed).mean())):.4f} rms")]
    gaps = int((~there).any(0).sum())
    if gaps:
        figures.append(("pixels missing", f"{gaps} of {given[0].size}"))
    if len(answers) > 1:
        uncertain = answers[1][0][~there] if gaps else answers[1][0]
        figures.append(("mean uncertainty", f"{float(uncertain.mean()):.4f}"))
    return figures


def _transfer(view: Transfer, subject: Subject) -> Shown:
    example = example_of(subject, view.x)
    condition = condition_of(subject, example, view.condition)
    asked: dict[str, Any] = {"task": "transfer", "seed": view.seed}
    if view.target or not view.other:
        target = view.target or next(iter(c for c in subject.conditions if [c] != condition), subject.any_condition)
        call = Call(example.values, (Ask(subject, told(condition, **asked, target=[target])),))
        row = [*panels(subject, example.values, [f"{GIVEN}: {condition[0]}"])]
        return Shown(call, [[*row, *panels(subject, call.answers()[0], [f"as {target}"])]])
    other = example_of(subject, view.other, "other")
    pairs = (
        pd.concat([example.values, other.values], ignore_index=True)
        if subject.is_table
        else np.stack([example.values[0], other.values[0]])[None]
    )
    call = Call(pairs, (Ask(subject, asked),))
    row = [*panels(subject, example.values, [GIVEN]), *panels(subject, other.values, ["reference"])]
    return Shown(call, [[*row, *panels(subject, call.answers()[0], ["under the reference's condition"])]])


def _edit(view: Edit, subject: Subject) -> Shown:
    example = example_of(subject, view.x)
    condition = condition_of(subject, example, view.condition)
    attribute = view.attribute or next(iter(subject.attributes), "")
    asked = {"attribute": attribute, "strength": view.strength, "method": view.method}
    call = Call(example.values, (Ask(subject, _at(view, condition, task="edit", **asked)),))
    row = panels(subject, example.values, [GIVEN])
    return Shown(call, [[*row, *panels(subject, call.answers()[0], [f"{attribute} {view.strength:+g}"])]])


def _rate(view: Rate, subject: Subject) -> Shown:
    example = example_of(subject, view.x)
    condition = condition_of(subject, example, view.condition)
    call = Call(example.values, (Ask(subject, _at(view, condition, task="reconstruct")),))
    row = [*panels(subject, example.values, [GIVEN]), *panels(subject, call.answers()[0], [f"β = {view.beta:.3g}"])]
    return Shown(call, [row])


# --- two models -----------------------------------------------------------------------------------------------------


def _compare(view: Compare, subject: Subject, models: Models) -> Shown:
    rows = subject.rows
    if rows is None:
        raise ConfigError("the rows that both would be shown are out of reach: the dataset of this model is not there")
    other = models.pull(view.against or _rival(subject, models))
    if other.examples.shape != subject.examples.shape or other.is_table != subject.is_table:
        raise ConfigError(
            f"{other.offer.reference} takes examples of shape {other.examples.shape}, {subject.offer.reference} of "
            f"{subject.examples.shape}; choose versions of the same data"
        )
    chosen = np.random.default_rng(view.seed).permutation(len(rows))[: view.n].tolist()
    values = rows.take(chosen)
    asks = []
    for one in (subject, other):
        condition = _conditions_of_rows(one, subject, chosen)
        asks.append(Ask(one, told(condition, task="reconstruct")))
        asks.append(Ask(one, told(condition, task="score", num_samples=view.draws, seed=view.seed)))
    call = Call(values, tuple(asks))
    first, score, second, other_score = call.answers()
    names = [f"row {number}" for number in chosen]
    figures = [
        (f"{one.offer.reference}, log p(x)", f"{float(np.mean(found)):.3f} nats, the mean of {len(chosen)} rows")
        for one, found in ((subject, score), (other, other_score))
    ]
    rebuilt = zip(
        panels(subject, values, names),
        panels(subject, first, _scored(subject, score)),
        panels(subject, second, _scored(other, other_score)),
        strict=True,
    )
    return Shown(call, [list(row) for row in rebuilt], figures)


def _conditions_of_rows(one: Subject, subject: Subject, numbers: Sequence[int]) -> list[str]:
    if not one.model.conditions:
        return []
    source = (
        one
        if one.rows is not None and subject.rows is not None and one.rows.dataset_id == subject.rows.dataset_id
        else subject
    )
    if source.rows is None or source.rows.conditions is None or source.model.conditions != one.model.conditions:
        raise ConfigError(f"{one.offer.reference} is told more of a row than these rows say; choose another version")
    return [source.rows.conditions[number] for number in numbers]


def _rival(subject: Subject, models: Models) -> str:
    """The newest other version of the same name."""
    others = [o for o in models.offers() if o.name == subject.offer.name and o.version != subject.offer.version]
    if not others:
        raise ConfigError(
            f"{subject.offer.name} has one version alone; choose a version of another model to compare with"
        )
    return next((o for o in others if "challenger" in o.aliases), others[0]).reference


# --- panels ---------------------------------------------------------------------------------------------------------


def panels(subject: Subject, values: Any, names: Sequence[str]) -> list[Panel]:
    """One panel for each row of an answer."""
    if subject.is_table:
        return [Panel(name, values.iloc[[number]]) for number, name in enumerate(names)]
    return [Panel(name, _image(image)) for name, image in zip(names, values, strict=True)]


def offered(view: View, subject: Subject, count: int) -> list[int]:
    """Numbers of rows to choose from, by the seed; the first of them is row 0, which a view begins with."""
    if subject.rows is None:
        return []
    drawn = np.random.default_rng(view.seed).permutation(len(subject.rows))
    return [0, *(number for number in drawn.tolist() if number)][:count]


def another(subject: Subject) -> str:
    """A row of another class than the first, where there is one: where a way ends that says nothing of its end."""
    if subject.rows is None or len(subject.rows) < 2:
        return ""
    classes = subject.rows.classes
    return f"row:{next((n for n in range(1, len(classes)) if classes[n] != classes[0]), 1) if classes else 1}"


def _image(image: NDArray[Any]) -> NDArray[np.float32]:
    return image.astype(np.float32) / np.float32(255 if image.dtype == np.uint8 else 1)


def _at(view: View, condition: Sequence[str], **params: Any) -> dict[str, Any]:
    """Parameters of a task that looks at a condition and β."""
    return told(condition, **params, **({"beta": view.beta} if view.beta != 1 else {}))


def _scored(subject: Subject, score_N: NDArray[np.float32]) -> list[str]:
    return [f"{subject.offer.reference}: {nats:.1f} nats" for nats in score_N]
