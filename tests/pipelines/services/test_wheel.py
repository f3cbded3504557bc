"""The wheel in a virtual environment of its own, outside any checkout. Slow: packages are downloaded and installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
CONSTRAINTS = ROOT / "constraints.txt"
NETWORK = {"PIP_FIND_LINKS", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PYTHONPATH"}
PROGRAM = """
import numpy as np, vae
model = vae.fit(np.random.default_rng(0).integers(0, 256, (90, 8, 8), np.uint8), epochs=1, show=False)
model.report("report", show=False), model.save("kept")
print(vae.load("kept").generate(2).shape, vae.__file__)
"""

pytestmark = [pytest.mark.ci, pytest.mark.slow, pytest.mark.timeout(600)]


def called(*command: Any, **options: Any) -> str:
    """Runs a program to its end, and returns what it prints."""
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def fresh(folder: Path) -> Path:
    """Makes a virtual environment; returns the folder of its programs."""
    called(sys.executable, "-m", "venv", folder)
    return folder / "bin"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, built from a copy of its files."""
    folder = tmp_path_factory.mktemp("wheel")
    files = called("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT).splitlines()
    for name in (
        "pyproject.toml",
        "README.md",
        "LICENSE",
        *(f for f in files if f.startswith(("vae", "tuning", "pip"))),
    ):
        (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "source" / name).write_bytes((ROOT / name).read_bytes())
    called(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, folder / "source")
    return next(folder.glob("*.whl"))


def test_light_wheel_installs_from_a_folder_without_a_network(wheel: Path, tmp_path: Path) -> None:
    """The recipe of docs/install.md: fill a folder, install from it alone; then a model is trained, reported and loaded."""
    programs, packages = fresh(tmp_path / "venv"), tmp_path / "packages"
    constraint = ("--quiet", "--constraint", CONSTRAINTS)
    called(sys.executable, "-m", "pip", "download", *constraint, "--dest", packages, wheel)
    offline = {name: value for name, value in os.environ.items() if name not in NETWORK}
    install = ("install", *constraint, "--no-index", "--find-links", packages, "betaline")
    called(programs / "python", "-m", "pip", *install, env={**offline, "PIP_CONFIG_FILE": os.devnull})
    said = called(programs / "python", "-c", PROGRAM, cwd=tmp_path, env=offline)
    assert said.startswith(f"(2, 1, 8, 8) {tmp_path / 'venv'}")
    refused = subprocess.run([programs / "betaline", "run"], env=offline, capture_output=True, text=True)
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "pip install 'betaline[cluster]'" in refused.stderr
