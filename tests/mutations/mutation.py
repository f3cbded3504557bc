"""A mutation: a fault that is planted in one line of the code, and the tests that must fail on it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Mutation:
    """A fault of one line. `tests` must fail on it and pass without it."""

    old: str
    """A piece of the code that occurs in its file exactly once."""
    new: str
    """The faulty code that replaces it."""
    harm: str
    """Consequence for a user, in one sentence."""
    tests: tuple[str, ...]
    """Ids of pytest, relative to the repository."""


@dataclass(frozen=True)
class Planted:
    """A mutation and the file that it belongs in."""

    file: str
    """Path relative to the repository."""
    mutation: Mutation

    def __str__(self) -> str:
        old, new = (" ".join(text.split()) for text in (self.mutation.old, self.mutation.new))
        return f"{self.file}: `{old}` → `{new}`"

    def source(self, root: Path) -> str:
        """Returns the faulty source of the file under a repository's root."""
        return (root / self.file).read_text().replace(self.mutation.old, self.mutation.new)


def check_fits(mutations: Iterable[Planted], root: Path) -> None:
    """Checks that the old code of each mutation occurs exactly once in its file.

    Raises:
        ValueError: If some do not; names each.
    """
    faults = []
    for planted in mutations:
        count = (root / planted.file).read_text().count(planted.mutation.old)
        if count != 1:
            faults.append(f"{planted}: expected the old code once in the file, found it {count} times")
    if faults:
        raise ValueError("\n".join(["bring tests/mutations/ up to date with the code:", *faults]))
