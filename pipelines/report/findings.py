"""What a run's figures say: scores and their protocol, the verdict in one line, and what to know first."""

from __future__ import annotations

from typing import NamedTuple

from pipelines.report import wording
from pipelines.report.evidence import Evidence
from pipelines.report.wording import UNIT, beta_of, nats, shorten
from tuning.frontier import Trial
from vae.config import Bernoulli, Categorical, DiscretizedLogistic, Mixed, MultiRate, VectorQuantized


class Score(NamedTuple):
    """One figure, and how it was measured."""

    name: str
    value: str
    unit: str
    protocol: str


def nll_protocol(evidence: Evidence) -> str:
    """How the likelihood was measured."""
    assert evidence.nll is not None
    if not evidence.nll.num_samples:
        return f"a bound: distortion plus the rate of each example's codes; {_targets(evidence)}"
    draws = evidence.nll.num_samples
    return f"importance sampling, {draws} draws from the posterior per example; {_targets(evidence)}"


def bound_protocol(evidence: Evidence) -> str:
    """How the bound was measured."""
    return f"one draw from the posterior per example, β = 1; {_targets(evidence)}"


def _targets(evidence: Evidence) -> str:
    match evidence.config.model.likelihood:
        case Bernoulli(binarization="none"):
            targets = "targets are the data's binary pixels"
        case Bernoulli():
            targets = "targets are binarised pixels"
        case DiscretizedLogistic():
            targets = "probability of the 256 levels of each pixel"
        case Categorical(levels=levels):
            targets = f"probability of {levels} levels of each pixel"
        case Mixed():
            targets = "density of standardised numbers (may be negative), probability of categories"
        case _:
            targets = "density over pixels in [0, 1], which may be negative in nats"
    missing = evidence.config.data.missing
    return targets if missing is None else f"{targets}; {wording.missing(missing)}"


def rate_protocol(evidence: Evidence) -> str:
    """What the rate is, of such a model."""
    bound, model = evidence.bound, evidence.config.model
    if isinstance(model.posterior, VectorQuantized):
        return "−log p(codes)"
    return "KL(q(z|x) ‖ p(z))" if bound and bound.kl_per_dimension else "log q(z|x) − log p(z) of the draw"


def scores(evidence: Evidence) -> list[Score]:
    """Of the split that the evidence is of."""
    rows: list[Score] = []
    if (nll := evidence.nll) is not None:
        value = f"{nats(nll.nats)} ± {nats(nll.standard_error)}"
        name = "Negative log-likelihood" if nll.num_samples else "Negative log-likelihood, at most"
        rows.append(Score(name, value, UNIT, nll_protocol(evidence)))
        if nll.bits_per_dim is not None:
            unit = "bits per value" if evidence.is_table else "bits per pixel value"
            rows.append(Score("The same in bits", f"{nll.bits_per_dim:.3f}", unit, "as above"))
    if (bound := evidence.bound) is not None:
        protocol = bound_protocol(evidence)
        rows += [
            Score("Negative ELBO", nats(bound.negative_elbo), UNIT, f"rate + distortion; {protocol}"),
            Score("Distortion", nats(bound.distortion), UNIT, "−log p(x|z); as the ELBO"),
            Score("Rate", nats(bound.rate), UNIT, f"{rate_protocol(evidence)}; as the ELBO"),
            Score(
                "Active units",
                f"{bound.active_units} of {evidence.config.model.latent_dim}",
                "latent dimensions",
                "the posterior mean varies over the split by more than 0.01",
            ),
        ]
    return rows


def verdict(evidence: Evidence) -> str:
    """What the run came to, in one line."""
    if evidence.failure is not None:
        lines = [line.strip() for line in evidence.failure_text.splitlines() if line.strip()]
        # The last line of a traceback says what happened.
        told = lines[-1] if lines[0].startswith("Traceback") else lines[0]
        trained = evidence.history if evidence.stage == "training" else ()
        done = f" after {len(trained)} of {evidence.config.training.epochs} epochs" if trained else ""
        return f"Failed{done}: {shorten(told, 240)}"
    if not evidence.is_over:
        return f"Not finished: {_progress(evidence)}."
    if evidence.stage == "search" and (chosen := evidence.chosen) is not None:
        return _of_search(evidence, chosen)
    if (nll := evidence.nll) is not None:
        return (
            f"Negative log-likelihood {'' if nll.num_samples else 'at most '}{nats(nll.nats)} ± "
            f"{nats(nll.standard_error)} {UNIT} on {nll.num_examples:,} {evidence.split} examples{_units(evidence)}."
        )
    if (bound := evidence.bound) is not None:
        return (
            f"Negative ELBO {nats(bound.negative_elbo)} {UNIT} on {bound.num_examples:,} {evidence.split} examples"
            f"{_units(evidence)}."
        )
    if (best := evidence.best) is not None:
        return f"Best validation bound {nats(best['validation_negative_bound'])} {UNIT}, in epoch {best['epoch']}."
    if (chosen := evidence.chosen) is not None:
        return _of_search(evidence, chosen)
    return "Nothing was measured."


def _progress(evidence: Evidence) -> str:
    if evidence.stage == "search":
        ended = sum(trial.status != "running" for trial in evidence.trials)
        return f"{ended} of {len(evidence.trials)} trials that have begun have ended"
    return f"{len(evidence.history)} of {evidence.config.training.epochs} epochs are done"


def _of_search(evidence: Evidence, chosen: Trial) -> str:
    bound = nats(chosen.negative_bound)
    return f"The chosen one of {len(evidence.trials)} trials has a validation bound of {bound} {UNIT}."


def _units(evidence: Evidence) -> str:
    bound, latent_dim = evidence.bound, evidence.config.model.latent_dim
    return f", with {bound.active_units} of {latent_dim} latent dimensions in use" if bound else ""


def remarks(evidence: Evidence) -> list[str]:
    """What a reader should know before trusting the figures."""
    told = []
    bound, config = evidence.bound, evidence.config
    if evidence.model_note is not None:
        told.append(evidence.model_note)
    elif evidence.stage == "search" and evidence.model is not None:
        told.append(f"Scores and pictures are those of the chosen trial's model, on {evidence.split} data.")
    told += [str(finding) for finding in evidence.findings]
    if bound is not None and 0 < 2 * bound.active_units <= (dimensions := config.model.latent_dim):
        told.append(
            f"{dimensions - bound.active_units} of {dimensions} latent dimensions are not in use; a smaller "
            "model.latent_dim would do as well."
        )
    if isinstance(rates := config.objective.controller, MultiRate):
        told.append(
            f"The model was trained at every β from {rates.low:g} to {rates.high:g}; every figure here is at β = 1."
        )
    elif config.objective.beta != 1:
        told.append(
            f"The model was trained with β = {config.objective.beta:g}; every bound here is at β = 1, so that models "
            "with different β can be compared."
        )
    return told + _remarks_on_search(evidence)


def _remarks_on_search(evidence: Evidence) -> list[str]:
    told = []
    failed = sum(trial.status == "failed" for trial in evidence.trials)
    if failed:
        told.append(f"{failed} of {len(evidence.trials)} trials failed; the table says why.")
    betas = sorted({beta for t in evidence.trials if t.negative_bound is not None and (beta := beta_of(t)) is not None})
    chosen = beta_of(evidence.chosen) if evidence.chosen else None
    if len(betas) > 2 and chosen in (betas[0], betas[-1]):
        end = "lowest" if chosen == betas[0] else "highest"
        told.append(f"The chosen β = {chosen:g} is the {end} that was tried: a better one may lie beyond.")
    return told
