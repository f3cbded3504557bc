"""The registered model: what `mlflow.pyfunc.load_model` gives to whoever pulls one.

The only file in `vae` that imports mlflow. MLflow stores this file as the model's code, the package `vae` beside it, and
the weights as safetensors: no pickle anywhere. `predict(inputs, params={"task": …})` serves every task.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from functools import wraps
from importlib.metadata import version
from typing import Any

import numpy as np
from mlflow.models import ModelSignature, set_model
from mlflow.pyfunc import PyFuncModel
from mlflow.pyfunc.model import PythonModel
from mlflow.types import ParamSchema, ParamSpec

from vae.config import ModelConfig
from vae.data.conditions import example_condition
from vae.inference.answering import ENTRIES, Request, abilities, answer, read_request
from vae.model import VAE
from vae.training.state import load_model

REQUIREMENTS = ("mlflow", "torch", "numpy", "safetensors", "pydantic", "pyarrow")
ARTIFACT = "model"
TYPES = {str: "string", int: "long", float: "double"}


def params() -> ParamSchema:
    """Returns the name, type, default and shape of what `predict` takes in `params`."""
    return ParamSchema(
        [
            ParamSpec(field.name, TYPES[ENTRIES[field.name]], [], shape=(-1,))
            if field.name in ENTRIES
            else ParamSpec(field.name, TYPES[type(field.default)], field.default)
            for field in fields(Request)
        ]
    )


def requirements(config: ModelConfig) -> list[str]:
    """Returns the packages that load such a model, with the exact versions that made it."""
    names = dict.fromkeys([*REQUIREMENTS, *(name for part in config.parts for name in part.requirements)])
    return [f"{name}=={version(name).partition('+')[0]}" for name in names]


def signature() -> ModelSignature:
    """Returns the signature of every registered model.

    Inputs are images for one task and latents for another, so their schema is open here; `predict` checks them against the
    task.
    """
    return ModelSignature(params=params())


class RegisteredVAE(PythonModel):
    """Trained VAE behind MLflow's one method.

    `predict(inputs, params)` takes and returns examples; `params["task"]` says what is wanted:

    reconstruct: examples → examples.
    encode: examples → {"mean": [N,L], "std": [N,L]}.
    decode: latents [N,L] → examples, made as those of `generate`.
    generate: None → `n` examples, with `seed` and `temperature`, from latents of the `sampler`: the prior, or the mixture
        that was fitted to the aggregate posterior. Rows of a table are draws of p(x|z), images its mean; `output` "mean" or
        "sample" asks for one of them. With `where`, such as "sex=F,age>60" or JSON, rows of a table meet constraints: rows
        are drawn until `n` fit, 100 · n at most but 100,000 at least; a warning says if few do.
    score: examples → log p(x) in nats, [N], from `num_samples` importance samples; of what is observed of each. With
        `output` "ess" the effective number of those samples, [N].
    denoise: noisy examples, pixels of any value → clean ones, the mean over `num_samples` draws; with `output` "std" how
        sure each value is.
    impute: examples with gaps → whole ones, by `num_samples` importance samples; with `output` "std" how sure each value
        is, with "sample" `n` imputations of each row, with "ess" the effective number of samples that each row's answer
        rests on, [N]: below 10 it is unreliable, and a warning says so.
    interpolate: pairs of examples → paths of `n` points, `path` "linear", "spherical" or "geodesic".
    traverse: examples → {"dimensions": [D], "kl": [D], "values": [n], "examples": [N,D,n,…]}, each of the `dimensions` set
        to `n` values between ±`extent`.
    edit: examples → examples with more of an `attribute`, `strength` steps along its direction.
    transfer: examples → examples under the condition `target`; without it pairs of an example and a reference, whose
        condition is found out, as is the examples' own where `condition` does not say.

    Images are float32 [N,C,H,W] in [0, 1], with NaN for a missing pixel. They may also come flat [N,C·H·W], without their
    single channel [N,H,W], or as uint8 in 0…255. Pairs are [N,2,…].

    Rows of a table are a data frame with the model's columns: numbers in their own unit, categories as their text, None or
    NaN where missing. Any pandas type will do, and so will Polars frames, Arrow tables and record batches, structured
    arrays, names with their values, a list of such rows, or an array [N,D] in the order of the columns. Columns go by name;
    those that the model does not have are ignored with a warning. A number outside of its column's plausible range
    (`lowest` to `highest`, 1,000 times as far from the median as any value in training) counts as missing, as it did in
    training and in evaluation: `reconstruct` and the other tasks answer as if the cell were empty, `score` leaves it out,
    `impute` does not look at it and gives it back unchanged. Each call logs a warning that names the first such number.
    Pairs are two successive rows. Where a row gives several, they follow each other, and the index says which is which.

    `condition` is one entry for each row, or one for all, where the model is conditional: `cat` for a model with one
    condition, `class=cat, size=0.5` for one with several. `beta` is for models with β gates.
    """

    model: VAE

    def load_context(self, context: Any) -> None:
        """Loads the model from MLflow's artifacts."""
        self.model = load_model(context.artifacts[ARTIFACT], trust_code=True)
        _check_params_before_mlflow()

    # MLflow derives schemas from type hints, and warns of those it cannot read. An array, and nothing for what is returned,
    # keeps it quiet; inputs may be None or a data frame too, and `encode` returns a mapping of arrays.
    def predict(self, context: Any, model_input: np.ndarray, params: dict[str, Any] | None = None):
        """Returns the answer to a task; see the class."""
        return answer(self.model, model_input, params or {})

    def check_params(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Returns parameters in the types that the signature names.

        Raises:
            ValueError: If a parameter is unknown, or a value is not of its type.
        """
        request = read_request(params)
        return {name: getattr(request, name) for name in params}

    def example_condition(self) -> list[str]:
        """Returns an entry that `condition` may have; empty for a model without one."""
        return example_condition(self.model.conditions)

    def abilities(self) -> dict[str, str | None]:
        """Returns for every task why this model cannot do it; None where it can."""
        return abilities(self.model)


def _check_params_before_mlflow() -> None:
    """Makes `predict` of a pulled model refuse unknown parameters and wrong types with our own error.

    MLflow compares `params` with the signature before it calls a model. It drops an unknown name with a log line, so that
    `{"N": 3}` would generate the default number of examples, and offers no hook and no way to declare such a name. Models
    without `check_params`, which are all but ours, are answered as before.
    """
    predict = PyFuncModel.predict
    if hasattr(predict, "checks_params"):
        return

    @wraps(predict)
    def checked(self: PyFuncModel, data: Any, params: dict[str, Any] | None = None) -> Any:
        check = getattr(getattr(self._model_impl, "python_model", None), "check_params", None)
        return predict(self, data, check(params) if check and params else params)

    checked.checks_params = True  # pyright: ignore[reportAttributeAccessIssue]
    PyFuncModel.predict = checked


# MLflow runs this file as the model's code and takes what this names.
set_model(RegisteredVAE())
