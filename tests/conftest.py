"""Fixtures that several rooms share: a home, one set of real services for the session, and MNIST."""

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
from tests.cluster.postgres import Postgres, running_postgres, why_no_postgres
from tests.faults import table as faults
from tests.load import table as load
from tests.security import table as security

TABLES = (faults.TABLE, load.TABLE, security.TABLE)

SERVERS = re.compile(r'pytest\.mark\.servers\("(\w+)"\)')
"""The marker by which a file of tests names the servers that it shares with other files."""
DEFAULT_TEST_DATA = Path(__file__).parents[2] / "shared" / "data"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Which table of what tests saw is written to its page."""
    parser.addoption(
        "--page", choices=[table.name for table in TABLES], help="write this table to tests/benchmarks/results/"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Collects the tables, and lets what the tests start be interrupted: background jobs of a shell ignore Ctrl-C, and so
    do their children.
    """
    for table in TABLES:
        config.pluginmanager.register(table, f"table of {table.name}")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@cache
def servers_of(file: Path) -> str | None:
    """Returns the name of the servers in a file's marker; None for a file that needs none.

    From the text, because the scheduler sees node ids alone.
    """
    named = SERVERS.search(file.read_text(encoding="utf-8"))
    return named.group(1) if named else None


class RealServersApart(LoadScopeScheduling):
    """Files stay together, and those that share real servers go to one process."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return servers_of(self.config.rootpath / file) or file


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> RealServersApart:
    """How `-n 2` deals the tests out."""
    return RealServersApart(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests on real servers come first: they take longest."""
    items.sort(key=lambda item: servers_of(item.path) is None)


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BETALINE_HOME of this test session."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def services(home: Path) -> Iterator[embedded.Services]:
    """One real Prefect server, MLflow server and Ray head for the session; the environment leads to them."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI", "RAY_ADDRESS"):
            patch.delenv(name, raising=False)
        with embedded.connect(home) as running:
            yield running
    shutil.rmtree(ray_folder(home), ignore_errors=True)


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
    """A PostgreSQL server of the test's own; skips with a word where none can be started."""
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
