"""Problems of a source: collected first, then reported together."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from vae.errors import DataError

SHOWN = 20


@dataclass(frozen=True)
class Problem:
    """One problem, and its place."""

    path: str
    """Path relative to the source; empty for the source as a whole."""
    what: str
    """Description: what was expected and what was found."""
    row: int | None = None
    """Line of a text file, from 1, or position of a row in an array or a table, from 0."""
    column: str | None = None
    text: str | None = None
    """The bad line or value, if it is short."""

    def __str__(self) -> str:
        where = [self.path] if self.path else []
        where += [] if self.row is None else [f"row {self.row}"]
        where += [] if self.column is None else [f"column {self.column!r}"]
        return f"{', '.join(where)}: {self.what}" if where else self.what


class RejectedSource(DataError):  # noqa: N818  named for what happened
    """The refusal of a source. Holds every problem; the message shows the first twenty.

    Args:
        source: The source as the user named it.
        problems: All problems; at least one.
        advice: Instruction at the end of the message.
        errors_file: URI of the file with all problems, if it is written.
    """

    def __init__(self, source: str, problems: Sequence[Problem], advice: str, errors_file: str | None = None) -> None:
        assert problems
        self.source, self.problems, self.advice, self.errors_file = source, tuple(problems), advice, errors_file
        noun = "problem" if len(problems) == 1 else "problems"
        lines = [f"{source}: {len(problems):,} {noun}", *(f"  {problem}" for problem in problems[:SHOWN])]
        if len(problems) > SHOWN:
            lines.append(f"  … and {len(problems) - SHOWN:,} more")
        if errors_file:
            lines.append(f"All of them are in {errors_file}")
        lines.append(advice)
        super().__init__("\n".join(lines))

    def __reduce__(self) -> tuple[object, ...]:
        return RejectedSource, (self.source, self.problems, self.advice, self.errors_file)


def problems_as_json(source: str, problems: Sequence[Problem]) -> bytes:
    """Returns the problems of a source as the bytes of a JSON file."""
    listed = {"source": source, "num_problems": len(problems), "problems": [asdict(p) for p in problems]}
    return json.dumps(listed, indent=1, ensure_ascii=False).encode()
