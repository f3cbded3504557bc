"""Verdicts on mutations of a small repository of one function and its tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutations import running
from tests.mutations.mutation import Mutation, Planted
from tests.mutations.running import Outcome, Run, judge, outcomes

CODE = "def double(x):\n    return 2 * x\n"
TESTS = "from vae.double import double\n\n\ndef test_double():\n    assert double(2) == 4\n"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A function that doubles, and a test that does not tell doubling from adding 2."""
    for folder in ("vae", "tests"):
        (tmp_path / folder).mkdir()
    (tmp_path / "vae" / "double.py").write_text(CODE)
    (tmp_path / "tests" / "test_double.py").write_text(TESTS)
    (tmp_path / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")
    return tmp_path


def planted(new: str) -> Planted:
    return Planted("vae/double.py", Mutation("return 2 * x", new, "Wrong.", ("tests/test_double.py::test_double",)))


def test_mutation_is_killed_by_a_test_that_fails_and_by_nothing_else(repository: Path) -> None:
    """One is noticed, one is not, and code that cannot be imported proves nothing; the repository stays as it is."""
    noticed, missed, broken = planted("return 3 * x"), planted("return 2 + x"), planted("return 2\nimport nothing")
    found = {outcome.planted: outcome for outcome in outcomes([noticed, missed, broken], 2, repository)}
    assert [found[one].verdict for one in (noticed, missed, broken)] == ["killed", "survived", "broken"]
    assert found[noticed].reason.startswith("tests/test_double.py::test_double - assert 6 == 4")
    assert (repository / "vae" / "double.py").read_text() == CODE


def test_tests_that_fail_without_a_mutation_are_refused(repository: Path) -> None:
    """A test that fails anyway would kill every mutation."""
    (repository / "vae" / "double.py").write_text(
        CODE.replace("def", "# so as to fail\ndef").replace("2 * x", "2 * x + 1")
    )
    with pytest.raises(ValueError, match=r"these tests fail without a mutation:\n(.|\n)*assert 5 == 4"):
        list(outcomes([planted("return 3 * x")], 1, repository))


def test_tests_that_hang_have_noticed(repository: Path) -> None:
    """A run that takes too long is ended."""
    (repository / "vae" / "double.py").write_text(CODE.replace("return 2 * x", "while True:\n        pass"))
    run = running.run_tests(repository, ["tests/test_double.py"], longest_seconds=2.0)
    assert run.status is None
    assert judge(planted("return x"), run).verdict == "killed"


@pytest.mark.parametrize("status", [1, 2, 3, 4, 5])
def test_error_without_a_failed_test_is_no_kill(status: int) -> None:
    """Whatever pytest's exit status, a test must have failed."""
    run = Run(status, "ERROR tests/test_double.py::test_double - fixture 'x' not found", 0.1)
    assert judge(planted("return x"), run) == Outcome(planted("return x"), "broken", 0.1, run.tail)
