"""Runs every test of security, and writes the table: `python -m tests.security [arguments of pytest]`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PAGE = HERE.parent / "benchmarks" / "results" / "security.md"

if __name__ == "__main__":
    sys.exit(pytest.main([str(HERE), "-m", "slow or not slow", "--security-page", str(PAGE), *sys.argv[1:]]))
