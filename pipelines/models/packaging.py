"""Trained models as MLflow stores them: packed without pickle, proved to load, and unpacked."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlflow
import mlflow.artifacts
import mlflow.pyfunc
from mlflow.exceptions import MlflowException

import vae
from vae import progress, serving
from vae.config import ModelConfig
from vae.errors import RegistryError
from vae.parts.sources import CODE, unpack

LOAD_SECONDS = 300
"""Largest time in seconds in which a version must load."""


def log_model(run_id: str, model_folder: Path, config: ModelConfig, example: Any, card: str) -> str:
    """Logs a trained model to its run as a pyfunc without pickle; returns its URI.

    Args:
        run_id: Id of the training run.
        model_folder: Folder on this machine that `vae.training.state.save_model` wrote.
        config: Configuration of the model.
        example: One input, as `predict` takes it.
        card: Model card in markdown, stored as `MODEL_CARD.md` with the model.
    """
    progress.report("packing the model and sending it to MLflow")
    with TemporaryDirectory() as scratch, mlflow.start_run(run_id=run_id):
        card_file = Path(scratch) / "MODEL_CARD.md"
        card_file.write_text(card, encoding="utf-8")
        package, code = Path(vae.__file__).parent, model_folder / CODE
        own = unpack(code.read_bytes(), Path(scratch) / "code") if code.exists() else []
        info = mlflow.pyfunc.log_model(
            name="model",
            python_model=str(package / "serving.py"),
            artifacts={serving.ARTIFACT: str(model_folder), "card": str(card_file)},
            code_paths=[str(path) for path in (package, *own)],
            signature=serving.signature(),
            input_example=example,
            pip_requirements=serving.requirements(config),
        )
    return info.model_uri


@contextmanager
def fresh_process() -> Iterator[Callable[[str], None]]:
    """Yields a function that loads a version from the registry in a process of its own and predicts with it.

    The process starts at once, so that its imports do not have to be waited for. The function takes the version's URI, and
    raises RegistryError if the version does not load or predict, with the last lines of that process.
    """
    program = (
        "import sys, mlflow.pyfunc, torch\n"
        "model = mlflow.pyfunc.load_model(sys.stdin.read())\n"
        "params = {'task': 'generate', 'n': 2}\n"
        "condition = model.unwrap_python_model().example_condition()\n"
        "params.update({'condition': condition} if condition else {})\n"
        "assert len(model.predict(None, params=params)) == 2\n"
    )
    with TemporaryDirectory() as elsewhere:
        # MLflow unpacks a model into the folder for temporary files and does not remove it.
        process = subprocess.Popen(
            [sys.executable, "-c", program],
            cwd=elsewhere,
            env={**os.environ, "TMPDIR": elsewhere, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        with process:
            try:
                yield partial(_check_loads, process)
            finally:
                process.kill()


def _check_loads(process: subprocess.Popen[str], uri: str) -> None:
    progress.report("loading it from the registry in a process of its own")
    _, said = process.communicate(uri, timeout=LOAD_SECONDS)
    if process.returncode:
        last = "\n".join(said.strip().splitlines()[-5:])
        raise RegistryError(f"{uri} was registered but does not load, so no alias points at it: {last}")


def download(uri: str, folder: Path) -> Path:
    """Downloads a registered model's weights and configuration to this machine and returns their folder.

    Raises:
        RegistryError: If the version holds none: betaline did not register it, and it may be a pickle.
    """
    # Nothing else of the model: its code is ten times as many files, each of which is a request.
    try:
        return Path(mlflow.artifacts.download_artifacts(f"{uri}/artifacts/{serving.ARTIFACT}", dst_path=str(folder)))
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST" and "404 Client Error" not in str(error):
            raise
        raise RegistryError(
            f"{uri} holds no artifacts/{serving.ARTIFACT}, so it is not a model that betaline registered; nothing else of "
            "it is loaded"
        ) from None
