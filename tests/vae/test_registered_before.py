"""Models that an earlier version registered still load, and answer as they did.

`registered/v0.1.zip` holds two models as MLflow stored them, one of digits and one of a table, with the code that travelled
with them, and what they answered.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from vae.inference.answering import answer
from vae.training.state import load_model

ZIP = Path(__file__).parent / "registered" / "v0.1.zip"
ASKED = {"digits": {"task": "generate", "n": 2, "condition": ["3"]}, "people": {"task": "score"}}
PEOPLE = {"age": [30.0, None], "income": [4.0, 5.0], "year": [2026, 2026], "colour": ["red", None]}
PULL = """
import json, sys, mlflow, numpy, pandas
rows = pandas.DataFrame(json.loads(sys.argv[3])) if sys.argv[3] != "null" else None
found = mlflow.pyfunc.load_model(sys.argv[1]).predict(rows, params=json.loads(sys.argv[2]))
import vae
assert vae.__file__.startswith(sys.argv[1]), vae.__file__
print(json.dumps(numpy.asarray(found).tolist()))
"""


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the two models."""
    folder = tmp_path_factory.mktemp("registered")
    shutil.unpack_archive(ZIP, folder)
    shutil.copytree(folder / "digits" / "code", folder / "people" / "code")
    return folder


@pytest.mark.parametrize("name", ASKED)
def test_earlier_model_answers_with_the_code_that_travelled_with_it(
    name: str, registered: Path, tmp_path: Path
) -> None:
    """Pulled in a process of its own, a model runs its own code and gives its earlier answer."""
    rows = "null" if name == "digits" else json.dumps(PEOPLE)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PULL, str(registered / name), json.dumps(ASKED[name]), rows],
        cwd=tmp_path,
        env={**os.environ, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(json.loads(done.stdout), expected(registered, name), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ASKED)
def test_earlier_model_answers_with_the_present_code(name: str, registered: Path) -> None:
    """Its weights and its configuration, read by the present code, give its earlier answer but for a score's draws."""
    model = load_model(str(registered / name / "artifacts" / name))
    if name == "digits":
        found = answer(model, None, ASKED[name])
        np.testing.assert_allclose(np.asarray(found), expected(registered, name), rtol=1e-4, atol=1e-5)
        return
    scores = [np.asarray(answer(model, pd.DataFrame(PEOPLE), ASKED[name] | {"seed": seed})) for seed in range(12)]
    error = np.abs(expected(registered, name) - np.mean(scores, 0)) / np.std(scores, 0)
    assert (error < 3).all(), error


def expected(registered: Path, name: str) -> np.ndarray:
    """What the model answered when it was registered."""
    return np.asarray(json.loads((registered / "expected.json").read_text())[name])
