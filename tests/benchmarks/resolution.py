"""Versions of Python and systems on which each extra finds wheels: `python -m tests.benchmarks.resolution`.

uv resolves each extra from wheels alone, without installing it, and the table in `docs/install.md` is written anew. It says
what can be installed, and not that anything was run there.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "install.md"
TABLE = re.compile(r"^\| packages \|.*?(?=\n\n)", re.MULTILINE | re.DOTALL)
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
SYSTEMS = {
    "Linux": "x86_64-manylinux_2_28",
    "Linux on ARM": "aarch64-manylinux_2_28",
    "macOS": "aarch64-apple-darwin",
    "Windows": "x86_64-pc-windows-msvc",
}
"""Platforms of uv by the names of their systems."""
OLDEST_MACOS = "14.0"
"""Oldest macOS that torch has wheels for."""


def is_found(extra: str, python: str, system: str) -> bool:
    """Returns whether every package of an extra has a wheel; the extra "" is the light installation."""
    command = ["uv", "pip", "compile", "--quiet", "--only-binary=:all:", "--output-file", os.devnull, "pyproject.toml"]
    command += ["--python-version", python, "--python-platform", SYSTEMS[system]]
    done = subprocess.run(
        [*command, *(["--extra", extra] if extra else [])],
        cwd=ROOT,
        env={**os.environ, "MACOSX_DEPLOYMENT_TARGET": OLDEST_MACOS},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        print(f"{extra or 'light'}, Python {python}, {system}: {' '.join(done.stderr.split())[:300]}", flush=True)
    return done.returncode == 0


def cell(extra: str, python: str) -> str:
    """Returns where an extra can be installed with a version of Python."""
    found = [system for system in SYSTEMS if is_found(extra, python, system)]
    return "all" if len(found) == len(SYSTEMS) else ", ".join(found) or "none"


def main() -> None:
    """Resolves everything and writes the table."""
    if shutil.which("uv") is None:
        sys.exit("uv is not on the path: pip install uv")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    rows = [f"| packages | {' | '.join(f'Python {python}' for python in PYTHONS)} |", "|---" * (1 + len(PYTHONS)) + "|"]
    for extra in ("", *sorted({*project["optional-dependencies"]} - {"bench", "dev"})):
        name = f"`betaline[{extra}]`" if extra else "`betaline`"
        rows.append(f"| {name} | {' | '.join(cell(extra, python) for python in PYTHONS)} |")
        print(rows[-1], flush=True)
    table = "\n".join(rows)
    PAGE.write_text(TABLE.sub(lambda _: table, PAGE.read_text()))


if __name__ == "__main__":
    main()
