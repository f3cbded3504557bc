"""Every preset as people pull it: registered in a real MLflow, loaded from there in a process of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipelines.models import packaging, registry
from pipelines.services import Services
from tests.pipelines.conftest import register
from vae import serving
from vae.config import override
from vae.config.presets import PRESETS, preset
from vae.data.schema import Column, ExampleSpec
from vae.model import VAE
from vae.parts.bodies.table import TableBody
from vae.storage import locate, sha256_of
from vae.training.state import WEIGHTS

pytestmark = pytest.mark.servers("services")

SHAPE = (1, 8, 8)
IMAGES = ExampleSpec(SHAPE, ("cat", "dog"))
ROWS = ExampleSpec((2,), None, (Column("age", None, 40.0, 10.0), Column("colour", ("blue", "red"))))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning")  # of MLflow's reading of a data frame
@pytest.mark.parametrize("name", PRESETS)
def test_preset_is_registered_and_pulled(name: str, services: Services, tmp_path: Path) -> None:
    """The version has the weights' hash, and generates in a process that knows nothing but its URI."""
    config = override(preset(name), {"model.prior.components": 20} if name == "vamp_vae" else {}).model
    table = isinstance(config.encoder, TableBody)
    model = VAE(config, ROWS if table else IMAGES, seed=1).eval()
    example = pd.DataFrame({"age": [30.0], "colour": ["red"]}) if table else np.zeros((1, *SHAPE), np.float32)
    told = {"condition": ["cat"]} if config.condition else {}
    score = registry.Score(1.0, "nll", "a dataset's id")
    version = register(model, (example, told) if told else example, f"preset-{name}", score, tmp_path)
    assert registry.weights_of(version) == sha256_of(locate(str(tmp_path / serving.ARTIFACT / WEIGHTS)))
    with packaging.fresh_process() as check_loads:
        check_loads(version.uri)
