"""Reading shards back: the right rows, and nothing that is not what the manifest says."""

from __future__ import annotations

import pickle
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vae.data import integrity
from vae.data.manifest import Manifest
from vae.data.parquet import Dataset, rows_per_group
from vae.data.rows import arrow_schema
from vae.data.schema import Column, ExampleSpec
from vae.errors import CorruptData, DataError
from vae.storage import locate, mark_of, sha256_of


@pytest.fixture
def pixels() -> np.ndarray:
    """250 images of 2×3×4."""
    return np.random.default_rng(0).integers(0, 256, (250, 2, 3, 4), np.uint8)


@pytest.fixture
def dataset(publish, pixels, tmp_path) -> Dataset:
    """The images as 200 to train and 50 to test, in row groups of 64."""
    labels = np.arange(250) % 3
    return publish(tmp_path, pixels, labels, {"train": 200, "test": 50}, group_rows=64)


def shard_of(dataset: Dataset, split: str) -> Path:
    """The file of a split."""
    return Path(dataset.uri) / dataset.manifest.splits[split][0].path


def replace_manifest(dataset: Dataset, split: str, data: bytes, **changes) -> Dataset:
    """The dataset with other bytes for a shard, and a manifest that agrees with their size."""
    shard_of(dataset, split).write_bytes(data)
    shard = dataset.manifest.splits[split][0].model_copy(update={"bytes": len(data), **changes})
    splits = {**dataset.manifest.splits, split: (shard,)}
    return Dataset(dataset.uri, dataset.manifest.model_copy(update={"splits": splits}))


@pytest.mark.parametrize("verify", [False, True])
@pytest.mark.parametrize(("start", "stop"), [(0, 200), (0, 64), (10, 20), (60, 70), (63, 193), (200, 200)])
def test_read_rows_gives_that_range(dataset, pixels, start, stop, verify) -> None:
    """Any range is the pixels and labels that were written, whether checked on the way or not."""
    rows = dataset.read_rows("train", start, stop, verify=verify)
    np.testing.assert_array_equal(rows.values, pixels[start:stop].reshape(stop - start, 24))
    np.testing.assert_array_equal(rows.labels, np.arange(start, stop) % 3)
    assert (rows.values.dtype, rows.labels.dtype) == (np.uint8, np.int64)


@pytest.mark.parametrize("block_rows", [1, 7, 64, 1000])
@pytest.mark.parametrize(("start", "stop"), [(0, 200), (0, 64), (10, 20), (60, 70), (63, 193), (200, 200)])
def test_blocks_give_the_range_in_order(dataset, start, stop, block_rows) -> None:
    """Blocks of any size are what `read_rows` gives at once, none empty and none larger than asked for."""
    expected = dataset.read_rows("train", start, stop)
    blocks = list(dataset.blocks("train", start, stop, block_rows))
    assert all(0 < len(block.values) == len(block.labels) <= block_rows for block in blocks)
    if start < stop:
        np.testing.assert_array_equal(np.concatenate([block.values for block in blocks]), expected.values)
        np.testing.assert_array_equal(np.concatenate([block.labels for block in blocks]), expected.labels)
    else:
        assert blocks == []


def test_blocks_refuse_what_is_damaged_or_not_there(dataset) -> None:
    """A flipped page, a missing file and a range beyond the split end a stream as they end a read."""
    path = shard_of(dataset, "train")
    data = bytearray(path.read_bytes())
    column = pq.read_metadata(path).row_group(3).column(0)
    data[column.data_page_offset + column.total_compressed_size - 1] ^= 1
    path.write_bytes(data)
    blocks = dataset.blocks("train", 0, 200, 64)
    assert [len(next(blocks).values) for _ in range(3)] == [64, 64, 64]
    with pytest.raises(CorruptData, match=r"train\.parquet cannot be read: .*CRC checksum verification failed"):
        next(blocks)
    path.unlink()
    with pytest.raises(CorruptData, match=r"train\.parquet is missing"):
        next(dataset.blocks("train", 0, 200, 64))
    with pytest.raises(DataError, match="rows 0 to 201 are not in train, which has 200 rows"):
        next(dataset.blocks("train", 0, 201, 64))


def test_read_rows_without_labels(publish, pixels, tmp_path) -> None:
    """A dataset without classes has no labels."""
    dataset = publish(tmp_path, pixels, None, {"train": 250})
    assert dataset.read_rows("train", 0, 250).labels is None
    assert dataset.read_rows("train", 5, 6).labels is None


def test_read_rows_is_a_view_of_one_group(dataset) -> None:
    """Within one row group the pixels are a view of what Arrow read."""
    assert dataset.read_rows("train", 0, 10).values.base is not None


def test_read_rows_reads_only_what_overlaps(dataset) -> None:
    """A damaged row group does not hinder a range that needs another."""
    path = shard_of(dataset, "train")
    data = bytearray(path.read_bytes())
    column = pq.read_metadata(path).row_group(3).column(0)
    data[column.data_page_offset + column.total_compressed_size - 1] ^= 1
    path.write_bytes(data)
    dataset.read_rows("train", 0, 192)
    with pytest.raises(CorruptData, match=r"train\.parquet cannot be read: .*CRC checksum verification failed"):
        dataset.read_rows("train", 0, 193)


def test_read_rows_refuses_what_is_not_there(dataset) -> None:
    """A range outside the split, and a split outside the three, are named."""
    with pytest.raises(DataError, match="rows 190 to 201 are not in train, which has 200 rows"):
        dataset.read_rows("train", 190, 201)
    with pytest.raises(DataError, match="unknown split 'dev': expected one of train, validation, test"):
        dataset.num_rows("dev")
    assert dataset.num_rows("validation") == 0


def test_row_groups_tile_the_split(dataset) -> None:
    """Row groups are the ranges that are cheapest to read."""
    assert dataset.row_groups("train") == [(0, 64), (64, 128), (128, 192), (192, 200)]
    assert dataset.row_groups("validation") == []


def test_dataset_travels_to_another_process(dataset, pixels) -> None:
    """A pickled dataset reads the same."""
    dataset.read_rows("train", 0, 1)
    again = pickle.loads(pickle.dumps(dataset))
    np.testing.assert_array_equal(again.read_rows("test", 0, 50).values, pixels[200:].reshape(50, 24))


def test_read_table_gives_all_columns(dataset) -> None:
    """Images carry their shape, layout and type; rows their place in the source."""
    table = dataset.read_table("test")
    metadata = table.schema.field("image").metadata
    assert metadata == {b"shape": b"[2, 3, 4]", b"layout": b"CHW", b"dtype": b"uint8"}
    assert table["source_row"].to_pylist() == list(range(200, 250))
    assert dataset.read_table("validation").num_rows == 0


def test_verify_passes_and_names_each_bad_shard(dataset) -> None:
    """A whole dataset passes; truncated, flipped and missing shards are each named with expected and found."""
    dataset.verify()
    train, test = shard_of(dataset, "train"), shard_of(dataset, "test")
    whole = train.read_bytes()
    train.write_bytes(whole[:-10])
    with pytest.raises(
        CorruptData, match=rf"{re.escape(str(train))}: expected {len(whole):,} bytes, found {len(whole) - 10:,}"
    ):
        dataset.verify()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    train.write_bytes(flipped)
    test.unlink()
    with pytest.raises(CorruptData) as caught:
        dataset.verify()
    expected = dataset.manifest.splits["train"][0].sha256
    assert re.search(
        rf"{re.escape(str(train))}: expected SHA-256 {expected}, found [0-9a-f]{{64}}; ", str(caught.value)
    )
    assert f"{test} is missing. Remove the folder {dataset.uri} and run the ingest again" in str(caught.value)
    dataset.verify(["validation"])


@pytest.mark.parametrize("position", range(0, 4000, 331))
def test_read_rows_with_verify_refuses_any_flip(dataset, position) -> None:
    """Whatever byte is flipped, a checked read names the file instead of giving rows."""
    path = shard_of(dataset, "train")
    data = bytearray(path.read_bytes())
    data[position % len(data)] ^= 0x40
    path.write_bytes(data)
    with pytest.raises(CorruptData, match=r"train\.parquet: expected SHA-256"):
        dataset.read_rows("train", 0, 1, verify=True)


def test_truncated_shard_is_refused_before_it_is_read(dataset) -> None:
    """Without a full check, the size alone refuses a truncated shard."""
    path = shard_of(dataset, "train")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CorruptData, match=r"train\.parquet: expected [\d,]+ bytes, found"):
        dataset.read_rows("train", 0, 1)
    path.unlink()
    with pytest.raises(CorruptData, match=r"train\.parquet is missing"):
        Dataset.open(dataset.uri).read_rows("train", 0, 1)


def test_other_row_groups_are_refused(dataset) -> None:
    """A footer that disagrees with the manifest is refused."""
    sink = pa.BufferOutputStream()
    pq.write_table(dataset.read_table("test"), sink, row_group_size=7)
    other = replace_manifest(dataset, "test", sink.getvalue().to_pybytes())
    with pytest.raises(CorruptData, match=r"expected row groups of \(50,\) rows, found \(7, 7, 7, 7, 7, 7, 7, 1\)"):
        other.read_rows("test", 0, 1)


def test_decompression_bomb_is_refused_by_its_footer(dataset) -> None:
    """A shard whose rows unfold to more than the manifest promises is refused before a page is read."""
    table = dataset.read_table("test")
    bomb = table.append_column("extra", pa.array([bytes(1 << 20)] * 50, pa.binary()))
    sink = pa.BufferOutputStream()
    pq.write_table(bomb, sink, use_dictionary=False, compression="zstd")
    assert sink.tell() < 1 << 20
    other = replace_manifest(dataset, "test", sink.getvalue().to_pybytes())
    with pytest.raises(CorruptData, match=r"row group 0 unfolds to 52,\d+,\d+ bytes, expected at most 67,536"):
        other.read_rows("test", 0, 1)


def test_open_explains_what_is_missing_or_damaged(dataset, tmp_path) -> None:
    """No manifest, half of one, a wrong field and a newer format each say what to do."""
    manifest = Path(dataset.uri) / "manifest.json"
    text = manifest.read_text()
    manifest.write_text(text[:100])
    with pytest.raises(CorruptData, match=r"manifest\.json is not a manifest: .* run the ingest again"):
        Dataset.open(dataset.uri)
    manifest.write_text(text.replace('"rejected":0', '"rejected":-1'))
    with pytest.raises(CorruptData, match=r"manifest\.json is damaged: rejected: Input should be greater"):
        Dataset.open(dataset.uri)
    manifest.write_text(text.replace('"format_version":1', '"format_version":2'))
    with pytest.raises(DataError, match="has format version 2, this betaline reads 1"):
        Dataset.open(dataset.uri)
    with pytest.raises(DataError, match=r"no dataset at .*: it has no manifest\.json"):
        Dataset.open(str(tmp_path / "absent"))


def test_open_takes_any_uri(dataset) -> None:
    """A file:// URI is the folder it means; an unknown scheme is named."""
    assert Dataset.open(Path(dataset.uri).as_uri()).read_rows("test", 0, 50).values.shape == (50, 24)
    with pytest.raises(DataError, match="cannot use nope://x"):
        Dataset.open("nope://x")


@pytest.mark.parametrize(("pixels", "rows"), [(784, 5349), (64, 8192), (1, 8192), (4 << 20, 1), (5 << 20, 1)])
def test_row_groups_are_about_4_mib(pixels, rows) -> None:
    """Four MiB of pixels, at most 8192 rows, at least one."""
    assert rows_per_group(ExampleSpec((1, 1, pixels))) == rows


@pytest.mark.parametrize(("columns", "rows"), [(1, 8192), (100, 5242), (3000, 1024)])
def test_row_groups_of_wide_tables_have_a_thousand_rows(columns, rows) -> None:
    """Each column of a row group costs half a kilobyte, so that a row group of few rows would be mostly that."""
    assert rows_per_group(ExampleSpec.of_table(Column(f"x{place}") for place in range(columns))) == rows


def test_shards_have_page_checksums_and_lz4(dataset) -> None:
    """The file on disk is compressed, carries no statistics of pixels, and tells a flipped byte of a page."""
    column = pq.read_metadata(shard_of(dataset, "train")).row_group(0).column(0)
    assert column.compression == "LZ4"
    assert not column.is_stats_set
    data = bytearray(shard_of(dataset, "train").read_bytes())
    data[column.data_page_offset + column.total_compressed_size - 1] ^= 1
    with pytest.raises(OSError, match="CRC checksum verification failed"):
        pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True).read()
    assert arrow_schema(ExampleSpec((1, 2, 2))).names == ["image", "source_row"]


def test_manifest_of_the_fixture_is_complete(dataset) -> None:
    """The manifest on disk is the one in hand."""
    assert Manifest.model_validate_json((Path(dataset.uri) / "manifest.json").read_bytes()) == dataset.manifest


def test_shard_is_checked_before_its_first_row(
    publish: Callable[..., Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each shard is hashed once on a machine, when it is first read; a damaged one is named, and the others can be read."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    pixels = np.zeros((60, 1, 4, 4), np.uint8)
    uri = publish(tmp_path / "data", pixels, None, {"train": 40, "test": 20}, 10).uri
    hashed: list[str] = []
    monkeypatch.setattr(integrity, "sha256_of", lambda location: hashed.append(location.path) or sha256_of(location))
    for _ in range(2):
        dataset = Dataset.open(uri, checks_shards=True)
        assert dataset.read_rows("train", 5, 15).values.shape == (10, 16)
        assert sum(len(block.values) for block in pickle.loads(pickle.dumps(dataset)).blocks("train", 0, 40, 8)) == 40
    assert len(hashed) == 1
    [shard] = dataset.manifest.splits["test"]
    file = Path(uri) / shard.path
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    dataset.read_rows("train", 0, 1)
    with pytest.raises(CorruptData, match=f"{file}: expected SHA-256 {shard.sha256}, found"):
        next(dataset.blocks("test", 0, 20, 8))


def test_mark_is_of_the_file_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written again, a file has another mark; a folder of marks that others may write to is not used."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    file = tmp_path / "shard"
    file.write_bytes(b"one")
    first = mark_of(locate(str(file)), "digest")
    assert first == mark_of(locate(str(file)), "digest") != mark_of(locate(str(file)), "other")
    file.write_bytes(b"two")
    assert mark_of(locate(str(file)), "digest") != first
    assert first is not None
    first.parent.chmod(0o777)
    assert mark_of(locate(str(file)), "digest") is None
