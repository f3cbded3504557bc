"""What the services cost while nobody uses them, and what is left of them when they are stopped."""

from __future__ import annotations

import shutil
import socket
import time
from pathlib import Path

import psutil
import pytest

from pipelines import services as embedded
from pipelines.services import Services, process
from pipelines.services.commands import ray_folder
from tests.load.table import Carried
from tests.processes import wait_until

pytestmark = pytest.mark.servers("load")

WINDOW_SECONDS, LIMIT_SECONDS = 60.0, 600.0
MOST_CPU, MOST_BYTES = 0.12, 2.5e9


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_idle_services_cost_little_and_leave_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, carried: Carried
) -> None:
    """Below 12 % of a core and 2.5 GB together, once they have settled; stopped, no process and no port is left."""
    for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    services = embedded.start(tmp_path)
    try:
        shares: dict[str, float] = {}

        def have_settled() -> bool:
            shares.update(busy(services))
            return sum(shares.values()) < MOST_CPU

        wait_until(have_settled, LIMIT_SECONDS, f"less than {MOST_CPU:.0%} of a core, not {shares}")
        members = [member for root in services.processes for member in process.tree(root)]
        num_bytes = sum(member.memory_full_info().pss for member in members)
        assert num_bytes < MOST_BYTES
        ports = {port for root in services.processes for _, _, port in process.listeners(root)}
        assert len(ports) > 5
    finally:
        embedded.stop(services)
        shutil.rmtree(ray_folder(tmp_path), ignore_errors=True)
    assert not [member for member in members if member.is_running() and member.status() != psutil.STATUS_ZOMBIE]
    assert not [port for port in ports if answers(port)]
    each = ", ".join(f"{name} {share:.1%}" for name, share in shares.items())
    carried("services that nobody uses", f"{each} of a core; {num_bytes / 1e9:.2f} GB together")


def busy(services: Services) -> dict[str, float]:
    """The share of a core that each service took in a minute, with all that it has started."""
    before = {root.name: cpu_seconds(root) for root in services.processes}
    began = time.monotonic()
    time.sleep(WINDOW_SECONDS)  # the measurement itself
    seconds = time.monotonic() - began
    return {root.name: (cpu_seconds(root) - before[root.name]) / seconds for root in services.processes}


def cpu_seconds(root: process.Process) -> float:
    """Of a process and its descendants, those that have ended among them."""
    times = [member.cpu_times() for member in process.tree(root)]
    return sum(found.user + found.system + found.children_user + found.children_system for found in times)


def answers(port: int) -> bool:
    """Whether something listens on a port of loopback."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
