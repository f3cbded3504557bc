"""An HTTP proxy that records what it is asked, and answers for every host itself."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Recorded:
    """A server on loopback, as a proxy or as one that answers everything alike."""

    address: str = ""
    requests: list[str] = field(default_factory=list)
    """Method and target of each request, such as `CONNECT prefect.example:443`."""
    logins: list[str] = field(default_factory=list)
    """`Authorization` and `Proxy-Authorization` headers."""


@contextmanager
def recording(status: int = 200, body: str = "{}", kind: str = "application/json") -> Iterator[Recorded]:
    """Runs a server while the block runs, which gives one answer to all requests; CONNECT is refused."""
    seen = Recorded()

    class Handler(BaseHTTPRequestHandler):
        def handle_one_request(self) -> None:
            self.raw_requestline = self.rfile.readline(65537)
            self.close_connection = True
            if not self.raw_requestline or not self.parse_request():
                return
            seen.requests.append(f"{self.command} {self.path}")
            seen.logins += [value for name, value in self.headers.items() if name.lower().endswith("authorization")]
            self.send_response(403 if self.command == "CONNECT" else status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    seen.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=[0.05])
    thread.start()
    try:
        yield seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def through(proxy: Recorded) -> dict[str, str]:
    """Returns the variables that lead every request to a proxy, with a login of its own."""
    address = proxy.address.replace("://", "://user:word@")
    names = ("http_proxy", "https_proxy", "all_proxy")
    return {cased: address for name in names for cased in (name, name.upper())}
