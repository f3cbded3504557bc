"""A disk that fills up while a dataset is written."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

PROGRAM = """
import sys
from pathlib import Path
import numpy as np
from pipelines.ingest import IngestConfig, ingest
from vae.data.parquet import Dataset
from vae.errors import DataError

home = sys.argv[1]
noise = np.random.default_rng(0).integers(0, 256, (6000, 32, 32), np.uint8)

def make(rows, name):
    np.savez(f"{home}/../{name}.npz", images=noise[:rows])
    return ingest(IngestConfig(source=f"{home}/../{name}.npz", name="d"), home, map, lambda done, total: None)

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


def test_ingest_on_a_full_disk_keeps_what_was_there(tmp_path) -> None:
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
