"""Words for the files that an ingest leaves aside."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

_COMPANIONS = ("readme", "license", "licence", "copying", "changelog", "notice", "citation", "authors")
"""Names, without their endings, of files that describe a source."""
_OTHER_IMAGES = (
    ".heic", ".heif", ".avif", ".jxl", ".jp2", ".j2k", ".svg", ".psd", ".tga", ".ppm", ".pgm", ".pbm", ".ico", ".dng",
    ".cr2", ".nef", ".arw", ".raw", ".dcm", ".exr", ".hdr", ".pdf",
)  # fmt: skip
"""Endings of images that no source reads."""
_NAMED = 2
"""Most files of one ending that are named; more are counted."""


def is_companion(path: str) -> bool:
    """Returns whether a file describes a source, such as README.txt or columns.yaml."""
    name = PurePosixPath(path).name.lower()
    return name.split(".")[0] in _COMPANIONS or name == "columns.yaml"


def counted(paths: Sequence[str]) -> str:
    """Returns the number of files of each ending, the most frequent first."""
    return _listed(paths, named=0)


def describe_aside(paths: Sequence[str]) -> list[str]:
    """Returns what to say of files that are left aside."""
    images = [path for path in paths if path.lower().endswith(_OTHER_IMAGES)]
    rest = sorted(set(paths) - set(images))
    notes = [f"{counted(images)} left out. Convert them to PNG to take them"] if images else []
    return notes + ([f"{_listed(rest, named=_NAMED)} left aside"] if rest else [])


def patterns_of(paths: Sequence[str]) -> str:
    """Returns patterns that all the paths fit, as a shell's argument."""
    endings = sorted({PurePosixPath(path).suffix for path in paths})
    return f"'{json.dumps([f'*{ending}' for ending in endings])}'"


def _listed(paths: Sequence[str], named: int) -> str:
    endings = Counter(PurePosixPath(path).suffix.lower() for path in paths)
    few = {ending for ending, number in endings.items() if number <= named}
    counts = [
        f"{number:,} {ending or 'without an ending'}" for ending, number in endings.most_common() if ending not in few
    ]
    return ", ".join([*counts, *(path for path in paths if PurePosixPath(path).suffix.lower() in few)])
