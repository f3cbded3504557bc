"""An installation without the extra `cluster`, and systems other than Unix: what they lack is taken from a process here."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

from packaging.requirements import Requirement

from pipelines.cli import NEEDED

ROOT = Path(__file__).parents[3]
UNIX = "fcntl resource pwd grp termios pty tty readline syslog curses"
"""Modules of the standard library that Windows lacks."""
PROGRAM = """
import os, pkgutil, shutil, sys
from importlib import import_module
from importlib.machinery import PathFinder
unix, absent = (names.split() for names in sys.argv[1:])
sys.modules.update(dict.fromkeys(unix))  # an import of these fails
class Finder:
    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in absent else PathFinder.find_spec(name, path, target)
    def __getattr__(self, name):
        return getattr(PathFinder, name)
sys.meta_path[sys.meta_path.index(PathFinder)] = Finder()

opened, shutil._use_fd_functions = os.open, False
def open_file(path, *arguments, **options):
    if os.path.isdir(path):
        raise PermissionError(path)
    return opened(path, *arguments, **options)
os.open = open_file
for name in ("getuid", "geteuid", "fork", "sched_getaffinity", "killpg"):
    delattr(os, name)

import vae
for found in pkgutil.walk_packages(vae.__path__, "vae."):
    if found.name not in ("vae.serving", "vae.training.distributed"):  # MLflow's model, and Ray's workers
        import_module(found.name)

import numpy as np
rows = np.random.default_rng(0).integers(0, 256, (90, 8, 8), np.uint8)
model = vae.fit(rows, epochs=1, show=False)
model._repr_html_(), model.report('report', show=False), model.save('kept'), vae.load('kept').generate(2)
with open('table.csv', 'w') as file:
    file.write('a,b\\n' + ''.join(f'{n},{n % 3}\\n' for n in range(60)))
vae.fit('table.csv', epochs=1, show=False).generate(2)
try:
    vae.load('models:/digits@champion')
except vae.errors.ServiceError as error:
    print(error)
"""


def normal(name: str) -> str:
    """A distribution's name as it is compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


def light() -> set[str]:
    """The distributions that `pip install betaline` brings."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    found, ahead = set[str](), [Requirement(line) for line in declared]
    while ahead:
        one = ahead.pop()
        if normal(one.name) in found or (one.marker is not None and not one.marker.evaluate({"extra": ""})):
            continue
        found.add(normal(one.name))
        try:
            ahead += map(Requirement, requires(one.name) or [])
        except PackageNotFoundError:
            continue  # one that another build of torch needs
    return found


def test_light_installation_fits_reports_and_loads_on_any_system(tmp_path: Path) -> None:
    """A process that has only its packages and no module of Unix imports all of `vae`, fits, reports and loads.

    Without MLflow a registered model is refused with what to install.
    """
    kept = light()
    others = {
        module
        for module, owners in packages_distributions().items()
        if not {*map(normal, owners)} & {*kept, "betaline", "setuptools", "pip"}
    }
    assert others >= {*NEEDED, "fastapi", "sqlalchemy", "optuna", "tenacity", "psutil", "requests", "boto3"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, UNIX, " ".join(others)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "pip install 'betaline[cluster]'" in done.stdout


def test_command_without_its_libraries_says_what_to_install() -> None:
    """One sentence and exit status 1, no traceback."""
    program = f"import sys; sys.modules.update(dict.fromkeys({NEEDED[:2]})); from pipelines.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.startswith("The command betaline needs typer, prefect: pip install 'betaline[cluster]'")
    assert done.stderr.count("\n") == 1
