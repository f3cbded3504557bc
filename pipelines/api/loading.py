"""Models from folders and from the registry: `vae.load`."""

from __future__ import annotations

from pathlib import Path

from pipelines.api.model import Model, opened
from pipelines.api.registry import REGISTERED, downloaded
from pipelines.api.sharing import pulled
from pipelines.models.hub import HUB


def load(model: str | Path, *, trust_code: bool = False) -> Model:
    """Returns a saved model.

    Args:
        model: Folder that `Model.save` or a training run wrote, as a path or URI; or a registered model, such as
            `models:/digits@champion`, of the services that `vae.connect` finds; or a model on the Hugging Face Hub,
            `hf://USER/NAME` or `hf://USER/NAME@REVISION`.
        trust_code: Whether parts of its maker's own, which are not installed here, may run from the source that came
            with the model.

    Raises:
        CheckpointError: If the folder does not hold a model of this version.
        RegistryError: If there is no such version or model, or betaline did not make it, or the Hub refuses.
        ServiceError: If no service runs.
    """
    if str(model).startswith(REGISTERED):
        with downloaded(str(model)) as folder:
            return opened(folder, str(model), trust_code=trust_code)
    if str(model).startswith(HUB):
        with pulled(str(model)) as folder:
            return opened(folder, str(model), trust_code=trust_code)
    return opened(str(model), trust_code=trust_code)
