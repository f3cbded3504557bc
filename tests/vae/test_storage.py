"""Files that are whole or absent."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from vae.errors import DataError
from vae.storage import locate, sha256_of, write_whole


def test_write_without_overwrite_has_one_winner(tmp_path) -> None:
    """Of many writers at once exactly one wins, and its bytes stay."""
    target = locate(str(tmp_path / "m"))
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda n: write_whole(target, b"%d" % n, overwrite=False), range(32)))
    assert won.count(True) == 1
    assert target.read() == b"%d" % won.index(True)
    assert os.listdir(tmp_path) == ["m"]


def test_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch) -> None:
    """When the disk is full the old bytes stay and nothing half-written is left."""
    target = locate(str(tmp_path / "m"))
    write_whole(target, b"old")

    def full(handle: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("vae.storage.os.fsync", full)
    with pytest.raises(DataError, match="no space left while writing"):
        write_whole(target, b"new")
    assert target.read() == b"old"
    assert os.listdir(tmp_path) == ["m"]


def test_sha256_is_of_the_bytes(tmp_path) -> None:
    """The digest of a known text, through a path and through a URI."""
    (tmp_path / "m").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_of(locate(str(tmp_path / "m"))) == expected
    assert sha256_of(locate((tmp_path / "m").as_uri())) == expected
