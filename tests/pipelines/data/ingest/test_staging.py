"""Staging folders: whose they are, and what becomes of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from pipelines.data.ingest.staging import staging, sweep

HOLD = """
import sys
from pipelines.data.ingest.staging import staging
with staging(sys.argv[1], "d", "a" * 64) as folder:
    open(folder.path + "/shard", "w").close()
    print("held", flush=True)
    sys.stdin.read()
"""


def test_staging_of_a_crash_is_swept_by_the_next(tmp_path) -> None:
    """A folder whose holder died goes when another dataset of the name is made; the one in hand stays."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    root = tmp_path / "datasets" / "d" / ".staging"
    with staging(str(tmp_path), "d", "b" * 64):
        assert (root / ("a" * 64) / "shard").exists(), "a live folder was swept"
    holder.kill()
    holder.communicate()
    with staging(str(tmp_path), "d", "b" * 64) as folder:
        assert [path.name for path in root.iterdir() if path.is_dir()] == [Path(folder.path).name]


def test_sweep_takes_shards_without_a_manifest_and_nothing_else(tmp_path) -> None:
    """A dataset folder whose publishing was cut short goes; whole datasets and other folders stay."""
    root = tmp_path / "datasets" / "d"
    for name in ("a" * 64, "b" * 64, "c" * 64, "quarantine-x"):
        (root / name).mkdir(parents=True)
        (root / name / "train-00000.parquet").touch()
    (root / ("b" * 64) / "manifest.json").touch()
    assert sweep(str(tmp_path), "d", keep="c" * 64) == [str(root / ("a" * 64))]
    assert sorted(path.name for path in root.iterdir() if path.name != ".staging") == [
        "b" * 64,
        "c" * 64,
        "quarantine-x",
    ]
