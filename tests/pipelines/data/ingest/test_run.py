"""Ingests from end to end, in this process and in several."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.data.ingest import IngestConfig, dry_run, ingest, plan_ingest
from pipelines.data.ingest.staging import staging_location
from vae.data.parquet import Dataset
from vae.errors import CorruptData, DataError
from vae.progress import Progress, listening

PROGRAM = """
import sys
from pipelines.data.ingest import IngestConfig, ingest
source, home, fatal = sys.argv[1:]

def map_chunks(write, chunks):
    for number in chunks:
        yield write(number)
        if str(number) == fatal:
            import os, signal
            os.kill(os.getpid(), signal.SIGKILL)

print(ingest(IngestConfig(source=source, name="d"), home, map_chunks).dataset_id)
"""


def files_of(folder: str | Path) -> dict[str, tuple[int, int]]:
    """Returns (inode, time of writing) of every file in a folder."""
    files = [path for path in Path(folder).rglob("*") if path.is_file()]
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}


def test_ingest_keeps_every_image_with_its_label(pictures, make) -> None:
    """Every source image is in exactly one split, with its pixels, its class and its place in the source."""
    result = make(pictures)
    dataset = Dataset.open(result.uri)
    dataset.verify()
    paths = [source.path for source in dataset.manifest.sources]
    seen = []
    for split, expected in (("train", 27), ("validation", 4), ("test", 4)):
        rows, table = dataset.read_rows(split, 0, dataset.num_rows(split)), dataset.read_table(split)
        assert len(rows.values) == expected
        for pixels, label, row in zip(rows.values, rows.labels, table["source_row"].to_pylist(), strict=True):
            np.testing.assert_array_equal(pixels.reshape(6, 5), np.asarray(Image.open(pictures / paths[row])))
            assert paths[row].split("/")[0] == result.classes[label]
            seen.append(row)
    assert sorted(seen) == list(range(35))
    assert {split: sum(counts) for split, counts in dataset.manifest.class_counts.items()} == result.rows


def test_ingest_identity_follows_content_and_configuration(pictures, make, tmp_path) -> None:
    """The same files elsewhere are the same dataset; another seed, split, or one moved file, is another."""
    first = make(pictures).dataset_id
    assert make(shutil.copytree(pictures, tmp_path / "copy")).dataset_id == first
    assert make(pictures, seed=1).dataset_id != first
    assert make(pictures, split={"validation": 0.2}).dataset_id != first
    shutil.move(pictures / "ape" / "00.png", pictures / "bee" / "moved.png")
    assert make(pictures).dataset_id != first


def test_ingest_identity_of_a_file_is_its_bytes(tmp_path, make) -> None:
    """A file under another name is the same source; one image in another class folder is not."""
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("x\n" + "1\n2\n" * 10)
    assert make(tmp_path / "a.csv").dataset_id == make(tmp_path / "b.csv").dataset_id
    for name in ("one/ape", "two/bee"):
        (tmp_path / name).mkdir(parents=True)
        Image.new("L", (3, 3)).save(tmp_path / name / "0.png")
    first, second = (make(tmp_path / name, split={"validation": 0, "test": 0}) for name in ("one", "two"))
    assert (first.classes, second.classes) == (("ape",), ("bee",))
    assert first.dataset_id != second.dataset_id


def test_ingest_again_writes_nothing(pictures, make) -> None:
    """The second time, the dataset is there: no file of it is touched."""
    first = make(pictures)
    before = files_of(first.uri)
    second = make(pictures)
    assert (first.reused, second.reused) == (False, True)
    assert (second.dataset_id, second.rows) == (first.dataset_id, first.rows)
    assert files_of(first.uri) == before


def test_ingest_refuses_a_damaged_dataset(pictures, make) -> None:
    """A published shard of another size is not mended silently: others may be reading."""
    result = make(pictures)
    shard = Path(result.uri) / "test-00000.parquet"
    shard.write_bytes(shard.read_bytes()[:-1])
    expected = rf"test-00000\.parquet: expected [\d,]+ bytes, found [\d,]+\. Remove the folder {re.escape(result.uri)}"
    with pytest.raises(CorruptData, match=expected):
        make(pictures)


def test_ingest_leaves_only_the_dataset(pictures, make, dataset_home) -> None:
    """After it, no staging folder, lock or half-written file is left."""
    result = make(pictures)
    names = sorted(path.name for path in Path(result.uri).iterdir())
    assert names == ["manifest.json", "test-00000.parquet", "train-00000.parquet", "validation-00000.parquet"]
    assert list((Path(dataset_home) / "datasets" / "d" / ".staging").iterdir()) == []


@pytest.fixture
def killed(pictures, dataset_home) -> Path:
    """The staging folder of an ingest that was killed by SIGKILL after its first chunk."""
    command = [sys.executable, "-c", PROGRAM, str(pictures), dataset_home, "0"]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    dataset_id = plan_ingest(IngestConfig(source=str(pictures), name="d")).dataset_id
    return Path(staging_location(dataset_home, "d", dataset_id).path)


def test_ingest_killed_resumes(pictures, make, killed) -> None:
    """After SIGKILL between chunks, the same ingest takes over the written chunk and writes only the others."""
    before = files_of(killed)
    result = make(pictures)
    assert result.resumed_chunks == 1
    assert files_of(result.uri)["train-00000.parquet"] == before["train-00000.parquet"]
    Dataset.open(result.uri).verify()


def test_ingest_does_not_trust_a_damaged_staged_chunk(pictures, make, killed) -> None:
    """A staged shard that is not what its record says is written again."""
    shard = killed / "train-00000.parquet"
    shard.write_bytes(bytes(shard.stat().st_size))
    result = make(pictures)
    assert result.resumed_chunks == 0
    Dataset.open(result.uri).verify()


def test_ingest_in_processes_gives_the_same_bytes(pictures, make, tmp_path) -> None:
    """Chunks written by other processes, in any order, are the shards that one process writes."""
    config = IngestConfig(source=str(pictures), name="d")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        other = ingest(config, str(tmp_path / "other"), pool.imap_unordered)
    assert Dataset.open(make(pictures).uri).manifest.splits == Dataset.open(other.uri).manifest.splits


def test_ingest_rejects_with_every_problem_in_a_file(pictures, make, dataset_home) -> None:
    """Twenty of many problems are shown, all are in the file the message names, and nothing is published."""
    for number in range(25):
        (pictures / "ape" / f"bad{number:02d}.png").write_bytes(b"")
    with pytest.raises(DataError) as caught:
        make(pictures)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{pictures}: 25 problems"
    assert lines[1] == "  ape/bad00.png: 0 bytes"
    assert lines[21] == "  … and 5 more"
    assert lines[-1] == "Mend the source, or leave bad examples out with --on-bad quarantine"
    path = re.fullmatch(r"All of them are in (.*/errors-[0-9a-f]{12}\.json)", lines[22])[1]
    written = json.loads(Path(path).read_text())
    assert [p["path"] for p in written["problems"]] == [f"ape/bad{n:02d}.png" for n in range(25)]
    assert not list(Path(dataset_home).rglob("manifest.json"))


def test_ingest_rejects_what_only_decoding_finds(pictures, make, dataset_home) -> None:
    """An image whose header is whole and whose pixels are cut off is rejected too, and staging is cleared."""
    path = pictures / "bee" / "03.png"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DataError, match=r"1 problem\n  bee/03\.png: cannot be decoded to its end"):
        make(pictures)
    assert not list((Path(dataset_home) / "datasets" / "d" / ".staging").iterdir())


def test_ingest_quarantines_a_copy_and_a_list(pictures, make) -> None:
    """With quarantine, the good images are published, and the bad ones are copied and listed."""
    whole = (pictures / "bee" / "03.png").read_bytes()
    (pictures / "bee" / "03.png").write_bytes(whole[:60])
    (pictures / "cat" / "empty.png").write_bytes(b"")
    result = make(pictures, on_bad="quarantine")
    assert (result.rejected, sum(result.rows.values())) == (2, 34)
    assert Dataset.open(result.uri).manifest.rejected == 2
    kept = Path(result.quarantine_uri)
    assert (kept / "bee" / "03.png").read_bytes() == whole[:60]
    listed = json.loads((kept / "problems.json").read_text())["problems"]
    assert sorted(p["path"] for p in listed) == ["bee/03.png", "cat/empty.png"]


def test_ingest_quarantines_table_rows(tmp_path, make) -> None:
    """Bad rows of a table are left out and listed with their lines."""
    (tmp_path / "t.csv").write_text("a,b\n" + "1,2\n2,3\n" * 10 + "inf,1\n3\n")
    result = make(tmp_path / "t.csv", on_bad="quarantine")
    assert (sum(result.rows.values()), result.rejected) == (20, 2)
    listed = json.loads((Path(result.quarantine_uri) / "problems.json").read_text())["problems"]
    assert sorted((p["row"], p["column"]) for p in listed) == [(22, "a"), (23, None)]


def test_ingest_of_only_bad_images_has_0_examples(tmp_path, make) -> None:
    """A source without one good image is 0 examples, whatever quarantine may hold."""
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "a.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"0 examples: all 1 images are bad \(a\.png: 0 bytes\)"):
        make(tmp_path / "s", on_bad="quarantine")


def test_ingest_names_a_lone_class(pictures, make) -> None:
    """A class with one example is named, with what to do."""
    (pictures / "dog").mkdir()
    shutil.copy(pictures / "ape" / "00.png", pictures / "dog" / "0.png")
    with pytest.raises(DataError, match="class 'dog' has one example; a stratified split needs at least 2\n"):
        make(pictures)
    assert make(pictures, split={"validation": 0, "test": 0}).rows["train"] == 36


def test_dry_run_says_what_ingest_does(pictures, make, dataset_home) -> None:
    """The dry run names the dataset, rows and chunks that the ingest then makes, and writes nothing."""
    config = IngestConfig(source=str(pictures), name="d")
    said = dry_run(config, dataset_home)
    assert not Path(dataset_home).exists()
    result = make(pictures)
    assert (said.dataset_id, said.uri, said.rows) == (result.dataset_id, result.uri, result.rows)
    assert (said.exists, said.chunks, said.num_sources) == (False, 3, 35)
    assert said.estimated_bytes == 35 * 30
    assert dry_run(config, dataset_home).exists


def test_ingest_full_disk_is_explained(pictures, make, dataset_home, monkeypatch) -> None:
    """With no space left the message says so, the old dataset stays whole, and no partial file remains."""
    old = make(pictures)

    def full(handle: int) -> None:
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as patch:
        patch.setattr("vae.storage.os.fsync", full)
        with pytest.raises(DataError, match=r"no space left while writing .*train-00000\.parquet\. Published"):
            make(pictures, seed=1)
    assert not list(Path(dataset_home).rglob("*.partial"))
    Dataset.open(old.uri).verify()


def test_ingest_long_listing_goes_to_a_file(pictures, make, monkeypatch) -> None:
    """More source files than a manifest should hold are listed in a file beside the shards."""
    monkeypatch.setattr("pipelines.data.ingest.publishing._SOURCES_LISTED", 30)
    manifest = Dataset.open(make(pictures).uri).manifest
    assert manifest.sources == ()
    assert manifest.source_listing.files == 35


def test_ingest_progress_reaches_the_end(pictures, dataset_home) -> None:
    """Progress starts at 0 and ends at all rows."""
    seen = []
    config = IngestConfig(source=str(pictures), name="d")
    with listening(seen.append):
        ingest(config, dataset_home, map)
    rows = [one for one in seen if one.part == "decoding and writing"]
    assert rows[0] == Progress(part="decoding and writing", done=0, total=35, unit="examples")
    assert rows[-1].done == 35


def test_ingest_of_mnist_has_70_000_rows(mnist_dir, make) -> None:
    """MNIST keeps its own test split of 10,000; validation is carved from its 60,000 training images."""
    result = make(mnist_dir)
    assert result.rows == {"train": 54_000, "validation": 6_000, "test": 10_000}
    dataset = Dataset.open(result.uri)
    assert dataset.manifest.class_counts["test"] == (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009)
    rows = dataset.read_rows("train", 0, 54_000, verify=True)
    assert np.bincount(rows.labels[:5000]).min() > 350


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "a b", "x" * 101])
def test_ingest_name_is_a_safe_segment(name) -> None:
    """A name that could leave its folder, or hide, is refused."""
    with pytest.raises(ValueError, match="name"):
        IngestConfig(source="s", name=name)


def test_ingest_source_with_credentials_is_refused_unrepeated() -> None:
    """What would open the source is refused before any record of it is made, and the message does not hold it."""
    with pytest.raises(ValueError, match="Give credentials by the environment") as caught:
        IngestConfig(source="s3://key:hush@bucket/path?endpoint_override=x", name="d")
    assert "hush" not in str(caught.value)
