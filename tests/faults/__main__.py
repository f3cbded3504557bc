"""Runs every test of a fault, and writes the table: `python -m tests.faults [arguments of pytest]`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PAGE = TESTS / "benchmarks" / "results" / "faults.md"

if __name__ == "__main__":
    folders = [str(folder) for folder in (TESTS / "faults", TESTS / "cluster") if folder.is_dir()]
    sys.exit(pytest.main([*folders, "-m", "slow or not slow", "--faults-page", str(PAGE), *sys.argv[1:]]))
