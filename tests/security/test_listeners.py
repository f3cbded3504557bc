"""Whatever listens is on loopback, and gives nothing to a caller without credentials, from another host or site."""

from __future__ import annotations

import base64
import http.client
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import grpc
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
# How that begins which shows without credentials: pages that hold no data, and what Ray counts of itself.
OPEN = ("<!doctype html>", "# help")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a server said over HTTP."""

    status: int
    body: str
    allowed_origin: str | None


def ask(url: str, headers: dict[str, str] | None = None, method: str = "GET", body: bytes | None = None) -> Answer:
    """What a URL answers."""
    request = urllib.request.Request(url, headers=headers or {}, method=method, data=body)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return _answer(answer, answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return _answer(error, error.code)


def _answer(answer: http.client.HTTPResponse | urllib.error.HTTPError, status: int) -> Answer:
    body = answer.read().decode(errors="replace")
    return Answer(status=status, body=body, allowed_origin=answer.headers.get("Access-Control-Allow-Origin"))


def basic(login: str) -> str:
    """The header of a user and a password, joined by a colon."""
    return f"Basic {base64.b64encode(login.encode()).decode()}"


@dataclass(frozen=True, kw_only=True)
class Door:
    """A server that people talk to."""

    name: str
    url: Callable[[Services], str]
    """Something to read."""
    change: Callable[[Services], str]
    """Something that a POST changes."""
    right: Callable[[Services], str]
    """The header that lets a client in."""
    wrong: str


DOORS = (
    Door(
        name="Prefect",
        url=lambda services: f"{services.prefect_api_url}/admin/version",
        change=lambda services: f"{services.prefect_api_url}/flows/",
        right=lambda services: basic(services.environment()["PREFECT_API_AUTH_STRING"]),
        wrong=basic("betaline:wrong"),
    ),
    Door(
        name="MLflow",
        url=lambda services: f"{services.mlflow_url}/api/2.0/mlflow/experiments/search?max_results=1",
        change=lambda services: f"{services.mlflow_url}/api/2.0/mlflow/experiments/create",
        right=lambda services: basic(
            "{MLFLOW_TRACKING_USERNAME}:{MLFLOW_TRACKING_PASSWORD}".format_map(services.environment())
        ),
        wrong=basic("betaline:wrong"),
    ),
    Door(
        name="Ray dashboard",
        url=lambda services: f"{services.ray_address}/api/jobs/",
        change=lambda services: f"{services.ray_address}/api/jobs/",
        right=lambda services: f"Bearer {Path(services.environment()['RAY_AUTH_TOKEN_PATH']).read_text()}",
        wrong="Bearer wrong",
    ),
)
each_door = pytest.mark.parametrize("door", DOORS, ids=lambda door: door.name)


@each_door
def test_door_opens_to_its_credentials_alone(door: Door, services: Services, answered: Answered) -> None:
    """Without credentials, or with wrong ones, nothing is read; with the right ones it is."""
    url = door.url(services)
    none, wrong, right = (
        ask(url),
        ask(url, {"Authorization": door.wrong}),
        ask(url, {"Authorization": door.right(services)}),
    )
    assert none.status == 401
    assert wrong.status in (401, 403)
    assert right.status == 200
    answered(door.name, "to read without credentials", none.status)
    answered(door.name, "to read with wrong credentials", wrong.status)


@each_door
def test_door_gives_nothing_under_a_foreign_host_name(door: Door, services: Services, answered: Answered) -> None:
    """A page that has its own name point here (DNS rebinding) has no credentials for that name, and gets nothing."""
    port = door.url(services).split("/")[2].rpartition(":")[2]
    for host in (EVIL, f"10.{EVIL}", f"{EVIL}:{port}", "127.0.0.1:1"):
        assert ask(door.url(services), {"Host": host}).status in (401, 403), host
    # A browser that knows the password knows it for 127.0.0.1. MLflow refuses the name all the same.
    with_credentials = ask(door.url(services), {"Host": EVIL, "Authorization": door.right(services)})
    assert door.name != "MLflow" or with_credentials.status == 403
    answered(door.name, "to read as evil.example, without credentials", ask(door.url(services), {"Host": EVIL}).status)
    answered(door.name, "to read as evil.example, with credentials", with_credentials.status)


@each_door
@pytest.mark.parametrize("content", ["application/json", "text/plain"])
def test_door_refuses_a_change_from_another_site(
    door: Door, content: str, services: Services, answered: Answered
) -> None:
    """A page of another site gets no permission from CORS, and a form it sends with the browser's credentials no change."""
    origin = {"Origin": f"http://{EVIL}"}
    before = ask(door.change(services), {**origin, "Access-Control-Request-Method": "POST"}, "OPTIONS")
    assert before.allowed_origin is None
    headers = {**origin, "Content-Type": content, "Authorization": door.right(services)}
    sent = ask(door.change(services), headers, "POST", b'{"name": "forged", "entrypoint": "true"}')
    assert sent.status in (403, 405), sent.body
    answered(door.name, f"a POST of {content} from evil.example, with credentials", f"{sent.status} {sent.body[:60]}")


MLFLOW_PATHS = (
    "/",
    "/api/2.0/mlflow-artifacts/artifacts",
    "/ajax-api/2.0/mlflow-artifacts/artifacts",
    "/ajax-api/2.0/mlflow/experiments/search?max_results=1",
    "/api/2.0/mlflow/users/get?username=betaline",
    "/get-artifact?path=model&run_uuid=1",
    "/model-versions/get-artifact?path=model&name=digits&version=1",
    "/graphql",
    "/openapi.json",
    "/docs",
    "/v1/traces",
    "/gateway/anything",
    "/api/3.0/jobs/",
    "/ajax-api/3.0/jobs/search",
    "/signup",
    "/metrics",
    "/version",
)


def test_mlflow_has_no_side_door(services: Services, answered: Answered) -> None:
    """Every kind of route wants the password, for reading and for writing; health and the server's own kind do not."""
    for path in MLFLOW_PATHS:
        for method in ("GET", "POST", "PUT", "DELETE"):
            answer = ask(f"{services.mlflow_url}{path}", method=method, body=b"{}" if method == "POST" else None)
            assert answer.status in (401, 403), f"{method} {path}: {answer.status}"
    answered("MLflow", f"{len(MLFLOW_PATHS)} routes of every kind, without credentials", "401 or 403")


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
    """What a stranger gets of a port, if it speaks HTTP; fails where that is more than a page without data."""
    statuses = set()
    for path in ("/", "/metrics", "/api/jobs/", "/api/flow_runs/filter", "/get_or_create_runtime_env"):
        for method in ("GET", "POST"):
            try:
                answer = ask(f"http://127.0.0.1:{port}{path}", method=method, body=b"{}" if method == "POST" else None)
            except http.client.BadStatusLine:
                return None
            statuses.add(answer.status)
            if answer.status == 200:
                assert method == "GET", f"{name} {path}"
                assert answer.body.lower().startswith(OPEN), f"{name} {path}: {answer.body[:200]}"
    assert statuses <= {200, 401, 403, 404, 405}, name
    return "HTTP " + ", ".join(map(str, sorted(statuses)))


def over_grpc(port: int, method: str) -> str:
    """The status of a call without the token."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary(method)
        with pytest.raises(grpc.RpcError) as refusal:
            call(b"", timeout=30)
    return refusal.value.code().name
