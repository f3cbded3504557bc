"""The MLflow server in one process: its options are those of `mlflow server`.

`mlflow server` starts uvicorn as a child, which imports MLflow a second time, and then waits for it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import mlflow.server
import uvicorn
from mlflow.cli import server


def _serve(command: Sequence[str], *, extra_env: Mapping[str, str], **_: Any) -> None:
    """Runs uvicorn in this process, with the arguments and the variables that MLflow has composed for a child."""
    os.environ.update(extra_env)
    uvicorn.main(command[command.index("uvicorn") + 1 :])


def main() -> None:
    """Serves until the process receives a signal to end."""
    setattr(mlflow.server, "_exec_cmd", _serve)  # noqa: B010
    server()


if __name__ == "__main__":
    main()
