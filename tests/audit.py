"""Secrets in the repository and known vulnerabilities of pinned packages: `python -m tests.audit`, run by `make check`.

If no service of advisories can be reached, the packages are not checked, and the output says so.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
from detect_secrets.core.scan import scan_file
from detect_secrets.settings import transient_settings

ROOT = Path(__file__).parents[1]
CONSTRAINTS = ROOT / "constraints.txt"
ACCEPTED: dict[str, str] = {}
"""Advisories that do not concern this project, with the reasons."""

NO_SECRETS = [
    r"secretName: betaline",  # the name of an object of Kubernetes
    r"INSERT INTO \"alembic_version\"",  # the number of a database's schema
]
"""Regular expressions of lines that only look as if they held a secret."""
NOISY = {"Base64HighEntropyString", "IPPublicDetector"}
NOISY_IN_TESTS = {*NOISY, "HexHighEntropyString", "KeywordDetector", "BasicAuthDetector"}
"""Detectors that find the digests and made-up passwords of tests."""
FILTERS = ("allowlist.is_line_allowlisted", "heuristic.is_sequential_string", "heuristic.is_templated_secret")

KNOWN_TO_BE_VULNERABLE = "requests==2.19.0"
"""A package with known vulnerabilities. A service that reports none, such as a mirror of packages, has no advisories."""


class NoAdvisories(Exception):  # noqa: N818  named for what is missing
    """Raised if no service of advisories can be asked."""


@dataclass(frozen=True)
class Advisory:
    """A known vulnerability of a pinned package."""

    package: str
    name: str
    mended_in: str

    def __str__(self) -> str:
        return f"{self.package}: {self.name}, mended in {self.mended_in or 'no version yet'}"


def secrets_in(files: Iterable[Path], root: Path = ROOT) -> Iterator[str]:
    """Yields what looks like a secret, as FILE:LINE: KIND; never the secret itself."""
    detectors = {one.__name__ for one in get_mapping_from_secret_type_to_class().values()}
    filters = [{"path": f"detect_secrets.filters.{name}"} for name in FILTERS]
    filters.append({"path": "detect_secrets.filters.regex.should_exclude_line", "pattern": NO_SECRETS})
    of_tests, others = [], []
    for file in files:
        (of_tests if file.relative_to(root).parts[0] == "tests" else others).append(file)
    for group, noisy in ((of_tests, NOISY_IN_TESTS), (others, NOISY)):
        plugins = [{"name": name} for name in sorted(detectors - noisy)]
        with transient_settings({"plugins_used": plugins, "filters_used": filters}):
            for file in group:
                for found in scan_file(str(file)):
                    yield f"{file.relative_to(root)}:{found.line_number}: {found.type}"


def tracked_files(root: Path = ROOT) -> list[Path]:
    """Returns the files of the repository that git tracks."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=True).stdout
    return [root / name for name in names.split("\0") if name and (root / name).is_file()]


def advisories(requirements: str) -> list[Advisory]:
    """Returns the known vulnerabilities of pinned packages, without the accepted ones.

    Raises:
        NoAdvisories: If no service of advisories can be asked.
    """
    try:
        known = _ask(KNOWN_TO_BE_VULNERABLE)
    except RuntimeError as error:
        raise NoAdvisories(str(error)) from None
    if not known:
        raise NoAdvisories(f"what answers knows of no vulnerability in {KNOWN_TO_BE_VULNERABLE}")
    return [found for found in _ask(requirements) if found.name not in ACCEPTED]


def _ask(requirements: str) -> list[Advisory]:
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(requirements)
        file.flush()
        options = ("--no-deps", "--disable-pip", "--progress-spinner", "off", "--timeout", "10", "--format", "json")
        command = [sys.executable, "-m", "pip_audit", "--requirement", file.name, *options]
        done = subprocess.run(command, capture_output=True, text=True)
    if not done.stdout:
        raise RuntimeError(f"pip-audit ended with {done.returncode}: {done.stderr.strip().splitlines()[-1]}")
    return [
        Advisory(f"{package['name']}=={package['version']}", found["id"], ", ".join(found["fix_versions"]))
        for package in json.loads(done.stdout)["dependencies"]
        for found in package.get("vulns", [])
    ]


def main() -> int:
    """Prints the findings; returns the exit status, which is 0 without findings, and without a service to ask."""
    files = tracked_files()
    found = [f"secret: {secret}" for secret in secrets_in(files)]
    print(f"{len(files)} files looked through for secrets")
    try:
        found += [f"vulnerable: {advisory}" for advisory in advisories(CONSTRAINTS.read_text())]
        print("pinned packages looked up for vulnerabilities")
    except NoAdvisories as error:
        print(f"pinned packages NOT looked up for vulnerabilities: there is no service to ask ({error})")
    print(*found, sep="\n", file=sys.stderr, end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
