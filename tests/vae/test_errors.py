"""Errors that come back from another process."""

from __future__ import annotations

import pytest

from vae import errors
from vae.errors import BetalineError, ClusterError, ClusterLost, CorruptData, rebuild


@pytest.mark.parametrize("error", [CorruptData("shard 3"), ClusterLost("gone"), BetalineError("x")])
def test_rebuild_is_the_error_that_was_written_down(error) -> None:
    """Class and message survive as two strings."""
    found = rebuild(type(error).__name__, str(error))
    assert (type(found), str(found)) == (type(error), str(error))


@pytest.mark.parametrize("name", ["SystemError", "rebuild", "annotations", "__name__", ""])
def test_rebuild_of_another_name_says_it(name) -> None:
    """What is none of these errors comes back as a ClusterError with its name."""
    found = rebuild(name, "x")
    assert (type(found), str(found)) == (ClusterError, f"{name}: x")


def test_every_error_is_in_the_drawing() -> None:
    """The drawing at the top of the file leaves none out."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, BetalineError)]
    assert len(kinds) > 5
    assert [kind.__name__ for kind in kinds if f"─ {kind.__name__} " not in (errors.__doc__ or "")] == ["BetalineError"]
