"""Types and fields that the requests and the results of several stages share."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, StringConstraints

from vae.config import Section
from vae.parts.described import Described

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")]
"""Name of a model, an alias or a run."""

Projection = Literal["pca", "umap"]
"""Method by which a report lays out a latent of many dimensions in the plane."""


def is_absent(value: Any) -> bool:
    """Returns whether an optional field is left out of a result's JSON."""
    return value is None


class Result(Described):
    """A frozen result of a stage; keys of its JSON that this version does not know are ignored."""

    model_config = ConfigDict(frozen=True)


class ModelRequest(Section):
    """Fields that the requests of a training and of a search share."""

    dataset: str
    """Dataset to train on: NAME, NAME@ID, or the URI of its folder."""
    name: Name
    """Name of the model and of its MLflow experiment."""
    preset: str | None = None
    """Preset to start from, fitted to the dataset; None takes one that suits the dataset: see `vae.config.suiting`."""
    changes: dict[str, Any] = Field(default={})
    """Dotted fields and their values, laid over the configuration, as {"objective.beta": 4.0}; over a search with its
    prefix, as {"base.training.epochs": 20}."""
    alias: Name | None = None
    """Alias that the resulting model may take, such as champion; None registers no model."""
    approve: bool = False
    """Whether a person decides if the model takes the alias."""
    exact: bool = False
    """Whether the promotion scores all rows of the test split; see `PromoteRequest`."""
    projection: Projection = "pca"
    """Layout of the report's latent scatter plot: principal components, or `umap` (needs the extra `report-umap`)."""
