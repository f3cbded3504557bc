"""Which files of a folder are a source, and what is said of the others."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.pipelines.data.sources.conftest import png, random_images
from vae.errors import DataError

PICTURE = png(random_images(4, 5))
TABLE = "x,y\n" + "".join(f"{n / 7},{n}\n" for n in range(40))


def fill(folder: Path, *names: str) -> None:
    """Writes files of the formats of their names."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".parquet"):
            pq.write_table(pa.table({"x": [n / 7 for n in range(40)]}), path)
        elif name.endswith(".csv"):
            path.write_text(TABLE)
        else:
            path.write_bytes(PICTURE)


@pytest.mark.parametrize(
    ("names", "kinds"),
    [
        (
            ["data.parquet", "columns.csv"],
            r"1 in text tables \(columns\.csv\).*; 1 in Parquet tables \(data\.parquet\)",
        ),
        (["data.parquet", "plot.png"], r"1 in images \(plot\.png\).*; 1 in Parquet tables \(data\.parquet\)"),
        (["a.png", "b.png", "labels.csv"], r"2 in images \(a\.png, …\).*; 1 in text tables \(labels\.csv\)"),
    ],
)
def test_two_kinds_in_one_folder_are_refused(tmp_path, look, names, kinds) -> None:
    """Both kinds are named, with the option that takes either; the option works."""
    fill(tmp_path, *names)
    with pytest.raises(DataError, match=rf"files of 2 kinds of source, expected one: {kinds}.*Choose one"):
        look(tmp_path)
    survey, _ = look(tmp_path, files=["*.csv" if "columns.csv" in names or "a.png" in names else "*.parquet"])
    assert survey.example.columns
    with pytest.raises(DataError, match=r"no file fits files=\*\.tar\. The folder holds"):
        look(tmp_path, files=["*.tar"])


def test_files_beside_class_folders_are_left_aside(tmp_path, look) -> None:
    """Classes come from the folders; texts, lists of labels and metadata are named, and --strict refuses them."""
    fill(tmp_path, "cat/1.png", "dog/2.png", "labels.csv", "README.txt", "cat/columns.yaml", "meta.json")
    survey, _ = look(tmp_path)
    assert survey.classes == ("cat", "dog")
    assert survey.notes == ("README.txt, cat/columns.yaml, labels.csv, meta.json left aside",)
    with pytest.raises(
        DataError, match=r"(?s)1 thing to say, and --strict allows none:\n  README\.txt, .*leave out --strict"
    ):
        look(tmp_path, strict=True)


def test_files_that_describe_a_table_are_left_aside(tmp_path, look) -> None:
    """README.txt, LICENSE and columns.yaml beside a table are named; alone, README.txt is a table."""
    fill(tmp_path, "data.csv", "LICENSE", "columns.yaml")
    (tmp_path / "README.txt").write_text(TABLE)
    assert look(tmp_path)[0].notes == ("LICENSE, README.txt, columns.yaml left aside",)
    assert look(tmp_path / "README.txt")[0].num_rows == 40


def test_images_of_other_formats_are_counted(tmp_path, look) -> None:
    """Formats that no source reads are counted by kind, with what to do; alone they are refused so."""
    fill(tmp_path, *(f"{n}.heic" for n in range(24)), *(f"{n}.AVIF" for n in range(3)))
    with pytest.raises(DataError, match=r"0 examples among 27 files \(24 \.heic, 3 \.avif\)\. .*Convert them to PNG"):
        look(tmp_path)
    fill(tmp_path, "a.png")
    assert look(tmp_path)[0].notes == ("24 .heic, 3 .avif left out. Convert them to PNG to take them",)


def test_file_of_an_unknown_kind_is_named_with_the_kinds_that_are_read(tmp_path, look) -> None:
    """A matrix of single cells is none of them, by itself or in a folder."""
    fill(tmp_path, "cells.h5ad")
    for source in (tmp_path, tmp_path / "cells.h5ad"):
        with pytest.raises(
            DataError, match=r"1 file \(cells\.h5ad\)\. Expected .* arrays \(\.npy, .*\.parquet, \.jsonl"
        ):
            look(source)


def test_links_that_lead_nowhere_are_named(tmp_path, look) -> None:
    """A link to no file, and one to a folder that holds it, are left out with a note; a good link is followed."""
    fill(tmp_path / "far", "1.png")
    source = tmp_path / "source"
    source.mkdir()
    (source / "cat").symlink_to(tmp_path / "far")
    (source / "gone.png").symlink_to("absent.png")
    (source / "loop").symlink_to(source)
    survey, _ = look(source)
    assert [file.path for file in survey.files] == ["cat/1.png"]
    [note] = survey.notes
    assert note.startswith("2 symbolic links that lead to no file left out (")
    assert "gone.png → absent.png" in note
    with pytest.raises(DataError, match=r"--strict allows none:\n  2 symbolic links"):
        look(source, strict=True)
    with pytest.raises(DataError, match=r"no such source: .*gone\.png, a symbolic link to absent\.png"):
        look(source / "gone.png")


def test_names_that_are_not_utf8_are_refused(tmp_path, look) -> None:
    """The message has a command that renames the file, which works."""
    (tmp_path / "it's").mkdir()
    (tmp_path / "it's" / os.fsdecode(b"caf\xe9.png")).write_bytes(PICTURE)
    with pytest.raises(DataError, match="1 file name not in UTF-8, which a manifest cannot hold") as refused:
        look(tmp_path / "it's")
    command = str(refused.value).split("the first with: ")[1]
    assert os.spawnlp(os.P_WAIT, "bash", "bash", "-c", command) == 0
    assert [file.path for file in look(tmp_path / "it's")[0].files] == ["café.png"]


@contextlib.contextmanager
def somebody_else() -> Iterator[None]:
    """Makes root an ordinary user for a while."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


@pytest.mark.parametrize("closed", ["a.png", "inner", "data.csv"])
def test_files_without_permission_are_refused(look, closed) -> None:
    """Each file that cannot be read is counted, and the command that opens it works."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        fill(folder, *(["data.csv"] if closed == "data.csv" else ["a.png", "inner/b.png"]))
        (folder / closed).chmod(0)
        patterns = {"files": ["a.png"]} if closed == "a.png" else {}
        with (
            somebody_else(),
            pytest.raises(DataError, match=rf"permission denied for 1 file \(.*{closed}\)") as refused,
        ):
            look(folder, **patterns)
        command = str(refused.value).split("allow it: ")[1]
        assert os.spawnlp(os.P_WAIT, "bash", "bash", "-c", command) == 0
        with somebody_else():
            look(folder, files=["*b.png", "*.csv"])
