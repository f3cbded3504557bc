"""The share of the trials' bounds that each searched dimension explains.

Not to be confused with importance sampling, which is `vae.inference.importance`.
"""

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
    """Returns the share of the bound's variance that each dimension explains by itself, the largest first.

    The shares add up to less than 1 where combinations of dimensions matter. A dimension enters by the ranks of its values,
    so that each value weighs the same, whatever its scale; one that never varied is left out.

    Args:
        trials: Trials as a search returned them. Those that have no bound or failed are left out; a trial that was stopped
            early counts with its last epoch.
        seed: Seed of the forest that is fitted to the bounds.

    Returns:
        Dotted field to share in [0, 1]; empty where fewer than two dimensions vary, or all bounds are equal.

    References:
        Hutter, Hoos & Leyton-Brown, An Efficient Approach for Assessing Hyperparameter Importance (2014).
    """
    scored = [
        (trial, bound) for trial in trials if (bound := score_of(trial, "bound")) is not None and math.isfinite(bound)
    ]
    fields = sorted({field for trial, _ in scored for field in trial.parameters})
    ranks = {field: _ranks([trial.parameters.get(field) for trial, _ in scored]) for field in fields}
    varied = {field: values for field, values in ranks.items() if max(values) > 0}
    if len(varied) < 2 or len({bound for _, bound in scored}) < 2:
        return {}
    # Half a rank beyond either end: every value then has an interval of the same length.
    distributions = {field: FloatDistribution(-0.5, max(values) + 0.5) for field, values in varied.items()}
    study = optuna.create_study()
    for index, (_, bound) in enumerate(scored):
        params = {field: values[index] for field, values in varied.items()}
        study.add_trial(optuna.create_trial(params=params, distributions=dict(distributions), value=bound))
    with warnings.catch_warnings():
        # Shares that are not normalised are an experimental argument of Optuna's.
        warnings.simplefilter("ignore", ExperimentalWarning)
        shares = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=seed), normalize=False)
    return {field: float(share) for field, share in shares.items()}


def _ranks(values: Sequence[object]) -> list[float]:
    """Returns the rank of each value among the different values: numbers by size, then labels by name."""
    order = sorted(
        set(values), key=lambda value: (0, value, "") if isinstance(value, int | float) else (1, 0, str(value))
    )
    return [float(order.index(value)) for value in values]
