"""Fixtures that several rooms share, and the order in which tests run, alone or dealt out to two processes."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling

from pipelines import cli
from pipelines import services as embedded
from pipelines.services.commands import ray_folder
from pipelines.services.embedded import VARIABLES
from tests.cluster.postgres import Postgres, running_postgres, why_no_postgres
from tests.faults import table as faults
from tests.load import table as load
from tests.security import table as security

TABLES = (faults.TABLE, load.TABLE, security.TABLE)

SERVERS = re.compile(r'pytest\.mark\.servers\("(\w+)"\)')
"""Marker of a file of tests, with the name of the real servers that it shares with other files."""
LONG = "tests/vae/training/"
"""Folder of the files that take longest without servers."""
DEFAULT_TEST_DATA = Path(__file__).parents[2] / "shared" / "data"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the option that writes a table of what tests saw to its page."""
    parser.addoption(
        "--page", choices=[table.name for table in TABLES], help="write this table to tests/benchmarks/results/"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Registers the tables. Makes Ctrl-C work in processes of the tests, although a shell's background jobs ignore it."""
    for table in TABLES:
        config.pluginmanager.register(table, f"table of {table.name}")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@cache
def servers_of(file: Path) -> str | None:
    """Returns the name in a file's marker; None for a file without. Reads text, as the scheduler has no markers."""
    named = SERVERS.search(file.read_text(encoding="utf-8"))
    return named.group(1) if named else None


class RealServersApart(LoadScopeScheduling):
    """A scheduler that gives the tests of a file, and all files that share real servers, to one process."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return servers_of(self.config.rootpath / file) or file


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> RealServersApart:
    """Returns the scheduler of `-n 2`."""
    return RealServersApart(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts tests on servers first, then long files, then the others, so that both processes end together."""
    for item in items:
        marker = item.get_closest_marker("servers")
        if (marker and marker.args[0]) != servers_of(item.path):
            raise pytest.UsageError(f"{item.nodeid}: mark the whole file: pytestmark = pytest.mark.servers(NAME)")
    items.sort(key=lambda item: (servers_of(item.path) is None, not item.nodeid.startswith(LONG)))


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """BETALINE_HOME of this test session."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def services(home: Path) -> Iterator[embedded.Services]:
    """Prefect, MLflow and Ray, started once for the session, with the environment of their clients."""
    with pytest.MonkeyPatch.context() as patch:
        for variable in VARIABLES.values():
            patch.delenv(variable, raising=False)
        with embedded.connect(home) as running:
            yield running
    shutil.rmtree(ray_folder(home), ignore_errors=True)


@pytest.fixture
def no_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that names no servers."""
    for variable in VARIABLES.values():
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def own_home(no_servers: None, tmp_path: Path) -> Iterator[Path]:
    """A home of one test, whose services are stopped afterwards."""
    yield tmp_path
    running = embedded.read(tmp_path)
    if running is not None:
        embedded.stop(running)
    shutil.rmtree(ray_folder(tmp_path), ignore_errors=True)


@pytest.fixture
def refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command, which must refuse with status 1, and returns its message; its home is `home` in the test's folder."""

    def run(*arguments: str) -> str:
        monkeypatch.delenv("BETALINE_HOME", raising=False)
        monkeypatch.setattr(sys, "argv", ["betaline", *arguments, "--home", str(tmp_path / "home")])
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert end.value.code == 1
        return " ".join(capsys.readouterr().err.split())

    return run


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server of the test's own; the test is skipped, with the reason, if none can be started."""
    if reason := why_no_postgres():
        pytest.skip(reason)
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def mnist_dir() -> Path:
    """The folder of MNIST's IDX files, from BETALINE_TEST_DATA/mnist."""
    folder = Path(os.environ.get("BETALINE_TEST_DATA", DEFAULT_TEST_DATA)) / "mnist"
    if not any(folder.glob("*-ubyte*")):
        pytest.skip(f"no MNIST files in {folder}; set BETALINE_TEST_DATA to the folder that holds mnist/")
    return folder
