"""Apply: one task of a registered model over a whole dataset."""

from __future__ import annotations

from pydantic import Field

from pipelines.data.apply.manifests import Provenance
from pipelines.stages.fields import Result
from vae.config import Positive, Section
from vae.data.manifest import SplitName


class ApplyRequest(Section):
    """Run one task of a registered model over a whole dataset."""

    task: str
    """Task that the model serves, or `augment`."""
    model: str
    """Registered model: NAME (its champion), NAME@ALIAS, NAME/VERSION, or one of them behind models:/."""
    dataset: str
    """Input: NAME, NAME@ID, or the URI of a dataset's folder; for `decode` the folder that `encode` wrote."""
    output: str | None = None
    """Folder to write; None is HOME/applied/TASK-ID, where ID derives from everything that the result depends on."""
    splits: tuple[SplitName, ...] | None = None
    """Splits of the dataset to read; None reads all."""
    params: dict[str, str | bool | int | float | tuple[str | float, ...]] = Field(default={})
    """Parameters of the task as `predict` takes them, `seed` among them. Text is converted to the parameter's type."""
    workers: Positive | None = None
    """Largest number of models held at once; None is one for each GPU of the cluster, or for each of its CPUs but one."""


class ApplyResult(Result):
    """A written result."""

    uri: str
    """Folder that was written."""
    name: str
    """Name of the written dataset."""
    dataset_id: str
    """Content address of the written dataset."""
    examples: bool
    """Whether the rows are examples to train on, rather than codes or scores."""
    rows: dict[SplitName, int]
    """Number of rows by split."""
    provenance: Provenance
    """Everything that the result depends on."""
    reused: bool
    """Whether an earlier run had written the same result, so that nothing was done."""
    resumed_rows: int
    """Number of rows that an earlier, unfinished attempt had written."""
    seconds: float
    """Duration in seconds."""
