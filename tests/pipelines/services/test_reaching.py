"""Servers of the environment that cannot be used are named in one sentence before anything starts."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from pipelines.services import Services, reaching
from pipelines.services.embedded import VARIABLES
from pipelines.services.lease import variables
from tests.recording import recording
from vae.errors import ServiceError

pytestmark = pytest.mark.servers("services")


@contextmanager
def closed() -> Iterator[str]:
    """The address of a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    yield f"http://127.0.0.1:{port}"


@contextmanager
def silent() -> Iterator[str]:
    """The address of a server that accepts connections and answers none."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@contextmanager
def page() -> Iterator[str]:
    """The address of a web site, as a path prefix that is left out leads to one."""
    with recording(body="<html>", kind="text/html; charset=utf-8") as site:
        yield site.address


@contextmanager
def broken() -> Iterator[str]:
    """The address of a server whose database is away."""
    with recording(503) as site:
        yield site.address


@pytest.mark.usefixtures("no_servers")
@pytest.mark.parametrize("name", VARIABLES)
@pytest.mark.parametrize(
    ("server", "words"),
    [
        (closed, r"which refuses connections; start it, correct {variable}, or unset it"),
        (silent, r"which does not answer within 1 s; start it"),
        (
            page,
            r"which is not the address of .*: it answers 200 with text/html. Expected an address such as http://HOST:",
        ),
        (broken, r"which answers with error 503; look at the log of that server"),
    ],
)
def test_server_that_cannot_be_used_is_one_sentence(
    name: str, server: Callable[..., object], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sentence names the variable and comes within the limit, not after the client's own retries."""
    monkeypatch.setattr(reaching, "ANSWER_SECONDS", 1.0)
    begun = time.monotonic()
    with server() as address, pytest.raises(ServiceError, match=words.format(variable=VARIABLES[name])) as refused:
        reaching.check({name: address})
    assert time.monotonic() - begun < 8
    assert str(refused.value).startswith(f"{VARIABLES[name]} is {address}, ")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("address", ["auto", "ray://head:10001", "head:6379"])
def test_ray_address_of_another_kind_says_where_the_right_one_is(address: str) -> None:
    """Ray's other forms of an address are refused with the place where `ray start` prints the one of the dashboard."""
    with pytest.raises(ServiceError, match=r"`ray start --head` prints it; by default it is http://HOST:8265"):
        reaching.check({"ray": address})


def test_real_servers_let_the_right_login_in_alone(services: Services) -> None:
    """The session's servers pass with their logins; a wrong one is refused by each, with the variable that holds it."""
    reaching.check(services.addresses)
    wrong = {
        "prefect": ("PREFECT_API_AUTH_STRING", "betaline:wrong"),
        "mlflow": ("MLFLOW_TRACKING_PASSWORD", "wrong"),
        "ray": ("RAY_AUTH_TOKEN", "wrong"),
    }
    for name, (variable, word) in wrong.items():
        with variables({variable: word}):
            sentence = reaching.trouble(name, services.addresses[name])
        assert sentence is not None
        assert "which refuses the login (40" in sentence
        assert variable.removesuffix("_TOKEN") in sentence
        assert word not in sentence


def test_server_of_another_kind_is_told_apart(services: Services) -> None:
    """Prefect's address without /api, and each server's address in another's variable, are no such server."""
    prefect, mlflow, ray = services.addresses.values()
    for name, address in (("prefect", services.prefect_url), ("prefect", mlflow), ("mlflow", prefect), ("mlflow", ray)):
        sentence = reaching.trouble(name, address)
        assert sentence is not None
        assert "which is not the address of" in sentence or "refuses the login" in sentence
