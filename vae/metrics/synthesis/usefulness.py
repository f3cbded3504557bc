"""Usefulness of synthetic rows: a model that is trained on them and tested on real rows, beside one trained on real rows.

Numbers are in any unit, categories are codes, and NaN is a missing value.

Shapes: N and M rows, D columns, K categories.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae.data.schema import Column
from vae.metrics.tables import Array

MOST_TARGETS = 6
"""Columns that are predicted from the others, at most, where the rows have no class."""
MOST_CLASSES = 10
"""Categories of a target. A column with more is no target; of a class with more, the rarest count as one."""
MOST_CODES = 255
"""Largest number of categories of a feature, which is the most that a model takes; the rarest of more count as one."""
LEAST_R2, LEAST_AUROC = 0.1, 0.6
"""Scores on real rows from which a column counts as predictable."""


def downstream(
    made_ND: Array, train_MD: Array, test_ND: Array, columns: Sequence[Column], target: int | None = None
) -> dict[str, float]:
    """Returns the scores on real rows of models trained on synthetic rows, and as `….real` of those trained on real rows.

    Protocol: histogram gradient boosting of scikit-learn predicts the target from the other columns. `tstr_f1` is the mean
    F1 over the classes and `tstr_auroc` the mean area under the ROC curve of each class against the rest; of numbers,
    `tstr_r2` is the share of the variance that is predicted. Without a target, the scores are means over the first
    `MOST_TARGETS` columns that are numbers or have at most `MOST_CLASSES` categories, of those that the real rows predict.

    Args:
        made_ND: Synthetic rows.
        train_MD: Real rows to train on, as many.
        test_ND: Other real rows to test on.
        columns: The columns.
        target: Number of the column to predict; None for each that can be predicted.

    References:
        Esteban, Hyland & Rätsch, Real-valued (Medical) Time Series Generation with Recurrent Conditional GANs (2017),
        section 4.2. https://arxiv.org/abs/1706.02633
    """
    made, train, test = _coded((made_ND, train_MD, test_ND), columns, MOST_CODES)
    targets = [target] if target is not None else _candidates(columns)
    scores: dict[str, list[float]] = defaultdict(list)
    for number in targets:
        column = [columns[number]]
        wanted = [part[:, 0] for part in _coded([p[:, [number]] for p in (made, train, test)], column, MOST_CLASSES)]
        features = [np.delete(part, number, axis=1) for part in (made, train, test)]
        is_category = [one.categories is not None for place, one in enumerate(columns) if place != number]
        score = _class_scores if columns[number].categories is not None else _number_score
        real = score(features[1], wanted[1], features[2], wanted[2], is_category)
        if target is None and not _is_predicted(real):
            continue
        of_made = score(features[0], wanted[0], features[2], wanted[2], is_category)
        for name, value in real.items():
            scores[f"tstr_{name}"].append(of_made[name])
            scores[f"tstr_{name}.real"].append(value)
    return {name: float(np.mean(values)) for name, values in scores.items()}


def _candidates(columns: Sequence[Column]) -> list[int]:
    sizes = enumerate(len(column.categories or ()) for column in columns)
    return [number for number, size in sizes if size != 1 and size <= MOST_CLASSES][:MOST_TARGETS]


def _is_predicted(scores: Mapping[str, float]) -> bool:
    return scores.get("r2", -1.0) >= LEAST_R2 or scores.get("auroc", -1.0) >= LEAST_AUROC


def _coded(tables: Sequence[Array], columns: Sequence[Column], most: int) -> list[Array]:
    """Returns tables with categories numbered by their frequency in the second one, from 0; the rarest as one."""
    coded = [table.copy() for table in tables]
    for number, column in enumerate(columns):
        if column.categories is None:
            continue
        codes = tables[1][:, number]
        count_K = np.bincount(codes[~np.isnan(codes)].astype(int), minlength=len(column.categories))
        rank_K = np.empty(len(count_K) + 1)
        rank_K[np.argsort(-count_K, kind="stable")] = np.arange(len(count_K)).clip(max=most - 1)
        rank_K[-1] = np.nan
        for table in coded:
            table[:, number] = rank_K[np.where(np.isnan(table[:, number]), -1, table[:, number]).astype(int)]
    return coded


def _number_score(
    x_ND: Array, y_N: Array, test_MD: Array, truth_M: Array, is_category: Sequence[bool]
) -> dict[str, float]:
    """Returns R² on the test rows; nothing where those do not vary."""
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.metrics import r2_score

    given, asked = ~np.isnan(y_N), ~np.isnan(truth_M)
    if given.sum() < 2 or asked.sum() < 2 or not np.ptp(truth_M[asked]):
        return {}
    model = HistGradientBoostingRegressor(**_settings(is_category))
    model.fit(_usable(x_ND[given]), y_N[given])
    return {"r2": float(r2_score(truth_M[asked], model.predict(_usable(test_MD[asked]))))}


def _class_scores(
    x_ND: Array, y_N: Array, test_MD: Array, truth_M: Array, is_category: Sequence[bool]
) -> dict[str, float]:
    """Returns F1 and the area under the ROC curve on the test rows; nothing where those have one class."""
    from sklearn.metrics import f1_score, roc_auc_score

    asked = ~np.isnan(truth_M)
    truth = truth_M[asked].astype(int)
    classes = np.unique(truth)
    if len(classes) < 2:
        return {}
    probability_MK = _probabilities(x_ND, y_N, test_MD[asked], is_category)
    f1 = f1_score(truth, probability_MK.argmax(1), labels=classes, average="macro")
    areas = [roc_auc_score(truth == one, probability_MK[:, one]) for one in classes]
    return {"f1": float(f1), "auroc": float(np.mean(areas))}


def _probabilities(x_ND: Array, y_N: Array, test_MD: Array, is_category: Sequence[bool]) -> NDArray[np.float64]:
    """Returns the probability of each class of the target for each test row; 0 for one that training does not have."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    given = ~np.isnan(y_N)
    classes = np.unique(y_N[given]).astype(int)
    probability_MK = np.zeros((len(test_MD), MOST_CLASSES))
    if len(classes) < 2:
        probability_MK[:, classes] = 1
        return probability_MK
    model = HistGradientBoostingClassifier(**_settings(is_category))
    model.fit(_usable(x_ND[given]), y_N[given].astype(int))
    probability_MK[:, classes] = model.predict_proba(_usable(test_MD))
    return probability_MK


def _settings(is_category: Sequence[bool]) -> dict[str, Any]:
    """Returns the settings of gradient boosting, the same for both kinds of targets."""
    return {"categorical_features": is_category or None, "early_stopping": False, "random_state": 0}


def _usable(x_ND: Array) -> Array:
    """Returns features with a constant one where there are none."""
    return x_ND if x_ND.shape[1] else np.zeros((len(x_ND), 1))
