"""Files that are whole or absent."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.recording import recording
from vae.errors import DataError
from vae.storage import has_credentials, locate, sha256_of, write_whole


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


URIS = ["s3://b/home?region=x", "s3://b?region=x", "mock:///home", "fsspec+memory://b/home"]


def test_location_keeps_the_options_of_its_uri_at_the_end() -> None:
    """A name goes before the query, and `parent` takes it away again."""
    home = locate("s3://b/home?region=x&endpoint_override=h:9000/")
    runs = home / "runs" / "one"
    assert (runs.path, runs.uri) == ("b/home/runs/one", "s3://b/home/runs/one?region=x&endpoint_override=h:9000/")
    assert (runs.parent.parent.path, runs.parent.parent.uri) == (home.path, home.uri)
    assert (locate("s3://b/home/?region=x") / "runs").uri == "s3://b/home/runs?region=x"


@pytest.mark.parametrize("uri", [*URIS, "/tmp/home", "/", "file:///tmp/a%20b"])
@pytest.mark.parametrize("name", ["a b#c", "100%", "a%20b", "what?", "é+&=@:", "a/b c"])
def test_location_is_found_again_by_its_uri(uri, name) -> None:
    """Whatever is in a name, the URI of a place leads to that place, and so does that of the folder it is in."""
    place = locate(uri) / name
    again = locate(place.uri)
    assert (again.path, again.uri) == (place.path, place.uri)
    assert (place / "x").parent.path == place.path
    assert locate((place / "x").parent.uri).path == place.path


def test_local_location_is_named_by_its_plain_path(tmp_path) -> None:
    """A local place is shown as a shell takes it, whether it was given as a path or as a URI."""
    folder = tmp_path / "a b#c?d"
    for given in (str(folder), folder.as_uri()):
        assert (locate(given) / "x %").uri == f"{folder}/x %"
    assert locate("/x").parent.uri == "/"


@pytest.mark.parametrize(
    "uri",
    [
        "s3://key:hush@b/home",
        "s3://key:hu/sh@b/home?region=x",
        "s3://key:hu@sh@b/home",
        "s3://key:1hush@b/home",
        "abfs://:hush@account/c",
        "fsspec+sftp://user:hush@host/home",
        "abfs://c@account/x?tenant_id=1&client_secret=hush",
    ],
)
def test_uri_with_credentials_is_refused_unrepeated(uri) -> None:
    """A secret in a URI is refused by a message that says where it belongs and does not hold it."""
    with pytest.raises(DataError, match="Give credentials by the environment or the provider's own files") as caught:
        locate(uri)
    assert "hu" not in str(caught.value)


@pytest.mark.parametrize("uri", ["hdfs://host:8020/a@b", "gs://anonymous@b/x", "s3://b/a:b@c", "abfs://c@account/x"])
def test_uri_without_credentials_is_not_taken_for_one(uri) -> None:
    """A port, a user or container without a password, and an @ in a name are no credentials."""
    assert not has_credentials(uri)


def test_uri_with_a_fragment_is_refused() -> None:
    """What follows a # would be dropped without a word, and a file land in another folder."""
    with pytest.raises(DataError, match=r"what follows # would be lost\. Write %23"):
        locate("mock:///a#b")


def test_bucket_is_reached_through_the_proxy_unless_it_is_spared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pyarrow reads no proxy from the environment; a host in NO_PROXY is reached directly."""
    for name, value in {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "word"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with recording(404, "") as proxy:
        monkeypatch.setenv("http_proxy", proxy.address)
        with recording(404, "") as bucket:
            endpoint = bucket.address.removeprefix("http://")
            for spared, asked in (("", proxy), ("127.0.0.1", bucket)):
                monkeypatch.setenv("no_proxy", spared)
                other = bucket if asked is proxy else proxy
                before = len(other.requests)
                file = locate(f"s3://data/x?scheme=http&region=us-east-1&endpoint_override={endpoint}")
                assert not file.exists()
                assert any("/data/x" in request for request in asked.requests)
                assert len(other.requests) == before
