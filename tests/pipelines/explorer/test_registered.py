"""The explorer with a real registry, and the command that serves it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest

from pipelines.explorer.looking import look
from pipelines.explorer.views import Latent
from pipelines.services import Services
from tests.pipelines.conftest import register
from tests.pipelines.explorer.conftest import SMALL
from tests.vae.conftest import _publish
from vae.data.parquet import Dataset
from vae.data.statistics import example_spec
from vae.errors import RegistryError
from vae.model import VAE

pytestmark = [pytest.mark.servers("services"), pytest.mark.slow, pytest.mark.ci]


def published(home: Path) -> Dataset:
    """Publishes noise of 4×4 pixels in the folder of datasets."""
    pixels = np.random.default_rng(0).integers(256, size=(60, 1, 4, 4), dtype=np.uint8)
    scratch = home / "datasets" / "noise" / "scratch"
    scratch.mkdir(parents=True)
    made = _publish(scratch, pixels, None, {"train": 40, "validation": 10, "test": 10})
    return Dataset.open(str(scratch.rename(scratch.with_name(made.manifest.dataset_id))))


def test_registered_model_is_explored(services: Services, home: Path, tmp_path: Path) -> None:
    """A version is listed with its alias, pulled once, shown with rows of its test split, and served by the command."""
    from pipelines.explorer.registered import Registered
    from pipelines.models import registry

    dataset = published(home)
    model = VAE(SMALL.model, example_spec(dataset)).eval()
    score = registry.Score(1.0, "nll", dataset.manifest.dataset_id)
    version = register(model, np.zeros((1, 1, 4, 4), np.float32), "explored", score, tmp_path)
    registry.move_alias(version, "champion", "a test's")

    models = Registered(str(home))
    assert [offer.aliases for offer in models.offers() if offer.name == "explored"] == [("champion",)]
    subject = models.pull("explored@champion")
    assert models.pull("explored/1") is subject
    assert subject.rows is not None
    assert np.array_equal(subject.rows.values.reshape(10, -1), dataset.read_rows("test", 0, 10).values)
    z_NL = look(Latent(x="row:2"), subject, models).call.inputs
    np.testing.assert_allclose(z_NL, subject.ask(subject.rows.take([2]), {"task": "encode"})["mean"], atol=6e-4)
    with pytest.raises(RegistryError, match="explored/1 @champion"):
        models.pull("explored@nobody")

    check_command(home)


def check_command(home: Path) -> None:
    """Serves the registered model by the command, reads its page, and interrupts it."""
    command = [sys.executable, "-m", "pipelines.cli", "explore", "explored@champion", "--port=0", f"--home={home}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "200"}) as page:
        try:
            assert page.stdout is not None
            words = (word for line in page.stdout for word in line.split())
            address = next(word for word in words if word.startswith("http://127.0.0.1:"))
            answer = httpx.get(f"{address}/latent", timeout=60)
            assert answer.status_code == 200
            assert "explored" in answer.text
            page.send_signal(signal.SIGINT)
            assert page.wait(30) == 0
        finally:
            page.kill()
