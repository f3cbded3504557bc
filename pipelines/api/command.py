"""Commands of betaline in a process of their own, for what runs on a cluster and its services.

A notebook has an event loop and signal handlers of its own, which Prefect and Ray would replace.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, Any

import pipelines
from vae.errors import rebuild

SOURCE_ROOT = Path(pipelines.__file__).resolve().parents[1]


def betaline(*arguments: str, show: bool) -> dict[str, Any]:
    """Runs a command of betaline, with its progress on this process's standard error; returns its result.

    Raises:
        BetalineError: What the command refused.
    """
    # The command must run this same code, even from a checkout that is not installed.
    path = os.pathsep.join([str(SOURCE_ROOT), os.environ.get("PYTHONPATH", "")])
    with subprocess.Popen(
        [sys.executable, "-m", "pipelines.cli", *arguments, "--json"],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None, "it is a pipe"
        assert process.stderr is not None, "it is a pipe"
        relay = threading.Thread(target=_relay, args=(process.stderr, show), daemon=True)
        relay.start()
        said = process.stdout.read()
        relay.join()
    result = json.loads(said.strip().splitlines()[-1]) if said.strip() else {}
    if process.returncode or "error" in result:
        error = result.get(
            "error", {"type": "ClusterError", "message": f"{arguments[0]} ended with {process.returncode}"}
        )
        raise rebuild(error["type"], error["message"])
    return result


def _relay(lines: IO[str], show: bool) -> None:
    """Prints lines as they come: a notebook shows what this process writes, and not what its children do."""
    for line in lines:
        if show:
            print(line, end="", file=sys.stderr, flush=True)
