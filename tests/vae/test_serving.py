"""The registered model: its signature and requirements, and how MLflow stores and loads it."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import pytest
import torch
from mlflow.models import ModelSignature
from mlflow.types import ParamSchema, ParamSpec

from tests.vae.inference.served import (
    PLAIN,
    SHAPE,
    TABLE,
    images,
    predict,
    refusal,
)
from vae import serving
from vae.config import ModelConfig
from vae.inference.answering import Request
from vae.training.state import save_model

PARAMETERS = ", ".join(Request.__dataclass_fields__)
WITHOUT_ZUKO = """
import sys
sys.modules["zuko"] = None
from vae.config import ModelConfig
from vae.data.schema import ExampleSpec
from vae.model import VAE
VAE(ModelConfig(), ExampleSpec((1, 4, 4)))
for part in ("posterior", "prior"):
    try:
        VAE(ModelConfig.model_validate({part: {"kind": "flow"}}), ExampleSpec((1, 4, 4)))
    except ImportError:
        print(part)
"""

WRONG_PARAMS = [
    ({"N": 3}, f"unknown parameter 'N' (did you mean `n`?): this model knows {PARAMETERS}"),
    ({"target": "3"}, "parameter target: expected a list, each entry text, such as ['3'], got '3'"),
    ({"condition": [3]}, "parameter condition: expected a list, each entry text, such as ['3'], got [3]"),
    ({"dimensions": 1}, "parameter dimensions: expected a list, each entry a whole number, such as [3], got 1"),
    ({"n": "3"}, "parameter n: expected a whole number, got '3'"),
    ({"n": True}, "parameter n: expected a whole number, got True"),
    ({"temperature": "hot"}, "parameter temperature: expected a number, got 'hot'"),
    ({"sampler": None}, "parameter sampler: expected text, got None"),
]


def stored(folder: Path, **model: Any) -> Any:
    """A model that MLflow has stored in a folder and loaded from there."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow warns of a model without an input example
        mlflow.pyfunc.save_model(str(folder / "stored"), pip_requirements=["mlflow"], **model)
        return mlflow.pyfunc.load_model(str(folder / "stored"))


@pytest.fixture(scope="module")
def pulled(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A registered model as MLflow loads it."""
    folder = tmp_path_factory.mktemp("pulled")
    save_model(PLAIN, str(folder / "weights"))
    artifacts = {serving.ARTIFACT: str(folder / "weights")}
    return stored(folder, python_model=serving.__file__, artifacts=artifacts, signature=serving.signature())


@pytest.mark.parametrize(("params", "message"), WRONG_PARAMS)
def test_pulled_model_refuses_wrong_parameters(params: dict[str, Any], message: str, pulled: Any) -> None:
    """MLflow neither drops an unknown parameter of a pulled model nor answers a wrong type with an error of its own."""
    with pytest.raises(ValueError) as error:
        pulled.predict(None, params={"task": "generate", **params})
    assert str(error.value) == message
    assert refusal(None, task="generate", **params) == message


def test_pulled_model_takes_numpy_values(pulled: Any) -> None:
    """NumPy's numbers and arrays, and tuples, are answered like Python's numbers and lists."""
    generated = pulled.predict(None, params={"task": "generate", "n": np.int8(3), "temperature": np.float16(0.5)})
    assert np.array_equal(generated, predict(None, task="generate", n=3, temperature=0.5))
    for dimensions in (np.array([1]), (1,)):
        traversed = pulled.predict(images(), params={"task": "traverse", "dimensions": dimensions})
        assert traversed["dimensions"].tolist() == [1]


def test_other_mlflow_models_answer_as_before(pulled: Any, tmp_path: Path) -> None:
    """Loading our model leaves a model of somebody else alone: MLflow drops its unknown parameters."""
    code = tmp_path / "echo.py"
    code.write_text(
        "from mlflow.models import set_model\n"
        "from mlflow.pyfunc import PythonModel\n"
        "class Echo(PythonModel):\n"
        "    def predict(self, context, model_input, params=None):\n"
        "        return [params]\n"
        "set_model(Echo())\n"
    )
    signature = ModelSignature(params=ParamSchema([ParamSpec("n", "long", 1)]))
    other = stored(tmp_path, python_model=str(code), signature=signature)
    assert other.predict([1], params={"N": 3}) == [{"n": 1}]


def test_signature_names_every_parameter() -> None:
    """What `predict` reads and what the signature announces are the same, with defaults that give a result."""
    assert {param.name for param in serving.signature().params} == set(Request.__dataclass_fields__)
    assert predict(None, task="generate").shape == (16, *SHAPE)


def test_requirements_are_exact() -> None:
    """Every requirement is pinned, and without a local build tag; zuko is for flows and pandas for tables alone."""
    found = serving.requirements(PLAIN.config)
    assert [line.partition("==")[0] for line in found] == list(serving.REQUIREMENTS)
    assert all("+" not in line for line in found)
    assert f"torch=={torch.__version__.partition('+')[0]}" in found
    flow = ModelConfig.model_validate({"prior": {"kind": "flow"}})
    added = [set(serving.requirements(config)) - set(found) for config in (flow, TABLE.config)]
    assert [[line.partition("==")[0] for line in lines] for lines in added] == [["zuko"], ["pandas"]]


def test_model_without_a_flow_does_without_zuko() -> None:
    """Without zuko, every part is imported and a model is built; only a flow asks for it."""
    done = subprocess.run([sys.executable, "-c", WITHOUT_ZUKO], capture_output=True, text=True)
    assert done.stdout.split() == ["posterior", "prior"], done.stderr


def test_context_loads_the_model_that_was_saved(tmp_path: Any) -> None:
    """The artifact's folder is all that the registered model needs."""

    class Context:
        artifacts = {serving.ARTIFACT: str(tmp_path)}  # noqa: RUF012  stands for MLflow's

    save_model(PLAIN, str(tmp_path))
    registered = serving.RegisteredVAE()
    registered.load_context(Context())
    assert np.array_equal(registered.predict(None, images()), predict(images()))
