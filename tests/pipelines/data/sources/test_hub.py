"""Datasets of the Hugging Face Hub, read by a process of its own from a server on loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests import hub
from tests.pipelines.data.sources.conftest import png, random_images
from tests.servers import ROOT

PROGRAM = """
import json, sys
from pipelines.data.ingest import ingest
from pipelines.data.sources import IngestConfig
from vae.data.parquet import Dataset
from vae.errors import BetalineError
for source, options in json.loads(sys.argv[2]):
    try:
        result = ingest(IngestConfig(source=source, name="d", **options), sys.argv[1], map)
    except BetalineError as error:
        print(json.dumps(f"{type(error).__name__}: {error}"))
    else:
        sources = [file.path for file in Dataset.open(result.uri).manifest.sources]
        print(json.dumps([result.rows, result.classes, sources, list(result.notes)]))
"""
PICTURES = "hf://datasets/u/pictures"
TABLES = (
    "hf://datasets/u/tables/csv/data.csv",
    "hf://datasets/u/tables@v1/csv",
    "hf://datasets/u/tables@v1/lines/data.jsonl",
)
ABSENT = ("hf://datasets/u/absent", "hf://datasets/u/tables@v9", "hf://datasets/u/tables/absent")


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> Any:
    """Serves u/pictures, u/tables and u/lines."""
    folder = tmp_path_factory.mktemp("hub")
    files = [png(image) for image in random_images(12, 4, 5)]
    pictures = folder / "u" / "pictures" / "main" / "data"
    pictures.mkdir(parents=True)
    features = {"info": {"features": {"label": {"names": ["ape", "bee"], "_type": "ClassLabel"}}}}
    for split, some in (("train", files[:8]), ("test", files[8:])):
        column = [{"bytes": item, "path": None} for item in some]
        table = pa.table({"image": column, "label": [n % 2 for n in range(len(some))]})
        described = table.replace_schema_metadata({"huggingface": json.dumps(features)})
        pq.write_table(described, pictures / f"{split}-00000-of-00001.parquet")
    (pictures.parent / "README.md").write_text("---\nlicense: mit\n---\n")
    (pictures.parent / ".gitattributes").write_text("*.parquet filter=lfs\n")
    for revision, number in (("main", 40), ("v1", 30)):
        tables = folder / "u" / "tables" / revision
        (tables / "csv").mkdir(parents=True)
        (tables / "lines").mkdir()
        rows = [{"x": n / 7, "k": "ab"[n % 2]} for n in range(number)]
        (tables / "csv" / "data.csv").write_text("x,k\n" + "".join(f"{row['x']},{row['k']}\n" for row in rows))
        (tables / "lines" / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with hub.serving(folder) as (url, _):
        yield url


def read(address: str, sources: list[tuple[str, dict[str, str]]], home: Path, block: str = "") -> list[Any]:
    """Ingests sources in a process of its own; returns the facts of each, or its error."""
    program = (f"import sys; sys.modules[{block!r}] = None\n" if block else "") + PROGRAM
    environment = {"HF_ENDPOINT": address, "HF_HOME": str(home / "hf"), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", program, str(home), json.dumps(sources)]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_hub_datasets_are_read(tmp_path, address) -> None:
    """Images come with classes, and splits by the names of files; a path and a revision after @ name tables."""
    tables = [(source, {"label": "k"}) for source in TABLES]
    pictures, *found = read(address, [(PICTURES, {}), *tables], tmp_path)
    files = [f"data/{split}-00000-of-00001.parquet" for split in ("test", "train")]
    assert pictures == [{"train": 7, "validation": 1, "test": 4}, ["ape", "bee"], files, ["README.md left aside"]]
    assert [(sum(rows.values()), classes) for rows, classes, *_ in found] == [(n, ["a", "b"]) for n in (40, 30, 30)]


def test_hub_datasets_that_are_absent_are_refused(tmp_path, address) -> None:
    """A dataset, a revision and a path that do not exist name the source, and how to log in."""
    for source, error in zip(ABSENT, read(address, [(source, {}) for source in ABSENT], tmp_path), strict=True):
        assert error.startswith(f"DataError: no such source: {source}. Give hf://datasets/USER/NAME; log in")


def test_hub_needs_its_extra(tmp_path, address) -> None:
    """Without the library one sentence says what to install."""
    [error] = read(address, [(PICTURES, {})], tmp_path, block="huggingface_hub")
    assert error == f"DataError: cannot use {PICTURES}: huggingface_hub is missing. pip install 'betaline[hub]'"


def test_hub_that_does_not_answer_is_refused(tmp_path) -> None:
    """A server that is not there ends in a sentence with the source."""
    [error] = read("http://127.0.0.1:9", [(PICTURES, {})], tmp_path)
    assert error.startswith(f"DataError: {PICTURES}: cannot be read: ")
    assert "Connection refused" in error
