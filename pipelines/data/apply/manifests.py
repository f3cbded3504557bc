"""What a finished output says of itself: the manifest of a dataset where it holds examples, else one of columns."""

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
    """Everything that the result depends on: two outputs of one provenance are equal byte for byte, but for the time in
    their manifests.
    """

    task: str
    model: str
    version: str
    weights_sha256: Digest
    dataset: str
    """The input's name."""
    dataset_id: Digest
    splits: tuple[SplitName, ...]
    params: dict[str, Any]
    """Of the task, beside its seed; those that were not given are as the signature has them."""
    seed: int
    device: str
    """`cpu` or `cuda`: where the model ran, which the last bits depend on."""
    rows_per_call: int
    """Rows that the model is given at once. A call's seed derives from `seed`, the split and its first row's number."""


class Columns(_Record):
    """The manifest of results that are no examples: a column for each, beside `split` and `row`."""

    format_version: int
    kind: Literal["columns"] = "columns"
    dataset_id: Digest
    """Derived from what it was made of, as a dataset's."""
    name: str
    created_at: AwareDatetime
    columns: dict[str, str]
    """Their Arrow types."""
    splits: dict[SplitName, tuple[Shard, ...]]
    provenance: Provenance


def read_manifest(folder: Location) -> Manifest | Columns | None:
    """What a folder says of itself; None where there is no manifest.

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
