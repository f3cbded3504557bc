"""What is wrong with a source: collected first, then told all at once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from vae.errors import DataError

SHOWN = 20


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, and where."""

    path: str
    """Relative to the source; empty where the source as a whole is meant."""
    what: str
    """What is wrong: expected against found."""
    row: int | None = None
    """The line of a text file, or the position of an array's or table's row, from 1 and from 0
    respectively."""
    column: str | None = None
    text: str | None = None
    """The offending line or value, where it is short."""

    def __str__(self) -> str:
        where = [self.path] if self.path else []
        where += [] if self.row is None else [f"row {self.row}"]
        where += [] if self.column is None else [f"column {self.column!r}"]
        return f"{', '.join(where)}: {self.what}" if where else self.what


class RejectedSource(DataError):  # noqa: N818  named for what happened
    """A source was refused. Carries every problem; the message shows the first twenty.

    Args:
        source: How the user named the source.
        problems: All that is wrong; at least one.
        advice: What to do about it.
        errors_file: Where all of them are written, once they are.
    """

    def __init__(self, source: str, problems: Sequence[Problem], advice: str, errors_file: str | None = None) -> None:
        assert problems
        self.source, self.problems, self.advice, self.errors_file = (
            source,
            tuple(problems),
            advice,
            errors_file,
        )
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
    """The problems of a source, as the JSON file beside its dataset holds them."""
    found = {"source": source, "num_problems": len(problems), "problems": [asdict(p) for p in problems]}
    return json.dumps(found, indent=1, ensure_ascii=False).encode()
