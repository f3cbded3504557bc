"""Whatever listens is on loopback, and gives nothing to a caller without credentials, from another host or site."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from pipelines.services import Services, process
from tests.security.table import Answered

pytestmark = pytest.mark.servers("services")

EVIL = "evil.example"
# One method of each server of Ray's: a server answers UNIMPLEMENTED to those of the others.
METHODS = (
    "/ray.rpc.NodeInfoGcsService/GetAllNodeInfo",
    "/ray.rpc.NodeManagerService/GetNodeStats",
    "/ray.rpc.ObjectManagerService/Pull",
    "/ray.rpc.RayletDriver/Init",
    "/ray.rpc.ReporterService/GetTraceback",
    "/ray.rpc.CoreWorkerService/Exit",
)
OPEN = ("<!doctype html>", "# help")
"""Beginnings of what may be shown without credentials: pages without data, and Ray's counters of itself."""


def ask(url: str, headers: dict[str, str] | None = None, method: str = "GET", body: bytes | None = None) -> Any:
    """Returns the answer of a URL."""
    return httpx.request(method, url, headers=headers, content=body, timeout=30, trust_env=False)


def basic(login: str) -> str:
    """Returns the header of a user and a password, joined by a colon."""
    user, _, password = login.partition(":")
    return str(httpx.BasicAuth(user, password)._auth_header)


@dataclass(frozen=True, kw_only=True)
class Door:
    """A server that people talk to."""

    name: str
    url: str
    """Address of something to read."""
    change: str
    """Address of something that a POST changes."""
    right: str
    """Header of a client with credentials."""
    wrong: str


@pytest.fixture(params=["Prefect", "MLflow", "Ray dashboard"])
def door(request: pytest.FixtureRequest, services: Services) -> Door:
    """Each server in turn."""
    variables = services.environment()
    match request.param:
        case "Prefect":
            api, wrong = services.prefect_api_url, basic("betaline:wrong")
            url, change, right = f"{api}/admin/version", f"{api}/flows/", basic(variables["PREFECT_API_AUTH_STRING"])
        case "MLflow":
            api, wrong = f"{services.mlflow_url}/api/2.0/mlflow/experiments", basic("betaline:wrong")
            url, change = f"{api}/search?max_results=1", f"{api}/create"
            right = basic("{MLFLOW_TRACKING_USERNAME}:{MLFLOW_TRACKING_PASSWORD}".format_map(variables))
        case _:
            url = change = f"{services.ray_address}/api/jobs/"
            right, wrong = f"Bearer {Path(variables['RAY_AUTH_TOKEN_PATH']).read_text()}", "Bearer wrong"
    return Door(name=request.param, url=url, change=change, right=right, wrong=wrong)


def test_door_opens_to_its_credentials_alone(door: Door, answered: Answered) -> None:
    """Without credentials, or with wrong ones, nothing is read; with the right ones it is."""
    none, wrong, right = (
        ask(door.url, {"Authorization": word} if word else {}) for word in ("", door.wrong, door.right)
    )
    assert none.status_code == 401
    assert wrong.status_code in (401, 403)
    assert right.status_code == 200
    answered(door.name, "to read without credentials", none.status_code)
    answered(door.name, "to read with wrong credentials", wrong.status_code)


def test_door_gives_nothing_under_a_foreign_host_name(door: Door, answered: Answered) -> None:
    """A page that makes its own name point here (DNS rebinding) has no credentials for that name, and gets nothing."""
    port = httpx.URL(door.url).port
    for host in (EVIL, f"10.{EVIL}", f"{EVIL}:{port}", "127.0.0.1:1"):
        assert ask(door.url, {"Host": host}).status_code in (401, 403), host
    # A browser that knows the password knows it for 127.0.0.1. MLflow refuses the name all the same.
    known = ask(door.url, {"Host": EVIL, "Authorization": door.right}).status_code
    assert door.name != "MLflow" or known == 403
    answered(door.name, "to read as evil.example, without credentials", ask(door.url, {"Host": EVIL}).status_code)
    answered(door.name, "to read as evil.example, with credentials", known)


@pytest.mark.parametrize("content", ["application/json", "text/plain"])
def test_door_refuses_a_change_from_another_site(door: Door, content: str, answered: Answered) -> None:
    """A page of another site gets no permission from CORS, and a form it sends with the browser's credentials no change."""
    origin = {"Origin": f"http://{EVIL}"}
    before = ask(door.change, {**origin, "Access-Control-Request-Method": "POST"}, "OPTIONS")
    assert "Access-Control-Allow-Origin" not in before.headers
    headers = {**origin, "Content-Type": content, "Authorization": door.right}
    sent = ask(door.change, headers, "POST", b'{"name": "forged", "entrypoint": "true"}')
    assert sent.status_code in (403, 405), sent.text
    shown = f"{sent.status_code} {sent.text[:60]}"
    answered(door.name, f"a POST of {content} from evil.example, with credentials", shown)


MLFLOW_PATHS = """
/ /api/2.0/mlflow-artifacts/artifacts /ajax-api/2.0/mlflow-artifacts/artifacts
/ajax-api/2.0/mlflow/experiments/search?max_results=1 /api/2.0/mlflow/users/get?username=betaline
/get-artifact?path=model&run_uuid=1 /model-versions/get-artifact?path=model&name=digits&version=1
/graphql /openapi.json /docs /v1/traces /gateway/anything /api/3.0/jobs/ /ajax-api/3.0/jobs/search /signup /metrics /version
"""


def test_mlflow_has_no_side_door(services: Services, answered: Answered) -> None:
    """Every kind of route but the health check wants the password, for reading and for writing."""
    paths = MLFLOW_PATHS.split()
    for path in paths:
        for method in ("GET", "POST", "PUT", "DELETE"):
            answer = ask(f"{services.mlflow_url}{path}", method=method, body=b"{}" if method == "POST" else None)
            assert answer.status_code in (401, 403), f"{method} {path}: {answer.status_code}"
    answered("MLflow", f"{len(paths)} routes of every kind, without credentials", "401 or 403")


def test_every_listener_is_on_loopback_and_asks_for_credentials(services: Services, answered: Answered) -> None:
    """Whatever any process of the services listens on gives a stranger no data and takes no order."""
    found = [(root, *listener) for root in services.processes for listener in process.listeners(root)]
    ports = {port for _, _, _, port in found}
    for url in (services.prefect_url, services.mlflow_url, services.ray_address):
        assert int(url.rpartition(":")[2]) in ports, "the enumeration must see the services themselves"
    for root, member, address, port in found:
        name = f"{member.name()} of {root.name} on {address}:{port}"
        assert process.is_loopback(address), name
        shown = over_http(port, name)
        if shown is None:
            calls = {method: over_grpc(port, method) for method in METHODS}
            assert set(calls.values()) <= {"UNAUTHENTICATED", "UNIMPLEMENTED"}, (name, calls)
            refused = [method for method, status in calls.items() if status == "UNAUTHENTICATED"]
            assert refused, f"{name}: no method of {METHODS} is its own"
            shown = f"{refused[0].split('/')[1]}: UNAUTHENTICATED"
        answered(root.name, f"a socket of {member.name()}: HTTP or gRPC without credentials", shown)


def over_http(port: int, name: str) -> str | None:
    """Returns the statuses a stranger gets over HTTP; None if a port speaks something else. A page with data fails."""
    statuses = set()
    for path in ("/", "/metrics", "/api/jobs/", "/api/flow_runs/filter", "/get_or_create_runtime_env"):
        for method in ("GET", "POST"):
            try:
                answer = ask(f"http://127.0.0.1:{port}{path}", method=method, body=b"{}" if method == "POST" else None)
            except httpx.RemoteProtocolError:
                return None
            statuses.add(answer.status_code)
            if answer.status_code == 200:
                assert method == "GET", f"{name} {path}"
                assert answer.text.lower().startswith(OPEN), f"{name} {path}: {answer.text[:200]}"
    assert statuses <= {200, 401, 403, 404, 405}, name
    return "HTTP " + ", ".join(map(str, sorted(statuses)))


def over_grpc(port: int, method: str) -> str:
    """Returns the status of a call without the token."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary(method)
        with pytest.raises(grpc.RpcError) as refusal:
            call(b"", timeout=30)
    return refusal.value.code().name
