"""HTTP proxies of the environment: what goes past them, so that no request to this machine leaves it.

HTTP_PROXY, HTTPS_PROXY and ALL_PROXY, in either case, also mean requests to loopback, unless NO_PROXY says otherwise. Ray's
own gRPC connections use no proxy.
"""

from __future__ import annotations

import os
import urllib.request
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

LOCAL = ("localhost", "127.0.0.1", "::1", "169.254.169.254", "metadata.google.internal")
"""Names of this machine, and of the server in which a cloud keeps its facts and credentials, if it is a cloud's."""
_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


def spared(addresses: Iterable[str] = (), environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Returns NO_PROXY in both cases with this machine and some hosts added; nothing without a proxy in the environment.

    Args:
        addresses: URLs of servers that are reached directly.
        environment: Variables of the process.
    """
    if not any(environment.get(name) or environment.get(name.lower()) for name in _VARIABLES):
        return {}
    given = ",".join(filter(None, (environment.get("no_proxy"), environment.get("NO_PROXY"))))
    hosts = [entry.strip() for entry in given.split(",") if entry.strip()]
    if "*" in hosts:
        return {"NO_PROXY": "*", "no_proxy": "*"}  # some clients know the star only alone
    direct = [*hosts, *LOCAL, *(host for address in addresses if (host := urlsplit(address).hostname))]
    text = ",".join(dict.fromkeys(direct))
    return {"NO_PROXY": text, "no_proxy": text}


def proxy_for(url: str) -> str | None:
    """Returns the address of the proxy through which a URL is requested, without its password; None if directly."""
    parts = urlsplit(url)
    proxies = urllib.request.getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or parts.hostname is None or urllib.request.proxy_bypass(parts.hostname):
        return None
    scheme, mark, place = proxy.rpartition("://")
    return f"{scheme}{mark}{place.rpartition('@')[2]}"
