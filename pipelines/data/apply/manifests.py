"""Manifests of finished outputs: of a dataset where the output holds examples, else of columns."""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict

from vae.data.manifest import MANIFEST_NAME, Digest, Manifest, Shard, SplitName
from vae.errors import CorruptData
from vae.storage import Location


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Provenance(_Record):
    """Everything that a result depends on.

    Two outputs of one provenance are equal byte for byte, but for the time in their manifests.
    """

    task: str
    model: str
    version: str
    weights_sha256: Digest
    dataset: str
    """Name of the input."""
    dataset_id: Digest
    splits: tuple[SplitName, ...]
    params: dict[str, Any]
    """Parameters of the task but its seed, with the defaults of the signature."""
    seed: int
    device: str
    """Kind of device that the model ran on, `cpu` or `cuda`; the last bits depend on it."""
    rows_per_call: int
    """Rows of one call. The call's seed derives from `seed`, the split and its first row's number."""


class Columns(_Record):
    """Manifest of results that are not examples: columns beside `split` and `row`."""

    format_version: int
    kind: Literal["columns"] = "columns"
    dataset_id: Digest
    """Identity, derived from the provenance."""
    name: str
    created_at: AwareDatetime
    columns: dict[str, str]
    """Arrow type of each column."""
    splits: dict[SplitName, tuple[Shard, ...]]
    provenance: Provenance


def read_manifest(folder: Location) -> Manifest | Columns | None:
    """Reads the manifest of an output folder; returns None where there is none.

    Raises:
        CorruptData: If it cannot be read.
    """
    try:
        text = (folder / MANIFEST_NAME).read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        kind = Columns if "kind" in json.loads(text) else Manifest
        return kind.model_validate_json(text)
    except (ValueError, TypeError) as error:
        raise CorruptData(f"{(folder / MANIFEST_NAME).uri} is damaged: {error}. Remove its folder") from error
