"""A server on loopback that speaks the part of the Hugging Face Hub's API that reading a dataset uses."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class _Handler(BaseHTTPRequestHandler):
    """Answers for datasets in a folder: USER/NAME/REVISION/FILES."""

    folder: Path
    requests: list[str]

    def do_GET(self) -> None:
        self.requests.append(f"{self.command} {self.path}")
        parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
        if parts[:2] == ["api", "datasets"] and len(parts) >= 4:
            dataset, what, rest = self.folder / parts[2] / parts[3], parts[4:5], parts[5:]
            revision = dataset / (rest[0] if rest else "main")
            if not revision.is_dir():
                self._answer(404, {}, {"X-Error-Code": "RevisionNotFound" if dataset.is_dir() else "RepoNotFound"})
            elif what in ([], ["revision"]):
                self._answer(
                    200, {"id": "/".join(parts[2:4]), "sha": COMMIT, "private": False, "tags": [], "siblings": []}
                )
            elif what == ["tree"]:
                recursive = parse_qs(urlsplit(self.path).query).get("recursive", ["false"])[0].lower() == "true"
                top = revision.joinpath(*rest[1:])
                found = sorted(top.rglob("*") if recursive else top.glob("*"))
                self._answer(200 if top.is_dir() else 404, [self._entry(path, revision) for path in found])
            elif what == ["paths-info"]:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                named = json.loads(body)["paths"] if body.startswith("{") else parse_qs(body)["paths"]
                paths = [revision / name for name in named]
                self._answer(200, [self._entry(path, revision) for path in paths if path.exists()])
        elif parts[0] == "datasets" and parts[3:4] == ["resolve"]:
            self._send_file(self.folder.joinpath(*parts[1:3], *parts[4:]))
        else:
            self._answer(404, {})

    do_POST = do_HEAD = do_GET  # noqa: N815  names of the standard library

    def log_message(self, format: str, *args: Any) -> None:
        """Prints nothing."""

    @staticmethod
    def _entry(path: Path, root: Path) -> dict[str, Any]:
        kind = "directory" if path.is_dir() else "file"
        return {"type": kind, "path": path.relative_to(root).as_posix(), "oid": COMMIT, "size": path.stat().st_size}

    def _send_file(self, path: Path) -> None:
        if not path.is_file():
            self._answer(404, {}, {"X-Error-Code": "EntryNotFound"})
            return
        data, status, headers = path.read_bytes(), 200, {"ETag": f'"{COMMIT}"', "X-Repo-Commit": COMMIT}
        if asked := self.headers.get("Range"):
            first, _, last = asked.removeprefix("bytes=").partition("-")
            stop = int(last) + 1 if last else len(data)
            headers["Content-Range"] = f"bytes {first}-{stop - 1}/{len(data)}"
            data, status = data[int(first) : stop], 206
        self._send(status, data, headers)

    def _answer(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        self._send(status, json.dumps(content).encode(), {"Content-Type": "application/json", **(headers or {})})

    def _send(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Serves the datasets of a folder; yields the server's address, and the requests it has had."""
    requests: list[str] = []
    handler = type("Handler", (_Handler,), {"folder": folder, "requests": requests})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", requests
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
