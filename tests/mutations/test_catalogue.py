"""The list of mutations fits the code: each can be planted, and has tests that exist."""

from __future__ import annotations

import ast

import pytest

from tests.mutations.catalogue import GROUPS, every_mutation
from tests.mutations.mutation import Mutation, Planted, check_fits
from tests.mutations.running import ROOT

LEAST = 60


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.__name__.rpartition(".")[2])
def test_mutations_fit_the_code(group: object) -> None:
    """Each replaces code that occurs once by other code that compiles."""
    check_fits([one for one in every_mutation() if one.file in group.MUTATIONS], ROOT)  # pyright: ignore
    for file, mutations in group.MUTATIONS.items():  # pyright: ignore[reportAttributeAccessIssue]
        sound = ast.dump(ast.parse((ROOT / file).read_text()))
        for mutation in mutations:
            planted = Planted(file, mutation)
            assert ast.dump(ast.parse(planted.source(ROOT), file)) != sound, f"{planted} changes nothing"
            assert mutation.harm.endswith("."), planted


def test_mutations_have_tests_that_exist() -> None:
    """Each names functions of test files, or whole files."""
    for planted in every_mutation():
        assert planted.mutation.tests, planted
        for test in planted.mutation.tests:
            file, _, function = test.partition("::")
            text = (ROOT / file).read_text()
            assert not function or f"def {function.partition('[')[0]}(" in text, f"{planted}: {test} does not exist"


def test_mutations_are_many_and_different() -> None:
    """None is listed twice, and no file by two modules."""
    found = [(planted.file, planted.mutation.old, planted.mutation.new) for planted in every_mutation()]
    assert len(set(found)) == len(found) >= LEAST
    files = [file for group in GROUPS for file in group.MUTATIONS]
    assert len(set(files)) == len(files)


def test_mutation_that_is_out_of_date_is_named() -> None:
    """Code that is not found once is an error that says which and where."""
    gone = [Planted("vae/seeds.py", Mutation(old, "other", "Nothing.", ())) for old in ("no such code", "state")]
    with pytest.raises(
        ValueError, match=r"`no such code` → `other`: .* found it 0 times\nvae/seeds.py: `state` .* found it 1\d times"
    ):
        check_fits(gone, ROOT)
