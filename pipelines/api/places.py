"""Places and names that calls default to."""

from __future__ import annotations

import os
from pathlib import Path

DEFAULT_HOME = ".betaline"


def home_of(given: str | Path | None) -> str:
    """Returns the folder or URI of datasets and runs: the given one, `BETALINE_HOME`, or `.betaline` in this folder."""
    chosen = str(given or os.environ.get("BETALINE_HOME", DEFAULT_HOME))
    return chosen if "://" in chosen else str(Path(chosen).expanduser().absolute())
