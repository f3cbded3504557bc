"""Errors of MLflow as errors of betaline: one sentence instead of a traceback."""

from __future__ import annotations

from vae.errors import BetalineError, RegistryError


def as_refusal(error: BaseException) -> BetalineError | None:
    """Returns an error of betaline or of MLflow as one of betaline; None for any other, which is a defect."""
    if isinstance(error, BetalineError):
        return error
    if not type(error).__module__.startswith("mlflow."):  # asked by name, because importing MLflow takes a second
        return None
    said = " ".join(str(error).split())[:500]
    advice = "see the log of its server"
    if "state is deleted" in said or "'active' state" in said:
        advice = "restore it: mlflow runs restore --run-id ID, or mlflow experiments restore --experiment-id ID"
    return RegistryError(f"MLflow refused: {said.rstrip('.')}; {advice}")
