"""How much of the trials' bounds each searched dimension explains."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import optuna
from optuna.distributions import FloatDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.importance import FanovaImportanceEvaluator, get_param_importances

from tuning.frontier import Trial, score_of


def importances(trials: Sequence[Trial], seed: int = 0) -> dict[str, float]:
    """The share of the bound's variance that each dimension explains by itself, the largest first.

    What is missing to 1 lies in combinations of dimensions. A dimension enters by the ranks of its values, so that each
    value weighs the same, whatever its scale; one that never varied is left out.

    Args:
        trials: As a search returned them. Those without a bound, or that failed, are left out; one that was stopped early
            counts with its last epoch.
        seed: Of the forest that is fitted to the bounds.

    Returns:
        Dotted field to share; empty where fewer than two dimensions vary, or no bound differs from another.

    References:
        Hutter, Hoos & Leyton-Brown, An Efficient Approach for Assessing Hyperparameter Importance (2014).
    """
    scored = [
        (trial, bound) for trial in trials if (bound := score_of(trial, "bound")) is not None and math.isfinite(bound)
    ]
    fields = {field for trial, _ in scored for field in trial.parameters}
    ranks = {field: _ranks([trial.parameters.get(field) for trial, _ in scored]) for field in sorted(fields)}
    varied = {field: found for field, found in ranks.items() if max(found) > 0}
    if len(varied) < 2 or len({bound for _, bound in scored}) < 2:
        return {}
    # Half a rank beyond either end: every value then has an interval of the same length.
    distributions = {field: FloatDistribution(-0.5, max(found) + 0.5) for field, found in varied.items()}
    study = optuna.create_study()
    for index, (_, bound) in enumerate(scored):
        params = {field: found[index] for field, found in varied.items()}
        study.add_trial(optuna.create_trial(params=params, distributions=dict(distributions), value=bound))
    with warnings.catch_warnings():
        # Shares that are not normalised are an experimental argument of Optuna's.
        warnings.simplefilter("ignore", ExperimentalWarning)
        shares = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=seed), normalize=False)
    return {field: float(share) for field, share in shares.items()}


def _ranks(values: Sequence[object]) -> list[float]:
    """Of each value, among those that differ: numbers by size, labels by name."""
    known = sorted(
        set(values), key=lambda value: (0, value, "") if isinstance(value, int | float) else (1, 0, str(value))
    )
    return [float(known.index(value)) for value in values]
