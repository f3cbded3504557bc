"""Requests to `predict`: the page, its exports and its lines of Python are all made from them.

Shapes: N rows, L latent dimensions.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pipelines.explorer.models import Subject


@dataclass(frozen=True)
class Ask:
    """A model and the parameters of one call to its `predict`."""

    subject: Subject
    params: Mapping[str, Any]


@dataclass(frozen=True)
class Call:
    """One set of inputs that is given to `predict` once or several times."""

    inputs: Any
    """Images, a data frame, or latents [N,L]."""
    asks: tuple[Ask, ...]

    def answers(self) -> list[Any]:
        """Returns the answers of `predict`, one for each ask.

        Raises:
            ValueError: If a model refuses; the message is the reason.
        """
        return [ask.subject.ask(self.inputs, ask.params) for ask in self.asks]

    @property
    def file_name(self) -> str | None:
        """Name of a file for the inputs; None for latents, which fit into a line of Python."""
        if isinstance(self.inputs, pd.DataFrame):
            return "inputs.parquet"
        return None if self.asks[0].params["task"] == "decode" else "inputs.npy"

    def file(self) -> bytes:
        """Returns the inputs as the lines of Python read them: an array without pickle, or a table in Parquet."""
        buffer = io.BytesIO()
        if isinstance(self.inputs, pd.DataFrame):
            self.inputs.reset_index(drop=True).to_parquet(buffer)
        else:
            np.save(buffer, self.inputs, allow_pickle=False)
        return buffer.getvalue()

    def snippet(self) -> str:
        """Returns three lines of Python that give the same `result`, or `results` for several asks."""
        if isinstance(self.inputs, pd.DataFrame):
            libraries, inputs = "mlflow, pandas as pd", f'pd.read_parquet("{self.file_name}")'
        else:
            libraries = "mlflow, numpy as np"
            inputs = f'np.load("{self.file_name}")' if self.file_name else f"np.array({_literal(self.inputs)})"
        load = "mlflow.pyfunc.load_model"
        asked = [(ask.subject.offer.uri, dict(ask.params)) for ask in self.asks]
        if len(asked) == 1:
            ((uri, params),) = asked
            last = f'result = {load}("{uri}").predict(inputs, params={params})'
        else:
            last = f"results = [{load}(uri).predict(inputs, params=params) for uri, params in {asked}]"
        return f"import {libraries}\ninputs = {inputs}\n{last}"


def _literal(z_NL: Any) -> str:
    """Returns latents as people write them."""
    return "[" + ", ".join(f"[{', '.join(f'{value:g}' for value in row)}]" for row in z_NL.tolist()) + "]"


def params_of(condition: Sequence[str], beta: float = 1.0, **params: Any) -> dict[str, Any]:
    """Returns parameters for `predict`, with condition and β only if there are any: MLflow takes no empty list."""
    if condition:
        params["condition"] = list(condition)
    return params if beta == 1 else {**params, "beta": beta}
