"""The model card, whose Python is executed, and the table of a search."""

from __future__ import annotations

import dataclasses
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipelines.report import card, search_table
from pipelines.report.formats import nats
from tests.pipelines.report.conftest import HOSTILE, TABLE_PARTS, Make, search
from vae.data.schema import Experience
from vae.metrics.catalogue import METRICS
from vae.parts.aggregate import AggregateMixture
from vae.parts.directions import Directions
from vae.training.state import save_model


@pytest.mark.parametrize(
    "kind",
    [
        {},
        {"condition": "class"},
        {"condition": ("class", "size", "colour")},
        {"shape": (2,), "parts": TABLE_PARTS},
    ],
    ids=["plain", "class", "several", "table"],
)
def test_card_lines_run_as_they_stand(make: Make, tmp_path: Path, kind: dict[str, Any]) -> None:
    """The Python of the card pulls a model through MLflow and calls every task by its real name and parameters."""
    evidence = make(classes=HOSTILE, **kind)
    assert evidence.model is not None
    evidence.model.aggregate = AggregateMixture(1, 3)
    evidence.model.directions = Directions(["size"], 3)
    evidence.model.experience = Experience(missing="shape" in kind)
    save_model(evidence.model, str(tmp_path / "weights"))
    stored = str(tmp_path / "stored")
    with warnings.catch_warnings():
        # MLflow warns of its own type hints while it is imported, and of a model without an input example.
        warnings.simplefilter("ignore")
        import mlflow.pyfunc

        from vae import serving
        from vae.inference import answering

        mlflow.pyfunc.save_model(
            stored,
            python_model=serving.__file__,
            artifacts={serving.ARTIFACT: str(tmp_path / "weights")},
            signature=serving.signature(),
            pip_requirements=["mlflow"],
        )
    blocks = re.findall(r"^(`{3,})python\n(.*?)\n\1$", card(evidence, stored), re.DOTALL | re.MULTILINE)
    pull, more = (code for _, code in blocks)
    assert len(pull.splitlines()) == 3 + bool(evidence.model.conditions)
    scope: dict[str, Any] = {"latents": np.zeros((16, 3), np.float32)}
    exec(pull, scope)
    assert scope[evidence.kind.noun].shape == (16, *kind.get("shape", (1, 8, 8)))
    for line in more.splitlines():
        exec(f"answer = {line}", scope)
        answer = scope["answer"]
        if isinstance(answer, dict):
            answer = answer["examples"] if '"traverse"' in line else answer["std"]
        assert _num_rows(answer) == (8 if '"interpolate"' in line else 16), line
    reasons = dict(re.findall(r"^- (\w+): (.*)\.$", card(evidence, stored), re.MULTILINE))
    cannot = {task: why for task, why in answering.abilities(evidence.model).items() if why}
    assert {task: reasons[task] for task in cannot} == cannot
    assert set(re.findall(r'"task": "(\w+)"', pull + more)) == set(answering.TASKS) - set(cannot)


def _num_rows(answer: Any) -> int:
    """Returns the number of rows that were answered, each perhaps by several rows of a table."""
    if isinstance(answer, pd.DataFrame) and "row" in answer.index.names:
        return answer.index.get_level_values("row").nunique()
    return len(answer)


def test_card_states_data_scores_and_limits(make: Make) -> None:
    """The card names the dataset, its splits and sources, the scores with unit and protocol, and the limits."""
    evidence = make()
    assert evidence.nll
    text = card(evidence, "models:/digits@champion")
    assert 'load_model("models:/digits@champion")' in text
    assert f"`{evidence.manifest.dataset_id}`" in text
    assert "&lt;b\\>digits&lt;/b\\>.gz" in text
    error = nats(evidence.nll.standard_error)
    assert f"| Negative log-likelihood | {evidence.nll.nats:.2f} ± {error} | nats per example |" in text
    alone = dataclasses.replace(evidence, nll=dataclasses.replace(evidence.nll, standard_error=None, num_examples=1))
    assert f"{evidence.nll.nats:.2f} ± – |" in card(alone, "models:/digits@champion")
    assert "other sizes are refused, not resized" in text


def test_card_says_how_many_imputed_rows_rest_on_few_draws(make: Make) -> None:
    """The share comes from the metric; the card of a model without it says nothing."""
    assert "0.4 % of the" in card(make(metrics={"impute_few_draws": 0.0042}), "models:/a@champion")
    assert "effective draws" not in card(make(), "models:/a@champion").split("## Limits")[1]


def test_card_fits_what_mlflow_keeps(make: Make) -> None:
    """Many long hostile names stay under the 5,000 characters of a description, every table row with its cells."""
    classes = tuple(f"{index} {name * 9}" for index in range(40) for name in HOSTILE)
    uses = {f"{use}{answer}": 1.0 for use in ("denoise_psnr_db", "impute_rmse") for answer in ("", ".noisy", ".simple")}
    text = card(make("class", classes, name="n" * 100, metrics=uses), "models:/" + "n" * 100 + "@champion")
    assert len(text) < 5000
    assert "| Denoising, PSNR | 1.000 | dB | the noisy images 1.000, each pixel's mean 1.000 |" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {5}
    assert "<script" not in re.sub(r"^(`{3,}).*?^\1$", "", text, flags=re.DOTALL | re.MULTILINE)


def test_card_of_a_table_says_how_its_synthetic_rows_are(make: Make) -> None:
    """Each figure stands with its sentence, beside that of training rows, in what MLflow keeps of a description."""
    names = [name for name, metric in METRICS.items() if metric.says and name not in ("psnr_db", "ssim")]
    figures = dict.fromkeys(names, 0.51) | {f"{name}.real": 0.9 for name in names[:6]}
    shape = {"shape": (2,), "parts": TABLE_PARTS}
    text = card(make("class", HOSTILE, **shape, name="n" * 100, metrics=figures), "models:/" + "n" * 100 + "@champion")
    assert len(names) == 9
    assert len(text) < 5000
    assert "| 0.510 | of 1 | Of regressions, on held-out rows. Training rows 0.900 |" in text
    assert "close to single training examples, which the scores measure." in text


# --- the search table -----------------------------------------------------------------------------------------------


def test_search_table_marks_chosen_and_front_in_order() -> None:
    """Rows are sorted by architecture and β; the lowest bound is chosen; the front is dominated by no other trial."""
    rows = [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in search_table(list(reversed(search())), num_dimensions=64).splitlines()
        if line.startswith("|")
    ]
    figures = ["bound (β = 1)", "bits/dim", "rate", "distortion", "active", "epochs"]
    assert rows[0] == ["", "architecture", "β", *figures, "status"]
    assert [(row[1], row[2]) for row in rows[2:]] == [
        *(("conv 4", beta) for beta in ("2", "8", "32")),
        *(("mlp 8", beta) for beta in ("1", "4", "16", "64")),
    ]
    marks = {(row[1], row[2]): row[0] for row in rows[2:]}
    assert marks[("mlp 8", "1")] == "**chosen**, front"
    assert marks[("mlp 8", "64")] == ""
    assert rows[5][3:7] == ["25.00", "0.5636", "5.00", "20.00"]
    assert rows[-1][3:] == ["–", "–", "–", "–", "–", "0", "failed: &lt;i\\>out \\| of memory&lt;/i\\>"]


def test_search_table_of_nothing_says_so() -> None:
    """No trial gives a sentence, and only failed trials give a table without a chosen one."""
    assert search_table([], 64) == "The search tried nothing.\n"
    assert "chosen" not in search_table(search(0), 64)


def test_card_says_how_far_a_direction_moves_the_output(make: Make) -> None:
    """The line of `edit` gives the effect of a step of 1 by each method, or nothing if it was not measured."""
    evidence = make()
    assert evidence.model is not None
    evidence.model.directions = directions = Directions(["size"], 3)
    assert "root mean square" not in card(evidence, "models:/m@champion")
    directions.effects = {"means": [0.1123], "probe": [0.0987]}
    effect = "one of 1 directions; a step of 1 changes values by 0.11 by means, 0.099 by probe (root mean square)"
    assert effect in card(evidence, "models:/m@champion")
