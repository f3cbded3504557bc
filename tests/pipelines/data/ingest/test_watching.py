"""A watched source is ready when it has changed and come to rest."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipelines.data.ingest.watching import Watch, fingerprint
from vae.errors import DataError


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder with a file in a folder."""
    (tmp_path / "source" / "cats").mkdir(parents=True)
    (tmp_path / "source" / "cats" / "1.png").write_bytes(b"1")
    return tmp_path / "source"


def test_source_is_ready_when_two_looks_agree(source: Path, tmp_path: Path) -> None:
    """A file that grows between two looks puts it off; what is done with is unchanged until a file comes or goes."""

    def look() -> str:
        return Watch(str(tmp_path / "home"), "cats", str(source)).look()[0]  # anew, as each flow run does

    assert look() == "changing"
    (source / "cats" / "1.png").write_bytes(b"12")
    assert [look(), look(), look()] == ["changing", "ready", "ready"]
    watch = Watch(str(tmp_path / "home"), "cats", str(source))
    watch.done(watch.look()[1])
    assert look() == "unchanged"
    (source / "cats" / "2.png").write_bytes(b"1")
    assert [look(), look()] == ["changing", "ready"]
    (source / "cats" / "2.png").unlink()
    assert look() == "unchanged"


def test_another_source_of_the_same_name_is_forgotten(source: Path, tmp_path: Path) -> None:
    """The state belongs to one source."""
    watch = Watch(str(tmp_path), "cats", str(source))
    watch.done(watch.look()[1])
    (tmp_path / "other").mkdir()
    assert Watch(str(tmp_path), "cats", str(tmp_path / "other")).look()[0] == "changing"


def test_fingerprint_tells_names_sizes_and_times_apart(source: Path) -> None:
    """Without reading a file; a folder without files has one too."""
    file = source / "cats" / "1.png"
    seen = {fingerprint(str(source))}
    renamed = source / "cats" / "3.png"
    for change in (lambda: os.utime(file, ns=(1, 1)), lambda: file.rename(renamed), renamed.unlink):
        change()
        seen.add(fingerprint(str(source)))
    (source / "dogs").mkdir()
    assert len(seen) == 4
    assert fingerprint(str(source)) in seen


def test_absent_source_is_refused(tmp_path: Path) -> None:
    """Or a mistyped folder would be watched for ever."""
    with pytest.raises(DataError, match="nowhere does not exist; a watched source must exist, and may be empty"):
        fingerprint(str(tmp_path / "nowhere"))
