"""A model as a notebook shows it, and the evidence of its report."""

from __future__ import annotations

import html
from dataclasses import asdict
from typing import TYPE_CHECKING

from pipelines.api.wording import in_python
from pipelines.report import Evidence, gathering
from pipelines.report.costs import training_stage
from pipelines.report.evidence import LeftOut
from pipelines.report.figures import Picture
from pipelines.report.theme import paint
from vae.errors import BetalineError

if TYPE_CHECKING:
    from pipelines.api.model import Model

SHOWN = ("reconstructions", "samples", "traversals", "marginals")
"""Figures that a notebook shows, by their names."""
STYLE = "max-width:60em;font-family:system-ui,sans-serif"


def evidence_of(model: Model) -> Evidence:
    """Returns the evidence of a training in this process, with figures of its validation split.

    Raises:
        DataError: If the model was not trained by `vae.fit`, or its dataset is gone.
    """
    dataset, fit = model.dataset(), model.fit
    assert fit is not None, "its dataset is known"
    known = Evidence(
        config=fit.config,
        dataset=dataset.manifest,
        name=fit.name,
        stage="training",
        split="validation",
        history=[asdict(epoch) for epoch in fit.history],
        findings=fit.findings,
        stages=[training_stage(fit.config, fit.seconds)],
        is_over=fit.is_over,
    )
    return gathering.seen(gathering.noted(known, dataset), model.network, dataset)


def html_of(model: Model) -> str:
    """Returns what a model is, its verdict and its pictures, as HTML that needs nothing from elsewhere."""
    parts = [
        f"<p><b>{html.escape(model.name)}</b> {_facts(model)}</p>",
        f"<p>{_epochs(model)}Verdict: <b>{model.verdict}</b></p>",
    ]
    parts += [
        f"<p>{finding.name}: {html.escape(finding.says)}<br>Try: <code>{html.escape(in_python(finding.advice))}</code></p>"
        for finding in model.findings
    ]
    try:
        parts += _pictures(evidence_of(model))
    except BetalineError as error:
        parts.append(f"<p>No pictures: {html.escape(str(error))}</p>")
    return f'<div style="{STYLE}">{"".join(parts)}</div>'


def _facts(model: Model) -> str:
    config = model.network.config
    parameters = sum(parameter.numel() for parameter in model.network.parameters())
    what = f"{config.encoder.summary}; {config.likelihood.summary}; {config.latent_dim} latent dimensions"
    return html.escape(f"{what}; {parameters:,} parameters")


def _epochs(model: Model) -> str:
    if not model.history:
        return ""
    last = model.history[-1]
    best = model.history[last.best_epoch - 1]
    return (
        f"Epoch {best.epoch} of {len(model.history)}: distortion {best.validation_distortion:.2f}, rate "
        f"{best.validation_rate:.2f} nats, {best.active_units} active units. "
    )


def _pictures(evidence: Evidence) -> list[str]:
    shown = []
    for name, heading, planner in evidence.kind.figures:
        if name in SHOWN:
            try:
                plan = planner(evidence)
            except LeftOut:
                continue
            light, dark = Picture(name, heading, *paint(plan.draw), plan).uris
            shown.append(
                f'<p>{heading}</p><picture><source srcset="{dark}" media="(prefers-color-scheme: dark)">'
                f'<img src="{light}" alt="{html.escape(plan.alt)}" style="width:100%"></picture>'
            )
    return shown
