"""Servers that the environment names: whether each answers, is what it should be, and lets this user in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import requests

from pipelines.services.embedded import VARIABLES
from pipelines.services.lease import variables
from pipelines.services.proxies import proxy_for, spared
from vae.errors import ClusterError, ServiceError

CONNECT_SECONDS, ANSWER_SECONDS = 4.0, 8.0


def check(addresses: Mapping[str, str]) -> None:
    """Checks servers, all at the same time, so that a run does not find out later what is wrong.

    Args:
        addresses: URL of each server, by its name: "prefect", "mlflow" or "ray".

    Raises:
        ServiceError: If one of them cannot be used; names its variable and says why.
    """
    direct = variables(spared([addresses.get("ray", "")]))
    with direct, ThreadPoolExecutor(len(VARIABLES)) as threads:
        found = dict(zip(addresses, threads.map(trouble, addresses, addresses.values()), strict=True))
    if sentences := [sentence for sentence in found.values() if sentence]:
        raise ServiceError("; ".join(sentences))


def trouble(name: str, url: str) -> str | None:
    """Returns in one sentence why a server cannot be used, with what to do; None if it can.

    The request carries the user's credentials, because many servers answer a health check to anybody.
    """
    door = DOORS[name]
    if name == "mlflow" and not url.startswith(("http://", "https://")):
        return None  # a database or a plug-in of MLflow's, which only MLflow can judge
    subject = f"{VARIABLES[name]} is {without_login(url)}, "
    try:
        answer = door.ask(url.rstrip("/"))
    except ClusterError as error:
        return str(error)
    except requests.RequestException as error:
        past = f"add {urlsplit(url).hostname} to NO_PROXY, " if proxy_for(url) else ""
        advice = f"start it, {past}correct {VARIABLES[name]}, or unset it to use an embedded one"
        return f"{subject}{_silence(url, error)}; {advice}"
    if answer.status_code in (401, 403):
        return f"{subject}which refuses the login ({answer.status_code}); set {door.login}"
    if answer.status_code >= 500:
        return f"{subject}which answers with error {answer.status_code}; look at the log of that server"
    if not door.is_right(answer):
        kind = answer.headers.get("Content-Type", "nothing").partition(";")[0]
        return (
            f"{subject}which is not the address of {door.title}: it answers {answer.status_code} with {kind}. "
            f"Expected an address such as {door.example}"
        )
    return None


@dataclass(frozen=True)
class _Door:
    """A kind of server, with a request to it that needs a login."""

    title: str
    ask: Callable[[str], requests.Response]
    """Returns the answer of the server at a URL; raises what `requests` raises."""
    is_right: Callable[[requests.Response], bool]
    """Whether an answer is one of that kind of server."""
    login: str
    """Variables that hold the login."""
    example: str
    """Address of such a server."""


def _ask_prefect(url: str) -> requests.Response:
    from prefect.settings import get_current_settings

    api = get_current_settings().api
    headers = {"Authorization": f"Bearer {api.key.get_secret_value()}"} if api.key else {}
    auth = tuple(api.auth_string.get_secret_value().split(":", 1)) if api.auth_string else None
    return _get(f"{url}/admin/version", headers=headers, auth=auth)


def _ask_mlflow(url: str) -> requests.Response:
    from pipelines.models.tracking import ask_server

    return ask_server(url, (CONNECT_SECONDS, ANSWER_SECONDS))


def _ask_ray(url: str) -> requests.Response:
    from pipelines.cluster.resources import cluster_at

    cluster = cluster_at(url)
    return _get(f"{cluster.address}/api/v0/nodes?limit=1", headers=cluster.headers)


def _get(url: str, **options: Any) -> requests.Response:
    return requests.get(url, timeout=(CONNECT_SECONDS, ANSWER_SECONDS), **options)


def _holds(answer: requests.Response, kind: type) -> bool:
    try:
        return answer.status_code == 200 and isinstance(answer.json(), kind)
    except requests.JSONDecodeError:
        return False


def _is_prefect(answer: requests.Response) -> bool:
    # Prefect Cloud has no such route, and refuses a wrong key before it says so.
    return _holds(answer, str) or (urlsplit(answer.url).hostname or "").endswith(".prefect.cloud")


DOORS = {
    "prefect": _Door(
        "Prefect's API",
        _ask_prefect,
        _is_prefect,
        "PREFECT_API_AUTH_STRING to USER:PASSWORD, or PREFECT_API_KEY",
        "http://HOST:4200/api",
    ),
    "mlflow": _Door(
        "an MLflow server",
        _ask_mlflow,
        lambda answer: _holds(answer, dict),
        "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN",
        "http://HOST:5000, with the path prefix that the server has",
    ),
    "ray": _Door(
        "a Ray dashboard",
        _ask_ray,
        lambda answer: _holds(answer, dict),
        "RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH to the file that holds its token",
        "http://HOST:8265, as `ray start --head` prints it",
    ),
}


def _silence(url: str, error: requests.RequestException) -> str:
    """Returns in words why a request got no answer."""
    text, proxy = str(error), proxy_for(url)
    way = f" through the proxy {proxy}" if proxy else ""
    match error:
        case (
            requests.exceptions.MissingSchema() | requests.exceptions.InvalidSchema() | requests.exceptions.InvalidURL()
        ):
            return "which is not an http(s) address"
        case requests.exceptions.SSLError():
            return f"whose TLS certificate is refused{way}"
        case _ if "timed out" in text:
            return f"which does not answer within {ANSWER_SECONDS:.0f} s{way}"
        case _ if "Connection refused" in text:
            return f"and the proxy {proxy} refuses connections" if proxy else "which refuses connections"
        case _ if "Failed to resolve" in text:
            unknown = urlsplit(proxy or url).hostname
            return f"and the host {unknown} is unknown"
        case _:
            return f"which cannot be reached{way}: {text[:200]}"


def without_login(url: str) -> str:
    """Returns a URL without the user and the password that it may carry."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
