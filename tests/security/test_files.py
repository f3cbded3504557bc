"""A file made to harm: it is refused in words, nothing in it runs, and nothing of it unfolds beyond what is allowed."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import pickle
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save

from pipelines.stages.yaml_files import read_yaml
from tests.security.table import Answered
from vae.config import ModelConfig
from vae.data.manifest import MANIFEST_NAME
from vae.data.parquet import Dataset
from vae.data.schema import ExampleSpec
from vae.errors import CheckpointError, ConfigError, CorruptData
from vae.model import VAE
from vae.parts.bodies.conv import Conv
from vae.training.state import MANIFEST, MODEL, WEIGHTS, Checkpoint, CheckpointStore, load_model, save_model


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self.marker,)


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """A file that exists once a payload has run."""
    return tmp_path / "ran"


@pytest.fixture
def payload(marker: Path) -> bytes:
    """A pickle that runs, as is tried."""
    data = pickle.dumps(Payload(marker))
    pickle.loads(data)
    assert marker.exists()
    marker.unlink()
    return data


Said = Callable[..., str]


def npz_of_objects(folder: Path, payload: bytes) -> str:
    np.savez(
        folder / "m.npz", images=np.zeros((4, 2, 2), np.uint8), labels=np.array([Payload(folder.parent / "ran")] * 4)
    )
    return r"array 'labels': cannot be read: Object arrays cannot be loaded"


def npz_with_a_pickle_for_an_array(folder: Path, payload: bytes) -> str:
    with zipfile.ZipFile(folder / "m.npz", "w") as archive:
        archive.writestr("images.npy", payload)
    return r"m\.npz"


def pickle_called_parquet(folder: Path, payload: bytes) -> str:
    (folder / "t.parquet").write_bytes(payload)
    return r"t\.parquet: not a whole Parquet file"


def parquet_that_says_what_it_unfolds_to(folder: Path, payload: bytes) -> str:
    pq.write_table(pa.table({"a": pa.repeat(pa.scalar(1), 5_000_000)}), folder / "t.parquet")
    return r"t\.parquet: 5,000,000 rows of 1 columns unfold to 40,000,000 bytes, above the limit of 1,000,000"


def parquet_that_lies_of_what_it_unfolds_to(folder: Path, payload: bytes) -> str:
    file = folder / "t.parquet"
    pq.write_table(pa.table({"a": ["x" * (1 << 24)]}), file, compression="zstd", use_dictionary=False)
    data, group = file.read_bytes(), pq.read_metadata(file).row_group(0)
    footer = len(data) - 8 - struct.unpack("<I", data[-8:-4])[0]
    for size in {group.total_byte_size, group.column(0).total_uncompressed_size}:
        data = data[:footer] + data[footer:].replace(varint(size), varint(100, like=varint(size)))
    file.write_bytes(data)
    assert pq.read_metadata(file).row_group(0).total_byte_size == 100
    return r"t\.parquet: unfolds to more than the limit of 1,000,000 bytes"


def parquet_that_repeats_a_long_text(folder: Path, payload: bytes) -> str:
    texts = pa.DictionaryArray.from_arrays(pa.array(np.zeros(10_000, np.int32)), ["x" * 100_000])
    pq.write_table(pa.table({"a": texts}), folder / "t.parquet", store_schema=False)
    assert (folder / "t.parquet").stat().st_size < 20_000
    return r"t\.parquet: unfolds to more than the limit of 1,000,000 bytes"


def image_of_many_pixels(folder: Path, payload: bytes) -> str:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 10_000, 10_000, 1, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(10_000 * (1 + 10_000 // 8)))
    (folder / "bomb.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )
    return r"10000×10000 pixels, above the limit of 67,108,864"


def postscript_called_png(folder: Path, payload: bytes) -> str:
    (folder / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n(%pipe%id) (r) file\n")
    return r"a\.png.*not a PNG, JPEG, BMP, GIF, TIFF or WEBP image"


def idx_that_unfolds(folder: Path, payload: bytes) -> str:
    header = struct.pack(">HBBIII", 0, 8, 3, 1_000_000_000, 28, 28)
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + bytes(1 << 20)))
    return r"train-images-idx3-ubyte\.gz"


SMALL = ("--set", "max_memory_bytes=1000000")
SOURCES = (
    (npz_of_objects, ()),
    (npz_with_a_pickle_for_an_array, ()),
    (pickle_called_parquet, ()),
    (parquet_that_says_what_it_unfolds_to, SMALL),
    (parquet_that_lies_of_what_it_unfolds_to, SMALL),
    (parquet_that_repeats_a_long_text, SMALL),
    (image_of_many_pixels, ()),
    (postscript_called_png, ()),
    (idx_that_unfolds, ()),
)


def varint(value: int, like: bytes = b"") -> bytes:
    """A number as Thrift's compact protocol writes it, in as many bytes as another."""
    zigzag, out = value << 1, bytearray()
    while zigzag >= 0x80:
        out.append(zigzag & 0x7F | 0x80)
        zigzag >>= 7
    out.append(zigzag)
    while len(out) < len(like):
        out[-1] |= 0x80
        out.append(0)
    return bytes(out)


@pytest.mark.parametrize(("make", "options"), SOURCES, ids=lambda value: getattr(value, "__name__", ""))
def test_ingest_refuses_a_hostile_source(
    make: Callable[[Path, bytes], str],
    options: tuple[str, ...],
    tmp_path: Path,
    payload: bytes,
    marker: Path,
    refusal: Said,
    answered: Answered,
) -> None:
    """`betaline ingest` says what is wrong with which file, and runs nothing of it."""
    source = tmp_path / "source"
    source.mkdir()
    expected = make(source, payload)
    said = refusal("ingest", str(source), "hostile", "--dry-run", *options)
    assert re.search(expected, said), said
    assert not marker.exists()
    size = sum(file.stat().st_size for file in source.iterdir())
    answered("betaline ingest", f"{make.__name__.replace('_', ' ')} ({size:,} bytes)", said)


def laughs(first: str, again: str) -> str:
    """Returns eight lines, each with nine references to the line before it."""
    lines = [f"{name}: &{name} {again.format(','.join([f'*{before}'] * 9))}" for before, name in pairwise("abcdefghi")]
    return "\n".join([f"a: &a {first}", *lines])


YAML_FILES = {
    "an object to build": ("model: !!python/object/apply:os.mkdir [MARKER]", "is not plain YAML"),
    "a key given twice": ("training: {epochs: 1}\ntraining: {epochs: 9}", "is not plain YAML"),
    "a billion laughs": (laughs("[x]", "[{}]"), "unfolds to more than 100,000 values"),
    "a billion merged laughs": (laughs("{k: x}", "{{<<: [{}]}}"), "unfolds to more than 100,000 values"),
    "a list in itself": ("model: &a [*a]", "unfolds to more than 100,000 values"),
    "2,000 brackets": ("model: " + "[" * 2_000 + "]" * 2_000, "nested too deeply"),
}


@pytest.mark.parametrize("what", YAML_FILES)
def test_configuration_refuses_hostile_yaml(
    what: str, tmp_path: Path, marker: Path, refusal: Said, answered: Answered
) -> None:
    """`--config` takes plain values alone, and no more of them than a person writes."""
    text, expected = YAML_FILES[what]
    file = tmp_path / "train.yaml"
    file.write_text(text.replace("MARKER", str(marker)))
    said = refusal("train", "digits", "--config", str(file))
    assert expected in said
    assert not marker.exists()
    answered("betaline train --config", what, said)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A saved model."""
    folder = tmp_path / "model"
    save_model(VAE(ModelConfig(encoder=Conv(channels=(4,))), ExampleSpec((1, 8, 8), None)), str(folder))
    return folder


def lying_header(content: bytes) -> bytes:
    """Returns safetensors whose header lets the first tensor reach beyond the file."""
    size = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + size])
    first = next(name for name in header if name != "__metadata__")
    header[first]["data_offsets"][1] += 1 << 40
    written = json.dumps(header).encode()
    return struct.pack("<Q", len(written)) + written + content[8 + size :]


def test_model_refuses_hostile_weights(saved: Path, payload: bytes, marker: Path, answered: Answered) -> None:
    """A pickle, a file of torch.save, a header that lies, one of 2^63 bytes: none is loaded, though its hash is right."""
    buffer = io.BytesIO()
    torch.save(Payload(marker), buffer)
    whole = (saved / WEIGHTS).read_bytes()
    hostile = {
        "a pickle for weights": payload,
        "a file of torch.save for weights": buffer.getvalue(),
        "safetensors that reach beyond the file": lying_header(whole),
        "safetensors with a header of 2^63 bytes": struct.pack("<Q", 1 << 63) + whole[8:],
        "safetensors of other tensors": save({"other": torch.zeros(1)}),
    }
    facts = json.loads((saved / MODEL).read_text())
    for what, content in hostile.items():
        (saved / WEIGHTS).write_bytes(content)
        (saved / MODEL).write_text(json.dumps({**facts, "weights_sha256": hashlib.sha256(content).hexdigest()}))
        with pytest.raises(CheckpointError, match=r"does not hold a model|weights are not those of the model") as error:
            load_model(str(saved))
        assert not marker.exists()
        answered("a saved model", what, error.value)


def test_model_refuses_a_flipped_byte(saved: Path, answered: Answered) -> None:
    """Whole safetensors with one wrong bit are refused by their hash."""
    content = bytearray((saved / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (saved / WEIGHTS).write_bytes(content)
    with pytest.raises(CheckpointError, match=r"is damaged: its SHA-256 is not the one in") as error:
        load_model(str(saved))
    answered("a saved model", "a flipped bit", error.value)


@pytest.mark.parametrize("text", ["[]", "{}", "null", '{"format": 3}', '{"format": 3, "weights_sha256": 7}'])
def test_model_refuses_facts_that_are_none(text: str, saved: Path) -> None:
    """The facts about a model are checked before they are used."""
    (saved / MODEL).write_text(text)
    with pytest.raises(CheckpointError):
        load_model(str(saved))


@pytest.mark.parametrize("name", ["../stolen.safetensors", "/etc/passwd", ".."])
def test_checkpoint_refuses_a_file_of_another_folder(name: str, tmp_path: Path, answered: Answered) -> None:
    """A manifest that names what is not in its folder is damaged, though its own hash fits."""
    store = CheckpointStore(str(tmp_path / "run"), {"run": 1})
    folder = Path(store.save(Checkpoint(1, {"model": {"w": torch.zeros(2)}}, {})))
    manifest = json.loads((folder / MANIFEST).read_text())
    del manifest["sha256"]
    manifest["files"] = {name: next(iter(manifest["files"].values())), **manifest["files"]}
    digest = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
    (folder / MANIFEST).write_text(json.dumps({**manifest, "sha256": digest}))
    with pytest.raises(CheckpointError, match=rf"names '{re.escape(name)}', which is not in its folder") as error:
        store.load(1)
    answered("a checkpoint", f"a manifest that names {name}", error.value)


@pytest.mark.parametrize("path", ["../test.parquet", "/etc/passwd", "a/b.parquet", ".."])
def test_dataset_refuses_a_shard_of_another_folder(
    path: str, digits: Dataset, tmp_path: Path, answered: Answered
) -> None:
    """A manifest from elsewhere names plain files of its own folder, or is refused."""
    manifest = json.loads(digits.manifest.model_dump_json())
    manifest["splits"]["train"][0]["path"] = path
    (tmp_path / MANIFEST_NAME).write_text(json.dumps(manifest))
    with pytest.raises(CorruptData, match="a shard's path must be a plain file name") as error:
        Dataset.open(str(tmp_path))
    answered("a dataset", f"a manifest that names {path}", error.value)


def test_yaml_with_a_few_aliases_is_read() -> None:
    """Ordinary aliases still work."""
    assert read_yaml("a: &a [1, 2]\nb: *a\n", "here") == {"a": [1, 2], "b": [1, 2]}
    with pytest.raises(ConfigError):
        read_yaml("&a [*a]", "here")
