"""The image holds what the servers import, runs as an unprivileged user, and contains nothing else."""

from __future__ import annotations

import re
import subprocess
import tomllib
from fnmatch import fnmatch
from typing import Any

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from tests.infra.files import COMPOSE, INFRA, ROOT, compose

CONTAINERFILE = INFRA / "image" / "Containerfile"


def _instructions() -> list[tuple[str, str]]:
    """The instructions of the Containerfile, with lines put together."""
    text = "\n".join(line for line in CONTAINERFILE.read_text().splitlines() if not line.startswith("#"))
    lines = [line for line in re.sub(r"\\\n\s*", "", text).splitlines() if line.strip()]
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]


def _project() -> dict[str, Any]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        return tomllib.load(file)["project"]


def _is_sent(path: str) -> bool:
    """Whether .dockerignore lets a path of the repository into the build."""
    sent = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if line and not line.startswith("#"):
            pattern = line.removeprefix("!")
            # A pattern means the root's entries, or with **/ those of every folder.
            parts = path.split("/") if pattern.startswith("**/") else path.split("/")[:1]
            if any(fnmatch(part, pattern.removeprefix("**/")) for part in parts):
                sent = line.startswith("!")
    return sent


def test_image_is_pinned_and_runs_as_nobody() -> None:
    """Both stages start from one image with a full version, of a Python that the project supports; the user is a number."""
    instructions = _instructions()
    arguments = dict(rest.split("=", 1) for word, rest in instructions if word == "ARG")
    assert [rest.split()[0] for word, rest in instructions if word == "FROM"] == ["${PYTHON_IMAGE}"] * 2
    version = re.fullmatch(r"python:(\d+\.\d+\.\d+)-slim-bookworm", arguments["PYTHON_IMAGE"])
    assert version
    assert version[1] in SpecifierSet(_project()["requires-python"])
    assert [rest for word, rest in instructions if word == "USER"] == ["${USER_ID}:${USER_ID}"]
    services = compose()["services"]
    assert services["mlflow"]["user"] == f"{arguments['USER_ID']}:{arguments['USER_ID']}"
    assert not {"ENTRYPOINT", "HEALTHCHECK", "ADD"} & {word for word, _ in instructions}


def test_image_is_made_of_what_it_copies_and_nothing_else() -> None:
    """Every source is in git and is sent to the builder; secrets, data, tests and history are not."""
    copied = [rest for word, rest in _instructions() if word == "COPY" and not rest.startswith("--from")]
    sources = [source for rest in copied for source in rest.split()[:-1]]
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    for source in sources:
        files = [file for file in tracked if file == source or file.startswith(f"{source}/")]
        assert files, source
        assert all(_is_sent(file) for file in files), source
    sent = {file.split("/")[0] for file in tracked if _is_sent(file)}
    assert sent == {source.split("/")[0] for source in sources}
    for kept in (".git/config", ".env", "infra/compose/.env", ".betaline/secrets/ray_token", "tests/conftest.py"):
        assert not _is_sent(kept), kept


def test_image_installs_what_the_servers_import() -> None:
    """The extra `cluster`, which the image installs, names what the settings of the servers imply."""
    (install,) = (rest for word, rest in _instructions() if word == "RUN" and "'.[cluster]'" in rest)
    assert "--constraint constraints.txt" in install
    project = _project()
    needed = [Requirement(line) for line in (*project["dependencies"], *project["optional-dependencies"]["cluster"])]
    names = {f"{one.name}[{extra}]" for one in needed for extra in one.extras} | {one.name for one in needed}
    text = COMPOSE.read_text()
    for told, package in {"psycopg2": "psycopg2-binary", "basic-auth": "mlflow[auth]", "s3://": "boto3"}.items():
        assert told in text
        assert package in names
