"""Disks that fill up while something is written to them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.flows.train import train
from pipelines.services import Services
from tests.faults.conftest import STEPS, checkpoints_of
from tests.pipelines.conftest import run_flow
from tests.trainings import INTERVAL, weights_of
from vae.errors import BetalineError

pytestmark = pytest.mark.servers("faults")

ROW = "disk full (small tmpfs)"
PROGRAM = """
import sys
from pathlib import Path
import numpy as np
from pipelines.data.ingest import IngestConfig, ingest
from vae.data.parquet import Dataset
from vae.errors import DataError

home = sys.argv[1]
noise = np.random.default_rng(0).integers(0, 256, (6000, 32, 32), np.uint8)

def make(rows, name):
    np.savez(f"{home}/../{name}.npz", images=noise[:rows])
    return ingest(IngestConfig(source=f"{home}/../{name}.npz", name="d"), home, map)

old = make(500, "small")
try:
    make(6000, "large")
except DataError as error:
    print(error)
Dataset.open(old.uri).verify()
print([path.name for path in Path(home).rglob("*.partial")])
make(400, "other")
print(list((Path(home) / "datasets" / "d" / ".staging").iterdir()))
"""


def test_ingest_on_a_full_disk_keeps_what_was_there(tmp_path: Path, measured: Any) -> None:
    """On a filesystem of 4 MiB the ingest says what is full, the old dataset is whole, and the next one sweeps."""
    (tmp_path / "mount").mkdir()
    command = f'mount -t tmpfs -o size=4m tmpfs mount && mkdir mount/home && "{sys.executable}" program.py mount/home'
    (tmp_path / "program.py").write_text(PROGRAM.replace("{home}/../", "{home}/../../"))
    # A mount of its own, which goes with the process; as its own root where the user is not.
    private = ["unshare", "--user", "--map-root-user", "--mount"]
    if shutil.which("unshare") is None or subprocess.run([*private, "true"], check=False).returncode:
        pytest.skip("needs a private mount: unshare is missing or not allowed here")
    done = subprocess.run([*private, "sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    message, partial, staging = done.stdout.splitlines()
    assert message.startswith("no space left while writing ")
    assert "Published datasets are untouched. Free some space and run the same command again" in message
    assert (partial, staging) == ("[]", "[]")
    measured(ROW, redone="what was staged is used", kept="the old dataset; staging is swept by the next ingest")


@pytest.fixture
def small_disk(home: Path) -> Iterator[Path]:
    """The folder of a run, on a disk of its own of 1 MiB."""
    folder = home / "runs" / "full-disk"
    folder.mkdir(parents=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], check=False).returncode:
        pytest.skip("needs the right to mount a small disk")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_training_on_a_full_disk_keeps_its_checkpoints(
    services: Services, home: Path, asked: Any, unbroken: Any, small_disk: Path, measured: Any
) -> None:
    """The disk of a run is full of checkpoints: the command fails with that word, and goes on once there is space."""
    request = asked(1, {"training.keep_checkpoints": 1000, "scaling.max_failures": 0})
    with pytest.raises(BetalineError, match="no space left while writing") as refused:
        run_flow(train, request, run=small_disk.name)
    print(type(refused.value), refused.value)
    newest = max(checkpoints_of(home, small_disk.name))
    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
    result = run_flow(train, request, run=small_disk.name)
    assert result.resumed_from_step == newest > 0
    assert weights_of(result) == unbroken(1)
    measured(
        ROW,
        redone=f"less than {INTERVAL} of {STEPS:,} steps",
        kept="every checkpoint; the same command goes on once there is space, weights bit-equal",
    )
