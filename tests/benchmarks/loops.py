"""Training loops that run in processes of their own, and the interpreter that has Pythae."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import venv
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def run_loop(script: str, python: str | Path, checkout: Path | None = None, **arguments: Any) -> Any:
    """Runs a script of this folder, such as `bare_loop.py`, and returns the JSON of its last line.

    Args:
        script: Name of the file. It takes one argument, the JSON of `arguments`.
        python: Interpreter.
        checkout: Folder of the code that the script imports; None for none.
        arguments: Arguments, with the number of threads as `threads`.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": str(arguments["threads"])}
    if checkout is not None:
        environment["PYTHONPATH"] = str(checkout)
    command = [str(python), str(HERE / script), json.dumps(arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{script} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def find_pythae() -> tuple[Path | None, str]:
    """Returns an interpreter that has Pythae 0.1.2, or None and the reason."""
    named = os.environ.get("BETALINE_PYTHAE_PYTHON")
    folder = Path(tempfile.gettempdir()) / f"betaline-pythae-0.1.2-{os.getuid()}"
    python = Path(named) if named else folder / "bin" / "python"
    check = [str(python), "-c", "import pythae.trainers"]
    try:
        if not named and (not python.exists() or subprocess.run(check, capture_output=True, check=False).returncode):
            print(f"installing pythae 0.1.2 into {folder} …", flush=True)
            venv.create(folder, with_pip=True, clear=True)
            install = [str(python), "-m", "pip", "install", "--quiet", "pythae==0.1.2", "torch==2.13.0"]
            subprocess.run(install, capture_output=True, text=True, check=True)
        subprocess.run(check, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        output = getattr(error, "stderr", None) or str(error)
        return None, str(output).strip().splitlines()[-1]
    return python, ""
