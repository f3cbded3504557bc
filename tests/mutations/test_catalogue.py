"""The catalogue of mutations fits the code: each can be planted, and has tests that exist."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.mutations.catalogue import GROUPS, every_mutation, read
from tests.mutations.mutation import Mutation, Planted, check_fits
from tests.mutations.running import ROOT

LEAST = 60


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.stem)
def test_mutations_fit_the_code(group: Path) -> None:
    """Each replaces code that occurs once by other code that compiles."""
    check_fits(read(group), ROOT)
    for planted in read(group):
        sound = ast.dump(ast.parse((ROOT / planted.file).read_text()))
        assert ast.dump(ast.parse(planted.source(ROOT), planted.file)) != sound, f"{planted} changes nothing"
        assert planted.mutation.harm.endswith("."), planted


def test_mutations_have_tests_that_exist() -> None:
    """Each names functions of test files, or whole files."""
    for planted in every_mutation():
        assert planted.mutation.tests, planted
        for test in planted.mutation.tests:
            file, _, function = test.partition("::")
            text = (ROOT / file).read_text()
            assert not function or f"def {function.partition('[')[0]}(" in text, f"{planted}: {test} does not exist"


def test_mutations_are_many_and_different() -> None:
    """None is listed twice, and no product file has mutations in two files of the catalogue."""
    listed = [(planted.file, planted.mutation.old, planted.mutation.new) for planted in every_mutation()]
    assert len(set(listed)) == len(listed) >= LEAST
    files = [file for group in GROUPS for file in {planted.file for planted in read(group)}]
    assert len(set(files)) == len(files)


def test_mutation_that_is_out_of_date_is_named() -> None:
    """Code that does not occur exactly once is an error that names the mutation, the file and the count."""
    gone = [Planted("vae/seeds.py", Mutation(old, "other", "Nothing.", ())) for old in ("no such code", "state")]
    match = r"`no such code` → `other`: .* found it 0 times\nvae/seeds.py: `state` .* found it 1\d times"
    with pytest.raises(ValueError, match=match):
        check_fits(gone, ROOT)


def test_incomplete_mutation_is_named(tmp_path: Path) -> None:
    """An entry without code, fault or tests is an error that quotes its first line."""
    (tmp_path / "x.diff").write_text("# X.\n\n## vae/seeds.py, tests/vae/test_seeds.py\n\nNothing.\n- state\n+ other\n")
    with pytest.raises(ValueError, match=r"x\.diff: .*'Nothing\.'"):
        list(read(tmp_path / "x.diff"))
