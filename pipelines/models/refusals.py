"""Errors of MLflow and of Prefect as errors of betaline: one sentence instead of a traceback."""

from __future__ import annotations

from vae.errors import BetalineError, RegistryError, ServiceError


def as_refusal(error: BaseException) -> BetalineError | None:
    """Returns an error of betaline, of MLflow or of Prefect as one of betaline; None for any other, which is a defect."""
    if isinstance(error, BetalineError):
        return error
    said = " ".join(str(error).split())[:500]
    # By name, because importing MLflow takes a second.
    modules = {kind.__module__.split(".")[0] for kind in type(error).__mro__}
    if "httpx" in modules:  # Prefect's client has tried again for minutes
        return ServiceError(
            f"the connection to Prefect's server was lost: {said or type(error).__name__}. `betaline status` says what "
            "runs; the same command with --run and the run's name goes on from the last checkpoint"
        )
    if "mlflow" not in modules:
        return None
    advice = "see the log of its server"
    if "state is deleted" in said or "'active' state" in said:
        advice = "restore it: mlflow runs restore --run-id ID, or mlflow experiments restore --experiment-id ID"
    return RegistryError(f"MLflow refused: {said.rstrip('.')}; {advice}")
