"""Source of a user's own parts on its way to a job."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipelines.cluster.runs import RunFolder
from vae.parts.sources import CODE, addresses, bundle, is_address, is_installed, unpack
from vae.storage import write_whole


@contextmanager
def carried(home: str, folder: RunFolder, spec: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """Yields what a job's runtime environment needs for the custom parts of its run, or of the run that it goes on with.

    So travels the module of a dataset in Python, unless it is installed. Their source is kept in the run's folder.
    """
    request = spec.get("request", {})
    content = bundle(addresses(spec) | _datasets(request.get("source")))
    for other in filter(None, (request.get(name) for name in ("run", "start_from"))):
        if content is None and "/" not in other and (kept := RunFolder(home, other).location / CODE).exists():
            content = kept.read()
    if content is None:
        yield {}
        return
    write_whole(folder.location / CODE, content)
    with TemporaryDirectory(prefix="betaline-code-") as scratch:
        unpack(content, Path(scratch))
        yield {"working_dir": scratch}  # every process of the job starts in a copy of it, and imports from there


def _datasets(source: Any) -> set[str]:
    """Returns the address of the dataset that a job ingests, if it is one in Python whose module is not installed."""
    return {source} if isinstance(source, str) and is_address(source) and not is_installed(source) else set()
