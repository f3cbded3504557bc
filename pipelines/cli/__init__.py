"""The `betaline` command. Most subcommands take `--json`, and all of these say which command comes next."""

from __future__ import annotations

import sys
from importlib.util import find_spec

NEEDED = ("typer", "prefect", "ray", "mlflow")
"""Libraries of the extra `cluster`, without which no command runs."""


def main() -> None:
    """Runs the command, or says what to install if the libraries of a cluster are missing."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        sys.exit(
            f"The command betaline needs {', '.join(missing)}: pip install 'betaline[cluster]' "
            "(`import vae` in Python works without them)."
        )
    from pipelines.cli.command import run

    run()
