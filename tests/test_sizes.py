"""Files and functions stay small enough to be read at one sitting."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MOST_LINES, MOST_LINES_OF_FUNCTION = 400, 40
ROOMS = ("vae", "tuning", "pipelines", "tests", "docs")


@pytest.mark.parametrize("room", ROOMS)
def test_files_and_functions_are_short(room: str) -> None:
    """No file has more than 400 lines, and no function more than 40, from `def` to its end."""
    sizes: dict[str, int] = {}
    for file in sorted((ROOT / room).rglob("*.py")):
        text, name = file.read_text(encoding="utf-8"), str(file.relative_to(ROOT))
        sizes[name] = len(text.splitlines()) - MOST_LINES
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                sizes[f"{name}:{node.lineno} {node.name}"] = lines - MOST_LINES_OF_FUNCTION
    assert {where: excess for where, excess in sizes.items() if excess > 0} == {}
