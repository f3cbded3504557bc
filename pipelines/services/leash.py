"""A process that waits until nobody uses the services of a home, and then stops them.

`python -m pipelines.services.leash HOME` is how services end with the command that started them, even when
that command is killed.
"""

from __future__ import annotations

import fcntl
import sys
from dataclasses import replace
from pathlib import Path

from pipelines.services.embedded import locked, read, stop_locked
from pipelines.services.lease import LEASE_FILE


def main(folder: Path) -> None:
    """Wait for the last lease to end; then stop the services, unless they have become lasting ones."""
    with (folder / LEASE_FILE).open("w") as lease:
        fcntl.flock(lease, fcntl.LOCK_EX)
        with locked(folder):
            services = read(folder)
            if services is not None and services.leash is not None:
                stop_locked(replace(services, leash=None))  # the leash is this process


if __name__ == "__main__":
    main(Path(sys.argv[1]))
