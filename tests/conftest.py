"""Fixtures that several rooms share: a home, one set of real services for the session, and MNIST."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling

from pipelines import services as embedded
from pipelines.services.commands import ray_folder
from tests.cluster.postgres import Postgres, running_postgres, why_no_postgres

pytest_plugins = ["tests.faults.table", "tests.security.table"]

# Files that start or use real servers, and what they share servers for: one process each, the rest runs beside them.
REAL = {
    "test_apply": "flows",
    "test_damaged_checkpoints": "faults",
    "test_damaged_shards": "faults",
    "test_database_stopped": "flows",
    "test_deployments": "flows",
    "test_doctor": "services",
    "test_flow_runs": "flows",
    "test_flows": "flows",
    "test_fresh_environment": "services",
    "test_full_disk": "faults",
    "test_idle": "idle",
    "test_ingest_at_once": "services",
    "test_killed_drivers": "faults",
    "test_killed_workers": "faults",
    "test_launch": "services",
    "test_listeners": "services",
    "test_mlflow": "idle",
    "test_mlflow_away": "flows",
    "test_network": "cluster",
    "test_nodes": "cluster",
    "test_operating": "operating",
    "test_packaging": "services",
    "test_postgres": "cluster",
    "test_prefect_killed": "flows",
    "test_promotion_killed": "flows",
    "test_ray_head_killed": "flows",
    "test_registered_models": "services",
    "test_registry": "services",
    "test_scheduling": "flows",
    "test_search": "services",
    "test_search_faults": "services",
    "test_secrets": "services",
    "test_services": "services",
    "test_topology": "cluster",
}
DEFAULT_TEST_DATA = Path(__file__).parents[2] / "shared" / "data"


def pytest_configure() -> None:
    """Lets what the tests start be interrupted: background jobs of a shell ignore Ctrl-C, and so do their children."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


class RealServersApart(LoadScopeScheduling):
    """Files stay together, and those that share real servers go to one process."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return REAL.get(Path(file).stem, file)


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> RealServersApart:
    """How `-n 2` deals the tests out."""
    return RealServersApart(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests on real servers come first: they take longest."""
    items.sort(key=lambda item: item.path.stem not in REAL)


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
