"""Python beside the command line, on real services: the same weights, the same gate, the same registry."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vae
from pipelines.services import Services
from pipelines.stages.promote import PromoteRequest
from pipelines.stages.train import TrainRequest
from tests.pipelines.conftest import run_flow
from vae.config import RunConfig, override

pytestmark = [pytest.mark.servers("flows"), pytest.mark.slow, pytest.mark.ci]


def test_fit_is_the_command_to_the_bit_and_its_model_is_promoted(
    services: Services, digits: dict[str, Any], tiny: RunConfig, tmp_path: Path, home: Path
) -> None:
    """One worker of the cluster and `vae.fit` come to one file of weights, which becomes champion and is loaded again."""
    from pipelines.flows.train import train

    trained = run_flow(train, TrainRequest(dataset="digits", name="bits", config=tiny))
    model = vae.fit("digits", config=trained.config, home=home, show=False)
    model.save(tmp_path / "kept")
    assert (tmp_path / "kept/weights.safetensors").read_bytes() == Path(
        trained.model, "weights.safetensors"
    ).read_bytes()
    result = model.register("bits", show=False, num_samples=8, accept="collapsed")
    assert result.promoted
    assert str(vae.connect(home)).startswith(f"MLflow at {services.mlflow_url}")
    pulled = vae.load("models:/bits@champion")
    np.testing.assert_array_equal(pulled.generate(3, seed=1), model.generate(3, seed=1))


SOURCE = """
from torch import nn

class Encoder(nn.Module):
    def __init__(self, shape, width=16):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.LazyLinear(width), nn.SiLU())

    def forward(self, x):
        return self.layers(x)
"""
PULLING = """
import mlflow.pyfunc
print(len(mlflow.pyfunc.load_model('models:/own@champion').predict(None, params={'task': 'generate', 'n': 3})))
"""


def test_a_part_of_ones_own_goes_from_training_to_whoever_pulls_the_model(
    services: Services, digits: dict[str, Any], tiny: RunConfig, tmp_path: Path, home: Path
) -> None:
    """Its source travels with the job, the promotion and the registered model, to processes that cannot import it."""
    from pipelines.flows.promote import promote
    from pipelines.flows.train import train

    (tmp_path / "parts_of_mine.py").write_text(SOURCE)
    own = {"kind": "custom", "target": "parts_of_mine:Encoder", "args": {"width": 12}}
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        config = override(tiny, {"model.encoder": own, "model.decoder": {"kind": "mlp", "hidden": [16]}})
        trained = run_flow(train, TrainRequest(dataset="digits", name="own", config=config))
    (tmp_path / "parts_of_mine.py").unlink()
    asked = PromoteRequest(run=trained.run, name="own", num_samples=8, accept=("collapsed",))
    assert run_flow(promote, asked).promoted
    pulled = subprocess.run([sys.executable, "-c", PULLING], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert pulled.stdout.strip().splitlines()[-1:] == ["3"], pulled.stderr


def test_workers_of_a_cluster_train_the_same_model(
    services: Services, digits: dict[str, Any], tiny: RunConfig, tmp_path: Path, home: Path
) -> None:
    """`vae.fit(…, workers=2)` is a job on the home's cluster; its model is that of one worker but for rounding."""
    together = vae.fit("digits", config=tiny, workers=2, home=home, show=False)
    assert together.fit is not None
    assert together.fit.config.scaling.num_workers == 2
    single = vae.fit(together.fit.dataset, config=tiny, home=tmp_path, show=False)
    np.testing.assert_allclose(
        [epoch.validation_negative_bound for epoch in together.history],
        [epoch.validation_negative_bound for epoch in single.history],
        rtol=1e-4,
    )
