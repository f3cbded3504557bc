"""The catalog of published datasets, by name."""

from __future__ import annotations

from pyarrow import fs

from vae.data.manifest import MANIFEST_NAME
from vae.data.parquet import Dataset
from vae.errors import DataError, did_you_mean
from vae.storage import Location, locate


def resolve(home: str, reference: str) -> str:
    """Returns the URI of the dataset that a reference means.

    Args:
        home: Folder of all datasets, as a path or any pyarrow filesystem URI.
        reference: `NAME` (its newest dataset), `NAME@ID` (an identity, or the beginning of one), or a
            dataset's own folder as a path or URI.

    Raises:
        DataError: If no dataset matches, or several; lists those that exist.
    """
    if "/" in reference or reference in (".", ".."):
        return Dataset.open(reference).uri
    name, _, prefix = reference.partition("@")
    root = locate(home) / "datasets"
    names = sorted(info.base_name for info in root.list() if info.type == fs.FileType.Directory)
    found = published(root / name) if name in names else []
    if not found:
        raise DataError(_unknown_name(name, [n for n in names if published(root / n)], root))
    matching = [identity for identity in found if identity.startswith(prefix)]
    if prefix and len(matching) != 1:
        problem = "no dataset" if not matching else f"{len(matching)} datasets"
        listed = ", ".join(f"{name}@{identity[:12]}" for identity in found)
        raise DataError(
            f"{problem} of {name!r} whose identity begins with {prefix!r}. There are: {listed} (newest first)"
        )
    return (root / name / matching[0]).uri


def published(folder: Location) -> list[str]:
    """Returns the identities of the complete datasets in a name's folder, newest first.

    Raises:
        CorruptData: If a manifest cannot be read.
    """
    identities = [
        info.base_name
        for info in folder.list()
        if info.type == fs.FileType.Directory and (folder / info.base_name / MANIFEST_NAME).exists()
    ]
    if len(identities) < 2:
        return identities
    made = {identity: Dataset.open((folder / identity).uri).manifest.created_at for identity in sorted(identities)}
    return sorted(made, key=lambda identity: made[identity], reverse=True)


def _unknown_name(name: str, names: list[str], root: Location) -> str:
    if not names:
        advice = f"Make one with `betaline ingest SOURCE {name}`"
        return f"no dataset {name!r}: there are none in {root.uri}. {advice}"
    return f"no dataset {name!r} in {root.uri}{did_you_mean(name, names)}. There are: {', '.join(names)}"
