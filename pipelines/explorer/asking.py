"""Requests to `predict`: what a page shows is what they answer, and what it exports is made of them.

Shapes: N rows, L latent.
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
    """One model and the parameters of one call."""

    subject: Subject
    params: Mapping[str, Any]


@dataclass(frozen=True)
class Call:
    """The same inputs, given to `predict` once or several times."""

    inputs: Any
    """Images, a data frame, or latents."""
    asks: tuple[Ask, ...]

    def answers(self) -> list[Any]:
        """What `predict` gives, one for each ask.

        Raises:
            ValueError: If a model refuses; says why.
        """
        return [ask.subject.ask(self.inputs, ask.params) for ask in self.asks]

    @property
    def file_name(self) -> str | None:
        """Of the inputs, where they are more than a line of Python holds; None for latents."""
        if isinstance(self.inputs, pd.DataFrame):
            return "inputs.parquet"
        return None if self.inputs.ndim == 2 else "inputs.npy"

    def file(self) -> bytes:
        """The inputs, as the lines of Python read them. No pickle: of an array its numbers, of a table Parquet."""
        buffer = io.BytesIO()
        if isinstance(self.inputs, pd.DataFrame):
            self.inputs.reset_index(drop=True).to_parquet(buffer)
        else:
            np.save(buffer, self.inputs, allow_pickle=False)
        return buffer.getvalue()

    def snippet(self) -> str:
        """Three lines of Python that give the same: `result`, or `results` where there are several."""
        if isinstance(self.inputs, pd.DataFrame):
            libraries, inputs = "mlflow, pandas as pd", f'pd.read_parquet("{self.file_name}")'
        else:
            libraries = "mlflow, numpy as np"
            inputs = f'np.load("{self.file_name}")' if self.file_name else f"np.array({_literal(self.inputs)})"
        asked = [(ask.subject.offer.uri, dict(ask.params)) for ask in self.asks]
        if len(asked) == 1:
            (uri, params), load = asked[0], "mlflow.pyfunc.load_model"
            last = f'result = {load}("{uri}").predict(inputs, params={params})'
        else:
            last = (
                f"results = [mlflow.pyfunc.load_model(uri).predict(inputs, params=params) for uri, params in {asked}]"
            )
        return f"import {libraries}\ninputs = {inputs}\n{last}"


def _literal(z_NL: Any) -> str:
    """Latents as people write them."""
    return "[" + ", ".join(f"[{', '.join(f'{value:g}' for value in row)}]" for row in z_NL.tolist()) + "]"


def told(condition: Sequence[str], **params: Any) -> dict[str, Any]:
    """Parameters, with what the model is told where it is told anything: MLflow takes no empty lists."""
    return {**params, **({"condition": list(condition)} if condition else {})}
