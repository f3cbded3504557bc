"""Markdown: the model card that a registered version carries, and the table of a search."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from pipelines.report import wording
from pipelines.report.evidence import Evidence
from pipelines.report.findings import Score, remarks, scores, verdict
from pipelines.report.measures import measures
from tuning.frontier import Trial, pareto, select
from vae.config import Bernoulli
from vae.data.conditions import example_condition
from vae.data.manifest import TableSpec
from vae.inference.answering import abilities
from vae.parts.directions import Directions

MOST_CLASSES, MOST_SOURCES, MOST_CHARACTERS = 12, 4, 40


def card(evidence: Evidence, uri: str) -> str:
    """The model card: what it is, trained on what, what it can do, its scores, its limits, and how to pull it.

    Args:
        evidence: Of the run.
        uri: What `mlflow.pyfunc.load_model` takes, such as `models:/digits@champion`.

    Returns:
        Markdown under 5,000 characters, which is what MLflow keeps of a description. Names from the data are escaped.
    """
    sections = [
        f"# {_escape(evidence.name)}",
        _escape(verdict(evidence), 300),
        *_what_it_is(evidence),
        *_trained_on(evidence),
        *_what_it_can_do(evidence, uri),
        *_scores(evidence),
        *_limits(evidence),
    ]
    return "\n\n".join(sections) + "\n"


def _what_it_is(evidence: Evidence) -> list[str]:
    config = evidence.config.model
    decoder = "its mirror" if config.decoder is None else wording.body(config.decoder)
    told = (
        f"A variational autoencoder of {wording.shape(evidence.manifest)}: encoder {wording.body(config.encoder)}; "
        f"decoder {decoder}; {config.latent_dim} latent dimensions; posterior: {wording.posterior(config.posterior)}; "
        f"prior: {wording.prior(config.prior)}; likelihood: {wording.likelihood(config.likelihood)}."
    )
    if config.condition:
        told += f" Encoder and decoder are told {_escape(wording.condition(config), 200)} of the example."
    if evidence.model is not None:
        told += f" {sum(p.numel() for p in evidence.model.parameters()):,} parameters."
    return ["## What it is", f"{told} Trained to minimise {wording.objective(evidence.config.objective)}."]


def _trained_on(evidence: Evidence) -> list[str]:
    dataset = evidence.manifest
    rows = ", ".join(f"{count:,} {split}" for split, count in dataset.num_rows.items())
    lines = [f"- dataset: {_escape(dataset.name)}, `{dataset.dataset_id}`", f"- examples: {rows}"]
    if isinstance(dataset.example, TableSpec):
        names = [column.name for column in dataset.example.columns]
        lines.append(f"- columns: {_listed(names, MOST_CLASSES, 'columns')}")
    if evidence.config.data.missing is not None:
        lines.append(f"- {wording.missing(evidence.config.data.missing)}")
    if dataset.classes:
        lines.append(f"- classes: {_listed(dataset.classes, MOST_CLASSES, 'classes')}")
    if dataset.sources:
        lines.append(f"- sources: {_listed([file.path for file in dataset.sources], MOST_SOURCES, 'files')}")
    elif dataset.source_listing is not None:
        lines.append(f"- sources: {dataset.source_listing.files:,} files, listed in `{dataset.source_listing.path}`")
    return ["## Trained on", "\n".join(lines)]


def _listed(names: Sequence[str], most: int, noun: str) -> str:
    shown = ", ".join(_escape(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} … ({len(names):,} {noun})"


def _what_it_can_do(evidence: Evidence, uri: str) -> list[str]:
    what, form = (
        ("rows", "a data frame with the columns above") if evidence.is_table else ("images", "[N,C,H,W] in [0, 1]")
    )
    model, told = evidence.model, ""
    lines = ["import mlflow", f"model = mlflow.pyfunc.load_model({_literal(uri)})"]
    if model is not None and model.conditions:
        told = ", **told"
        lines.append(f'told = {{"condition": [{_literal(example_condition(model.conditions)[0])}]}}')
    lines.append(f'{what} = model.predict(None, params={{"task": "generate", "n": 16{told}}})')
    cannot = {} if model is None else {task: why for task, why in abilities(model).items() if why}
    more = [
        f"model.predict({given}, params={{{asked}{told}}})  # {gives}"
        for task, given, asked, gives in _asking(evidence, what, form)
        if task not in cannot
    ]
    parts = ["## What it can do", _code(lines), f"And with {what} or latents of your own:", _code(more)]
    if cannot:
        parts += ["It cannot:", "\n".join(f"- {task}: {why}." for task, why in cannot.items())]
    return parts


def _asking(evidence: Evidence, what: str, form: str) -> Iterator[tuple[str, str, str, str]]:
    """Of each use: its task, what is given, what is asked in `params`, and what comes back."""
    model = evidence.model
    yield "reconstruct", what, '"task": "reconstruct"', f"{what}, {form}"
    yield "encode", what, '"task": "encode"', '{"mean": [N,L], "std": [N,L]}'
    yield "decode", "latents", '"task": "decode"', f"latents [N,L] to {what}"
    yield "score", what, '"task": "score"', "log p(x) in nats, [N]"
    yield "denoise", what, '"task": "denoise"', '"output": "std" says how sure'
    yield "impute", what, '"task": "impute"', 'NaN is a gap; "output": "std", "ess", or "sample" for n of each'
    if model is None:
        return
    pairs = what if evidence.is_table else f"{what}.reshape(-1, 2, *{what}.shape[1:])"
    yield "interpolate", pairs, '"task": "interpolate", "path": "spherical"', "pairs to paths of n points"
    yield "traverse", what, '"task": "traverse", "n": 5', "each dimension of the latent set to n values"
    if model.directions is not None:
        asked = f'"task": "edit", "attribute": {_literal(model.directions.names[0])}, "strength": 1.0'
        yield "edit", what, asked, f"one of {len(model.directions.names)} directions{_effect(model.directions)}"
    if model.conditions:
        asked = '"task": "transfer", "target": told["condition"]'
        yield "transfer", what, asked, f"{what} under another condition"
    if model.aggregate is not None:
        yield "generate", "None", '"task": "generate", "sampler": "aggregate"', "closer to the data"
    if evidence.config.model.beta_gates:
        yield "reconstruct", what, '"task": "reconstruct", "beta": 0.5', "at another β"


def _effect(directions: Directions) -> str:
    """How far a step of 1 along the first direction moves the output, by each method; nothing if it was not measured."""
    if directions.effects is None:
        return ""
    figures = ", ".join(f"{effects[0]:.2g} by {method}" for method, effects in directions.effects.items())
    return f"; a step of 1 changes values by {figures} (root mean square)"


def _scores(evidence: Evidence) -> list[str]:
    rows = [*scores(evidence), *_uses(evidence)]
    if not rows:
        return ["## Scores", f"None was measured on the {evidence.split} split."]
    table = [f"| score ({evidence.split} split) | value | unit | protocol |", "|---|---|---|---|"]
    table += [f"| {' | '.join(_escape(cell, 200) for cell in row)} |" for row in rows]
    return ["## Scores", "\n".join(table)]


def _uses(evidence: Evidence) -> list[Score]:
    """What has a simplest answer to stand beside; the page has the other metrics as well."""
    return [
        Score(
            measure.name, measure.value, measure.unit, ", ".join(f"{name} {value}" for name, value in measure.baselines)
        )
        for measure in measures(evidence.metrics, is_table=evidence.is_table)
        if measure.baselines
    ]


def _limits(evidence: Evidence) -> list[str]:
    other = "other columns and categories are refused" if evidence.is_table else "other sizes are refused, not resized"
    lines = [
        f"It takes {wording.shape(evidence.manifest)} and nothing else: {other}.",
        "What it makes resembles its training data and inherits what is missing or skewed there; it may come close to "
        "single training examples, and nothing here measures that.",
        "Scores compare with those of models on the same dataset and protocol, not across datasets or likelihoods. A "
        "high log p(x) does not prove that an example belongs to the data: simple ones score high.",
    ]
    if (few := evidence.metrics.get("impute_few_draws")) is not None:
        lines.append(
            f"Imputation: {100 * few:.1f} % of the {evidence.split} rows rest on fewer than 10 effective draws of the "
            'latent, which makes their values unreliable; `"output": "ess"` gives each row\'s number.'
        )
    likelihood = evidence.config.model.likelihood
    if isinstance(likelihood, Bernoulli) and likelihood.binarization != "none":
        lines.append("It saw binarised pixels: grey in its output is the probability of white, not a brightness.")
    return ["## Limits", "\n".join(f"- {_escape(line, 300)}" for line in [*lines, *remarks(evidence)])]


def search_table(trials: Sequence[Trial], num_dimensions: int, chosen: str | None = None) -> str:
    """The trials of a search as a markdown table: what varied, rate, distortion, the bound at β = 1, how each ended.

    Args:
        trials: As the search returned them.
        num_dimensions: Of an example, for the bound in bits per dimension.
        chosen: Id of the chosen trial; by default the one that `tuning.frontier.select` chooses.
    """
    if not trials:
        return "The search tried nothing.\n"
    scored = [trial for trial in trials if wording.is_scored(trial)]
    if chosen is None and scored:
        chosen = select(scored).trial_id
    front = {trial.trial_id for trial in pareto(scored)}
    names = wording.parameter_names(trials)
    figures = ["bound (β = 1)", "bits/dim", "rate", "distortion", "active", "epochs"]
    headings = [*map(wording.column_name, names), *figures, "status"]
    aligned = [*["---"] * len(names), *["---:"] * len(figures), "---"]
    rows = [f"| {' | '.join(['', *map(_escape, headings)])} |", f"| {' | '.join(['---', *aligned])} |"]
    for trial in wording.in_order(trials):
        marks = ["**chosen**"] * (trial.trial_id == chosen) + ["front"] * (trial.trial_id in front)
        ended = trial.status if trial.error is None else f"{trial.status}: {trial.error}"
        cells = [
            ", ".join(marks),
            *(_escape(wording.value(trial.parameters.get(name, "–"))) for name in names),
            wording.nats(trial.negative_bound),
            _bits(trial.negative_bound, num_dimensions),
            *map(wording.nats, (trial.rate, trial.distortion)),
            "–" if trial.active_units is None else str(trial.active_units),
            str(trial.epochs),
            _escape(ended, 120),
        ]
        rows.append(f"| {' | '.join(cells)} |")
    legend = (
        "Rate, distortion and bound are of the validation split, in nats per example; *bits/dim* is the bound in bits for "
        f"each of an example's {num_dimensions:,} dimensions. *front*: no other trial is better in both rate and "
        "distortion. *stopped*: ended early by the scheduler for being worse than others."
    )
    return "\n".join(rows) + f"\n\n{legend}\n"


def _bits(negative_bound: float | None, num_dimensions: int) -> str:
    if negative_bound is None:
        return "–"
    return f"{wording.bits_per_dimension(negative_bound, num_dimensions):.4f}".replace("-", "−")


def _code(lines: Sequence[str]) -> str:
    """A fenced block, with a fence longer than any run of backticks inside."""
    text = "\n".join(lines)
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", text)), default=0))
    return f"{fence}python\n{text}\n{fence}"


def _literal(text: str) -> str:
    """A Python string on one line, in double quotes where that needs no escape."""
    return f'"{text}"' if text.isprintable() and not set(text) & {'"', "\\"} else ascii(text)


def _escape(text: object, most: int = MOST_CHARACTERS) -> str:
    """Text from data as markdown shows it: on one line, with nothing that markdown or HTML would read."""
    line = wording.shorten(" ".join(str(text).split()), most).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\`*_{}\[\]|#>~])", r"\\\1", line)
