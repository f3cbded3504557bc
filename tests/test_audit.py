"""The audit reports a planted secret and a vulnerable package, and says so if no service of advisories answers."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests import audit

# In pieces, or the audit would find them here.
AWS_KEY = "AKIA" + "QYLPMN5HHHFPZAM2"
GITHUB_TOKEN = "ghp_" + "wWPw5k4aXcaT4fNP0UcnZwJUVFk6LO0pINUx"
RAY_TOKEN = "64c6c15c04ae8c80b2ea9038ac4976ec" + "e76a2b0be50bbe661d68a685048aa268"


@pytest.mark.parametrize(
    ("path", "line", "kind"),
    [
        ("pipelines/keys.py", f'KEY = "{AWS_KEY}"', "AWS Access Key"),
        ("tests/keys.py", f'KEY = "{AWS_KEY}"', "AWS Access Key"),
        ("README.md", f"export TOKEN={GITHUB_TOKEN}", "GitHub Token"),
        ("infra/compose/compose.yaml", f'RAY_AUTH_TOKEN: "{RAY_TOKEN}"', "Hex High Entropy String"),
    ],
)
def test_secret_that_is_planted_is_found(path: str, line: str, kind: str, tmp_path: Path) -> None:
    """A key or a token in a file is reported with its place and kind, without its value."""
    file = tmp_path / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"\n{line}\n")
    (found,) = audit.secrets_in([file], tmp_path)
    assert found == f"{path}:2: {kind}"


def test_settings_of_the_cluster_hold_no_secret() -> None:
    """Infra/ holds the names of secrets, and no secret."""
    files = [file for file in audit.tracked_files() if file.relative_to(audit.ROOT).parts[0] == "infra"]
    assert len(files) > 15
    assert list(audit.secrets_in(files)) == []


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, list[str]]]:
    """A service of advisories on loopback that pip-audit asks, and what it knows: packages, and the names of advisories."""
    known: dict[str, list[str]] = {}

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            package = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["package"]
            mended = [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "9.9"}]}]
            vulns = [
                {"id": name, "affected": [{"package": package, "ranges": mended}]}
                for name in known.get(package["name"], [])
            ]
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"vulns": vulns} if vulns else {}).encode())

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("PIP_AUDIT_VULNERABILITY_SERVICE", "osv")
        monkeypatch.setenv("PIP_AUDIT_OSV_URL", f"http://127.0.0.1:{server.server_port}")
        yield known
        server.shutdown()
        thread.join()


@pytest.mark.slow  # pip-audit takes seconds to start
@pytest.mark.ci
def test_advisories_are_reported_unless_accepted(
    service: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pinned package with a known vulnerability is reported with the version that mends it; an accepted one is not."""
    service |= {"requests": ["OLD-1"], "flask": ["NEW-1", "NEW-2"]}
    monkeypatch.setattr(audit, "ACCEPTED", {"NEW-2": "it is about Windows"})
    (found,) = audit.advisories("# comments are passed over\nflask==3.1.3\nclick==8.5.1\n")
    assert str(found) == "flask==3.1.3: NEW-1, mended in 9.9"


@pytest.mark.slow  # pip-audit takes seconds to start
@pytest.mark.ci
def test_missing_advisories_are_no_clean_result(service: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """A service without advisories, or without an answer, is an error and not a clean result."""
    with pytest.raises(audit.NoAdvisories, match=r"knows of no vulnerability in requests==2\.19\.0"):
        audit.advisories("flask==3.1.3\n")
    monkeypatch.setenv("PIP_AUDIT_OSV_URL", "http://127.0.0.1:9")  # nothing listens there
    with pytest.raises(audit.NoAdvisories, match="pip-audit ended with 1"):
        audit.advisories("flask==3.1.3\n")


def test_audit_fails_on_a_finding_and_not_without_a_service(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The status is 0 without a service and 1 with a finding; both are printed."""

    def nobody(requirements: str) -> list[audit.Advisory]:
        raise audit.NoAdvisories("no network")

    monkeypatch.setattr(audit, "tracked_files", list)
    monkeypatch.setattr(audit, "advisories", nobody)
    assert audit.main() == 0
    assert "NOT looked up for vulnerabilities: there is no service to ask (no network)" in capsys.readouterr().out
    monkeypatch.setattr(audit, "advisories", lambda requirements: [audit.Advisory("flask==3.1.3", "NEW-1", "9.9")])
    assert audit.main() == 1
    assert capsys.readouterr().err == "vulnerable: flask==3.1.3: NEW-1, mended in 9.9\n"
