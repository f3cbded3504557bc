"""A server on loopback that speaks the part of the Hugging Face Hub's API by which datasets are read, and models sent."""

from __future__ import annotations

import base64
import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "hf_of_u"  # pragma: allowlist secret
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class _Handler(BaseHTTPRequestHandler):
    """Answers for datasets in a folder, USER/NAME/REVISION/FILES, and for models in models/USER/NAME/REVISION/FILES.

    The login `TOKEN` may read everything and write models of the user `u`; a model with the file PRIVATE is for it alone.
    """

    folder: Path
    requests: list[str]

    def do_GET(self) -> None:
        self.requests.append(f"{self.command} {self.path}")
        parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
        if parts[:2] in (["api", "datasets"], ["api", "models"]) and len(parts) >= 4:
            top = self.folder / ("" if parts[1] == "datasets" else "models")
            self._describe(top / parts[2] / parts[3], parts[4:5], parts[5:])
        elif parts[0] == "datasets" and parts[3:4] == ["resolve"]:
            self._send_file(self.folder.joinpath(*parts[1:3], *parts[4:]))
        elif parts[2:3] == ["resolve"]:
            self._send_file(self.folder.joinpath("models", *parts[:2], parts[3].replace(COMMIT, "main"), *parts[4:]))
        else:
            self._answer(404, {})

    def _describe(self, repo: Path, what: list[str], rest: list[str]) -> None:
        revision = repo / (rest[0].replace(COMMIT, "main") if rest else "main")
        if (repo / "PRIVATE").exists() and not self._is_known():
            self._answer(401, {}, {"X-Error-Code": "RepoNotFound"})
        elif what == ["preupload"]:
            modes = [
                {"path": one["path"], "uploadMode": "lfs" if one["path"].endswith(".safetensors") else "regular"}
                for one in json.loads(self._body())["files"]
            ]
            self._answer(200, {"files": [{**mode, "shouldIgnore": False} for mode in modes]})
        elif what == ["commit"]:
            self._commit(repo)
        elif not revision.is_dir():
            self._answer(404, {}, {"X-Error-Code": "RevisionNotFound" if repo.is_dir() else "RepoNotFound"})
        elif what in ([], ["revision"]):
            files = [{"rfilename": path.relative_to(revision).as_posix()} for path in sorted(revision.rglob("*.*"))]
            facts = {"id": "/".join(repo.parts[-2:]), "sha": COMMIT, "private": False, "tags": [], "siblings": files}
            self._answer(200, facts)
        elif what == ["tree"]:
            recursive = parse_qs(urlsplit(self.path).query).get("recursive", ["false"])[0].lower() == "true"
            top = revision.joinpath(*rest[1:])
            found = sorted(top.rglob("*") if recursive else top.glob("*"))
            self._answer(200 if top.is_dir() else 404, [self._entry(path, revision) for path in found])
        elif what == ["paths-info"]:
            body = self._body()
            named = json.loads(body)["paths"] if body.startswith("{") else parse_qs(body)["paths"]
            paths = [revision / name for name in named]
            self._answer(200, [self._entry(path, revision) for path in paths if path.exists()])

    def do_POST(self) -> None:
        """Takes what a push sends; everything else is a question."""
        place = urlsplit(self.path).path
        if place == "/api/repos/create":
            self.requests.append(f"{self.command} {self.path}")
            asked = json.loads(self._body())
            owner = asked.get("organization") or "u"
            if not self._is_known():
                self._answer(401, {"error": "Invalid credentials"})
            elif owner != "u":
                self._answer(403, {"error": "You don't have the rights"})
            else:
                repo = self.folder / "models" / owner / asked["name"]
                (repo / "main").mkdir(parents=True, exist_ok=True)
                if asked.get("private"):
                    (repo / "PRIVATE").touch()
                self._answer(200, {"url": f"http://{self.headers['Host']}/{owner}/{asked['name']}"})
        elif place == "/api/validate-yaml":
            self.requests.append(json.loads(self._body())["content"])
            self._answer(200, {"errors": [], "warnings": []})
        elif place.endswith("/info/lfs/objects/batch"):
            where = f"http://{self.headers['Host']}/lfs/"
            objects = [
                {**one, "actions": {"upload": {"href": where + one["oid"]}}}
                for one in json.loads(self._body())["objects"]
            ]
            self._answer(200, {"transfer": "basic", "objects": objects})
        else:
            self.do_GET()

    def do_PUT(self) -> None:
        (self.folder / Path(self.path).name).write_bytes(self.rfile.read(int(self.headers["Content-Length"])))
        self._answer(200, {})

    def _commit(self, repo: Path) -> None:
        for line in map(json.loads, self._body().splitlines()):
            value = line["value"]
            if line["key"] == "file":
                (repo / "main" / value["path"]).write_bytes(base64.b64decode(value["content"]))
            elif line["key"] == "lfsFile":
                (repo / "main" / value["path"]).write_bytes((self.folder / value["oid"]).read_bytes())
        url = f"http://{self.headers['Host']}/{'/'.join(repo.parts[-2:])}/commit/{COMMIT}"
        self._answer(200, {"commitUrl": url, "commitOid": COMMIT, "hookOutput": ""})

    def _is_known(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _body(self) -> str:
        return self.rfile.read(int(self.headers["Content-Length"])).decode()

    do_HEAD = do_GET  # noqa: N815  a name of the standard library

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
    """Serves the datasets and models of a folder; yields the server's address, and the requests it has had."""
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
