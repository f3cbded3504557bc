"""A process that waits until nobody uses the services of a home, and then stops them.

It is started as `python -m pipelines.services.leash HOME`. Thanks to it services end with the command that started them,
even if that command is killed.
"""

from __future__ import annotations

import fcntl
import sys
from dataclasses import replace
from pathlib import Path

from pipelines.services.embedded import locked, read, stop_locked
from pipelines.services.lease import LEASE_FILE


def main(folder: Path) -> None:
    """Waits for the last lease to end, then stops the services, unless `betaline up` has made them lasting."""
    with (folder / LEASE_FILE).open("w") as lease:
        fcntl.flock(lease, fcntl.LOCK_EX)
        with locked(folder):
            services = read(folder)
            if services is not None and services.leash is not None:
                stop_locked(replace(services, leash=None))  # the leash is this process


if __name__ == "__main__":
    main(Path(sys.argv[1]))
