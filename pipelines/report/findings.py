"""Scores of a run and their protocol, the verdict in one line, and what a reader should know first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pipelines.report.evidence import Evidence
from pipelines.report.formats import UNIT, nats, shorten
from pipelines.report.trials import beta_of
from tuning.frontier import Trial


class Score(NamedTuple):
    """One score, and how it was measured."""

    name: str
    value: str
    unit: str
    protocol: str


def scores(evidence: Evidence) -> list[Score]:
    """Returns the scores on the evidence's split."""
    rows: list[Score] = []
    if (nll := evidence.nll) is not None:
        value = f"{nats(nll.nats)} ± {nats(nll.standard_error)}"
        name = "Negative log-likelihood" if nll.num_samples else "Negative log-likelihood, at most"
        rows.append(Score(name, value, UNIT, nll_protocol(evidence)))
        if nll.bits_per_dim is not None:
            rows.append(Score("The same in bits", f"{nll.bits_per_dim:.3f}", evidence.kind.bits, "as above"))
    if (bound := evidence.bound) is not None:
        protocol = f"one draw from the posterior of {bound.num_examples:,} examples each, β = 1; {_targets(evidence)}"
        active = f"{bound.active_units} of {evidence.config.model.latent_dim}"
        rows += [
            Score("Negative ELBO", nats(bound.negative_elbo), UNIT, f"rate + distortion; {protocol}"),
            Score("Distortion", nats(bound.distortion), UNIT, "−log p(x|z); measured as the ELBO"),
            Score("Rate", nats(bound.rate), UNIT, f"{rate_protocol(evidence)}; measured as the ELBO"),
            Score(
                "Active units",
                active,
                "latent dimensions",
                "the posterior mean varies over the split by more than 0.01",
            ),
        ]
    return rows


def nll_protocol(evidence: Evidence) -> str:
    """Returns how the likelihood was measured."""
    assert evidence.nll is not None
    if not evidence.nll.num_samples:
        return f"a bound: distortion plus the rate of each example's codes; {_targets(evidence)}"
    draws, count = evidence.nll.num_samples, evidence.nll.num_examples
    return f"importance sampling, {draws} draws from the posterior of {count:,} examples each; {_targets(evidence)}"


def rate_protocol(evidence: Evidence) -> str:
    """Returns the definition of the rate for this kind of model."""
    bound, model = evidence.bound, evidence.config.model
    if model.posterior.has_codes:
        return "−log p(codes)"
    return "KL(q(z|x) ‖ p(z))" if bound and bound.kl_per_dimension else "log q(z|x) − log p(z) of the draw"


def _targets(evidence: Evidence) -> str:
    targets, missing = evidence.config.model.likelihood.targets, evidence.config.data.missing
    return targets if missing is None else f"{targets}; {missing.summary}"


def verdict(evidence: Evidence) -> str:
    """Returns the outcome of the run in one line."""
    if evidence.failure is not None:
        return _failure(evidence)
    if not evidence.is_over:
        return f"Not finished: {_progress(evidence)}."
    of_search = None
    if (chosen := evidence.chosen) is not None:
        bound = nats(chosen.negative_bound)
        of_search = f"The chosen one of {len(evidence.trials)} trials has a validation bound of {bound} {UNIT}."
        if evidence.stage == "search":
            return of_search
    if (nll := evidence.nll) is not None:
        value = f"{'' if nll.num_samples else 'at most '}{nats(nll.nats)} ± {nats(nll.standard_error)}"
        return f"Negative log-likelihood {value} {_measured_on(evidence, nll.num_examples)}"
    if (bound := evidence.bound) is not None:
        return f"Negative ELBO {nats(bound.negative_elbo)} {_measured_on(evidence, bound.num_examples)}"
    if (best := evidence.best) is not None:
        return f"Best validation bound {nats(best['validation_negative_bound'])} {UNIT}, in epoch {best['epoch']}."
    return of_search or "Nothing was measured."


def _failure(evidence: Evidence) -> str:
    lines = [line.strip() for line in evidence.failure_text.splitlines() if line.strip()]
    # The last line of a traceback says what happened.
    message = lines[-1] if lines[0].startswith("Traceback") else lines[0]
    trained = evidence.history if evidence.stage == "training" else ()
    done = f" after {len(trained)} of {evidence.config.training.epochs} epochs" if trained else ""
    return f"Failed{done}: {shorten(message, 240)}"


def _progress(evidence: Evidence) -> str:
    if evidence.stage == "search":
        ended = sum(trial.status != "running" for trial in evidence.trials)
        return f"{ended} of the {len(evidence.trials)} trials that have started have ended"
    return f"{len(evidence.history)} of {evidence.config.training.epochs} epochs are done"


def _measured_on(evidence: Evidence, num_examples: int) -> str:
    bound, latent_dim = evidence.bound, evidence.config.model.latent_dim
    used = f", with {bound.active_units} of {latent_dim} latent dimensions in use" if bound else ""
    return f"{UNIT} on {num_examples:,} {evidence.split} examples{used}."


def remarks(evidence: Evidence) -> list[str]:
    """Returns what a reader should know before trusting the scores."""
    lines = []
    bound, config = evidence.bound, evidence.config
    if evidence.model_note is not None:
        lines.append(evidence.model_note)
    elif evidence.stage == "search" and evidence.model is not None:
        lines.append(f"Scores and pictures are those of the chosen trial's model, on {evidence.split} data.")
    lines += [str(finding) for finding in evidence.findings]
    lines += [note[:1].upper() + note[1:] for note in evidence.notes]
    if bound is not None and 0 < 2 * bound.active_units <= (dimensions := config.model.latent_dim):
        lines.append(
            f"{dimensions - bound.active_units} of {dimensions} latent dimensions are not in use; a smaller "
            "model.latent_dim would do as well."
        )
    if config.objective.controller.gates_beta:
        lines.append(f"The model was trained with {config.objective.controller.summary}; all scores are at β = 1.")
    elif config.objective.beta != 1:
        lines.append(
            f"The model was trained with β = {config.objective.beta:g}; all bounds are at β = 1, so that models with "
            "different β can be compared."
        )
    return lines + _remarks_on_search(evidence.trials, evidence.chosen)


def _remarks_on_search(trials: Sequence[Trial], chosen: Trial | None) -> list[str]:
    lines = []
    if failed := sum(trial.status == "failed" for trial in trials):
        lines.append(f"{failed} of {len(trials)} trials failed; the table of the search says why.")
    betas = sorted({beta for t in trials if t.negative_bound is not None and (beta := beta_of(t)) is not None})
    best = beta_of(chosen) if chosen else None
    if len(betas) > 2 and best in (betas[0], betas[-1]):
        end = "lowest" if best == betas[0] else "highest"
        lines.append(f"The chosen β = {best:g} is the {end} that was tried: a better one may lie beyond.")
    return lines
