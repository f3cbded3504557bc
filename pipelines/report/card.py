"""Model card of a registered version, in markdown."""

from __future__ import annotations

from pipelines.report.evidence import Evidence
from pipelines.report.findings import Score, remarks, scores, verdict
from pipelines.report.measures import Measure, measures
from pipelines.report.templates import render
from vae.data.conditions import example_condition
from vae.inference.answering import abilities
from vae.parts.directions import Directions


def card(evidence: Evidence, uri: str) -> str:
    """Returns the model card: what the model is, its data, its uses, its scores and its limits.

    Args:
        evidence: Evidence of the run.
        uri: Argument for `mlflow.pyfunc.load_model`, such as `models:/digits@champion`; or for `vae.load`, such as
            `hf://USER/NAME`.

    Returns:
        Markdown under 5,000 characters, which is what MLflow keeps of a description. Names from the data are escaped.
    """
    model, kind = evidence.model, evidence.kind
    conditions = () if model is None else model.conditions
    uses = [measure for measure in measures(evidence.metrics, kind) if measure.baselines or measure.says]
    rows = [Score(one.name, one.value, one.unit, _protocol(one)) for one in uses]
    return render(
        "card.md.j2",
        evidence=evidence,
        config=evidence.config.model,
        dataset=evidence.manifest,
        model=model,
        examples=kind.described(evidence.manifest.example),
        verdict=verdict(evidence),
        num_parameters=evidence.num_parameters,
        uri=uri,
        kind=kind,
        given=", **given" if conditions else "",
        condition=next(iter(example_condition(conditions)), ""),
        cannot={} if model is None else {task: reason for task, reason in abilities(model).items() if reason},
        effect="" if model is None or model.directions is None else _effect(model.directions),
        scores=[*scores(evidence), *rows],
        limits=[*_limits(evidence), *remarks(evidence)],
    )


def _protocol(measure: Measure) -> str:
    """Returns what a measure means and what stands beside it."""
    beside = ", ".join(f"{name} {value}" for name, value in measure.baselines)
    return f"{measure.says} {beside[:1].upper()}{beside[1:]}".strip() if measure.says else beside


def _effect(directions: Directions) -> str:
    """Returns how far a step of 1 along the first direction moves the output; empty if that was not measured."""
    if directions.effects is None:
        return ""
    distances = ", ".join(f"{effects[0]:.2g} by {method}" for method, effects in directions.effects.items())
    return f"; a step of 1 changes values by {distances} (root mean square)"


def _limits(evidence: Evidence) -> list[str]:
    kind = evidence.kind
    is_measured = "nearer_to_training" in evidence.metrics
    closeness = "which the scores measure" if is_measured else "and nothing here measures that"
    lines = [
        f"It takes {kind.described(evidence.manifest.example)} and nothing else: {kind.refuses}.",
        "Its output resembles its training data and inherits what is missing or skewed there; it may come close to "
        f"single training examples, {closeness}.",
        "Scores compare with those of models on the same dataset and protocol, not across datasets or likelihoods. A "
        "high log p(x) does not prove that an example belongs to the data: simple ones score high.",
    ]
    if (few := evidence.metrics.get("impute_few_draws")) is not None:
        lines.append(
            f"The imputed values of {100 * few:.1f} % of the {evidence.split} rows are unreliable: they rest on fewer than "
            '10 effective draws of the latent. `"output": "ess"` gives that number for each row.'
        )
    likelihood = evidence.config.model.likelihood
    if likelihood.binarization_policy in ("static", "dynamic"):
        lines.append(
            "It was trained on binarised pixels: grey in its output is the probability of white, not brightness."
        )
    return lines
