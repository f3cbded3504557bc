"""The catalogue of mutations, read from the files `tests/mutations/*.diff`.

A file looks like this. Tests that a line does not name by their file are in the file named after the section's.

    # Mutations of the data: batches and their order

    ## vae/data/batches.py, tests/vae/data/test_batches.py

    Every epoch would show the examples in the same order.
    - derive(seed, Stream.PERMUTATION, *keys)
    + derive(seed, Stream.PERMUTATION)
    ! test_permutation_depends_on_every_key

Lines with `-` are the code, verbatim, which occurs once in its file; lines with `+` the fault; lines with `!` the tests.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.mutations.mutation import Mutation, Planted

GROUPS = sorted(Path(__file__).parent.glob("*.diff"))


def every_mutation() -> list[Planted]:
    """Returns all mutations of all files."""
    return [planted for group in GROUPS for planted in read(group)]


def read(group: Path) -> Iterator[Planted]:
    """Yields the mutations of one file of the catalogue."""
    file = tests_file = ""
    for block in group.read_text(encoding="utf-8").split("\n\n"):
        if block.startswith("## "):
            file, tests_file = block.removeprefix("## ").split(", ")
        elif not block.startswith("#"):
            harm, *lines = block.strip("\n").split("\n")
            old, new, tests = ([line[2:] for line in lines if line.startswith(sign)] for sign in "-+!")
            if not (old and new and tests):
                raise ValueError(f"{group.name}: expected lines with -, + and ! below {harm!r}")
            named = tuple(test if "/" in test.partition("[")[0] else f"{tests_file}::{test}" for test in tests)
            yield Planted(file, Mutation("\n".join(old), "\n".join(new), harm, named))
