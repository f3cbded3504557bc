"""Docstrings are sentences that stand alone: a verb for a function or a command, a noun phrase for everything else."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
UNREAD = ("pipelines/data/apply",)
"""Rooms whose docstrings have not been rewritten yet."""
FILES = sorted(
    str(file.relative_to(ROOT))
    for room in ("vae", "tuning", "pipelines")
    for file in (ROOT / room).rglob("*.py")
    if not str(file.relative_to(ROOT)).startswith(UNREAD)
)
VERB = re.compile(r"r?[A-Z][a-z]+s\b")
IMPERATIVE = re.compile(r"[A-Z][a-z]+(?<!s)\b")
"""First word of a command's docstring, which is its help."""
FRAGMENT = re.compile(
    r"(Of|What|For|As|At|By|How|Where|That|In|To|From|With|Which|Who|When|Why|If|On|Beside|Whether (it|they|this))\b"
)
RIDDLE = re.compile(r"\b(is told|are told|was told|of which|is not there|so that it is there|it is asked for)\b")


class Docstring(NamedTuple):
    """A docstring and what it describes."""

    where: str
    text: str
    pattern: re.Pattern[str] | None
    """What its first line must match; None for anything but a function."""


def docstrings(file: str) -> Iterator[Docstring]:
    """Yields every docstring of a file, with those below fields and constants."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield Docstring(f"{file}:{getattr(node, 'lineno', 1)}", text, pattern_of(node))
        body = getattr(node, "body", [])
        if not isinstance(body, list):  # a lambda's
            continue
        for field, below in pairwise(body):
            if not (isinstance(field, ast.Assign | ast.AnnAssign) and isinstance(below, ast.Expr)):
                continue
            if isinstance(below.value, ast.Constant) and isinstance(below.value.value, str):
                yield Docstring(f"{file}:{below.lineno}", below.value.value, None)


def pattern_of(node: ast.AST) -> re.Pattern[str] | None:
    """Returns what the first line of a node's docstring must match."""
    decorators = [getattr(one, "func", one) for one in getattr(node, "decorator_list", [])]
    names = {getattr(one, "id", getattr(one, "attr", "")) for one in decorators}
    if isinstance(node, ast.Module | ast.ClassDef) or names & {"property", "cached_property"}:
        return None
    return IMPERATIVE if "command" in names else VERB


@pytest.mark.parametrize("file", FILES)
def test_docstrings_stand_alone(file: str) -> None:
    """Functions begin with a verb in the third person, commands with an imperative, the rest with a noun phrase."""
    wrong = []
    for found in docstrings(file):
        first = found.text.strip().split("\n", 1)[0]
        if (found.pattern and not found.pattern.match(first)) or FRAGMENT.match(first) or RIDDLE.search(found.text):
            wrong.append(f"{found.where}: {first}")
    assert not wrong, "\n".join(wrong)
