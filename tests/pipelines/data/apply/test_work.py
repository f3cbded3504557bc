"""Units become files: the same bytes in any order, after any interruption, and rows that are where they were."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.data import apply as applying
from pipelines.data.apply import Columns, Worker
from pipelines.data.ingest import IngestConfig, ingest
from tests.pipelines.data.apply.conftest import carried_out, planned, served
from vae.config import ModelConfig, RunConfig, TrainingConfig
from vae.data.manifest import MANIFEST_NAME, SPLITS, Manifest
from vae.data.parquet import Dataset
from vae.errors import ConfigError, CorruptData, DataError
from vae.parts.bodies.mlp import MLP
from vae.seeds import Stream, derive
from vae.training.loop import Training

TABULAR = {"encoder": {"kind": "table", "hidden": [8]}, "likelihood": {"kind": "mixed"}}


def read(folder: Path, manifest: Any, split: str) -> Any:
    """A split of an output, in the manifest's order."""
    return pa.concat_tables([pq.read_table(folder / shard.path) for shard in manifest.splits[split]])


def files(folder: Path) -> dict[str, bytes]:
    """Every file of an output but its manifest, and the manifest without its time."""
    found = {
        path.name: path.read_bytes() for path in folder.rglob("*.*") if path.is_file() and path.suffix == ".parquet"
    }
    manifest = json.loads((folder / MANIFEST_NAME).read_text())
    manifest.pop("created_at")
    return {**found, MANIFEST_NAME: json.dumps(manifest).encode()}


def test_reconstructions_are_a_dataset_in_the_order_of_the_input(images: Dataset, tmp_path: Path) -> None:
    """Pixels of what `predict` says of the same rows to 8 bits, with the input's labels, splits and row numbers."""
    model = served(images)
    manifest = carried_out(planned("reconstruct", model, images.uri, tmp_path / "out"), model)
    assert isinstance(manifest, Manifest)
    made = Dataset.open(str(tmp_path / "out"))
    made.verify()
    for split in ("train", "validation", "test"):
        rows = images.num_rows(split)
        given, found = images.read_rows(split, 0, rows), made.read_rows(split, 0, rows)
        expected = model.predict(None, given.values.reshape(-1, 1, 3, 4), {"task": "reconstruct"})
        assert np.abs(found.values / 255 - expected.reshape(rows, -1)).max() < 0.51 / 255
        assert np.array_equal(found.labels, given.labels)
        assert made.read_table(split)["row"].to_pylist() == list(range(rows))
    assert manifest.ingest["model"] == "toy"
    assert manifest.ingest["dataset_id"] == images.manifest.dataset_id
    assert sum(manifest.class_counts["train"]) == 320
    assert not (tmp_path / "out" / ".unfinished").exists()


def test_identifiers_travel_with_their_rows(tmp_path: Path) -> None:
    """A column that numbers or names the rows is not modelled, and stands beside each result of its row."""
    rows = [f"C{i},{i % 7},{i * 0.3:.1f}" for i in range(60)]
    (tmp_path / "t.csv").write_text("\n".join(["who,n,x", *rows]))
    config = IngestConfig(source=str(tmp_path / "t.csv"), name="t")
    made = ingest(config, str(tmp_path), lambda write, chunks: map(write, chunks))
    dataset = Dataset.open(made.uri)
    assert [column.name for column in dataset.manifest.example.columns or ()] == ["n", "x"]
    model = served(dataset, **TABULAR)
    for task in ("encode", "reconstruct"):
        manifest = carried_out(planned(task, model, made.uri, tmp_path / task), model)
        for split in ("train", "test"):
            table, given = read(tmp_path / task, manifest, split), dataset.read_table(split)
            names = table.column("who" if task == "encode" else "identifier.who").to_pylist()
            assert names == [f"C{row}" for row in given["source_row"].to_pylist()]


def test_result_does_not_depend_on_order_or_interruption(images: Dataset, tmp_path: Path) -> None:
    """Backwards, or stopped after two of six units with a third cut short: the same bytes; units that are there stay."""
    model = served(images)
    whole, backwards, broken = (planned("score", model, images.uri, tmp_path / name) for name in "abc")
    carried_out(whole, model)
    carried_out(backwards, model, range(len(backwards.units) - 1, -1, -1))
    assert applying.claim(broken) is None
    worker = Worker(broken, model)
    assert [record.index for record in worker.write([3, 0, 4])] == [3, 0, 4]
    spoilt = tmp_path / "c" / broken.units[4].shard
    spoilt.write_bytes(spoilt.read_bytes()[:-1])
    assert [record.index for record in applying.finished_units(broken)] == [0, 3]
    kept = (tmp_path / "c" / broken.units[0].shard).stat().st_mtime_ns
    carried_out(broken, model)
    assert (tmp_path / "c" / broken.units[0].shard).stat().st_mtime_ns == kept
    assert files(tmp_path / "a") == files(tmp_path / "b") == files(tmp_path / "c")


def test_each_call_has_a_seed_of_its_own_row(images: Dataset, tmp_path: Path) -> None:
    """Rows 132 to 164 of the training split are scored with the seed of (seed, split, 132), whatever else is done."""
    model = served(images)
    plan = planned("score", model, images.uri, tmp_path / "out", splits=["train"], seed="5", num_samples="3")
    manifest = carried_out(plan, model)
    assert isinstance(manifest, Columns)
    found = read(tmp_path / "out", manifest, "train")
    assert found.column_names == ["split", "row", "score"]
    assert found["row"].to_pylist() == list(range(320))
    given = images.read_rows("train", 132, 164).values.reshape(-1, 1, 3, 4)
    seed = derive(5, Stream.APPLICATION, SPLITS.index("train"), 132)
    expected = model.predict(None, given, {"task": "score", "num_samples": 3, "seed": seed})
    assert np.array_equal(found["score"].to_numpy()[132:164], expected)


def test_codes_are_decoded_to_the_reconstructions(images: Dataset, tmp_path: Path) -> None:
    """`encode`, then `decode` over what it left, is `reconstruct`; codes of a conditional model know their condition."""
    for name, condition in (("plain", "none"), ("told", "class")):
        model = served(images, condition=condition)
        encoded = carried_out(planned("encode", model, images.uri, tmp_path / name / "codes"), model)
        assert isinstance(encoded, Columns)
        assert {"mean", "std"} <= encoded.columns.keys()
        codes = str(tmp_path / name / "codes")
        carried_out(planned("decode", model, codes, tmp_path / name / "decoded"), model)
        carried_out(planned("reconstruct", model, images.uri, tmp_path / name / "direct"), model)
        decoded, direct = (Dataset.open(str(tmp_path / name / what)) for what in ("decoded", "direct"))
        assert np.array_equal(decoded.read_rows("test", 0, 100).values, direct.read_rows("test", 0, 100).values)
        with pytest.raises(DataError, match="is of columns, such as codes or scores"):
            Dataset.open(codes)
        with pytest.raises(DataError, match=r"column 'mean': expected fixed_size_list<item: float>\[2\], found"):
            planned("decode", served(images, latent_dim=2), codes, tmp_path / "never")
    with pytest.raises(DataError, match="holds no codes"):
        planned("decode", model, images.uri, tmp_path / "never")


def test_rows_of_a_conditional_model_are_told_their_own_class(images: Dataset, tmp_path: Path) -> None:
    """Unless one is given for all."""
    model = served(images, condition="class")
    given = images.read_rows("test", 0, 100)
    own = carried_out(planned("reconstruct", model, images.uri, tmp_path / "own", ["test"]), model)
    told = carried_out(planned("reconstruct", model, images.uri, tmp_path / "two", ["test"], condition="2"), model)
    assert own.dataset_id != told.dataset_id
    for name, conditions in (("own", [str(label) for label in given.labels]), ("two", ["2"])):
        expected = model.predict(None, given.values, {"task": "reconstruct", "condition": conditions})
        found = Dataset.open(str(tmp_path / name)).read_rows("test", 0, 100).values
        assert np.abs(found / 255 - expected.reshape(100, -1)).max() < 0.51 / 255


def test_table_comes_back_with_its_columns_and_types(table: Dataset, tmp_path: Path) -> None:
    """Reconstructed rows have every column and type of the input, and are what `predict` says of a data frame."""
    model = served(table, **TABULAR)
    carried_out(planned("reconstruct", model, table.uri, tmp_path / "out"), model)
    made = Dataset.open(str(tmp_path / "out"))
    before, after = table.read_table("validation"), made.read_table("validation")
    names = [column.name for column in table.manifest.example.columns]  # pyright: ignore[reportAttributeAccessIssue]
    assert [after.schema.field(name).type for name in names] == [before.schema.field(name).type for name in names]
    assert after["row_"].to_pylist() == list(range(100))
    frame = before.select(names).to_pandas()
    expected = model.predict(None, frame, {"task": "reconstruct"})
    found = after.select(names).to_pandas()
    np.testing.assert_allclose(found["age"], expected["age"], rtol=1e-6)
    np.testing.assert_array_equal(found["year"], np.rint(expected["year"]))
    assert found["colour"].tolist() == expected["colour"].tolist()
    assert made.manifest.schema_fingerprint == table.manifest.schema_fingerprint


@pytest.mark.parametrize("keep", [False, True])
def test_augmented_dataset_has_so_many_of_each_class(images: Dataset, tmp_path: Path, keep: bool) -> None:
    """Synthetic rows say so, with model and seed; the input's are in front where kept, and what it holds out stays."""
    model = served(images, condition="class")
    plan = planned("augment", model, images.uri, tmp_path / "out", per_class="70", keep=str(keep))
    manifest = carried_out(plan, model)
    made, kept = Dataset.open(str(tmp_path / "out")), 320 * keep
    made.verify()
    train, rows = made.read_table("train"), made.read_rows("train", 0, kept + 210)
    assert train["synthetic"].to_pylist() == [False] * kept + [True] * 210
    assert train["model_version"].to_pylist() == [None] * kept + ["toy/7"] * 210
    assert rows.labels is not None
    assert rows.labels[kept:].tolist() == [0] * 70 + [1] * 70 + [2] * 70
    assert np.array_equal(rows.values[:kept], images.read_rows("train", 0, kept).values)
    assert manifest.num_rows == {"train": kept + 210, "validation": 80, "test": 100}
    for split in ("validation", "test"):
        given = images.read_rows(split, 0, images.num_rows(split))
        assert np.array_equal(made.read_rows(split, 0, images.num_rows(split)).values, given.values)
    training = TrainingConfig(epochs=1, batch_size=32)
    config = RunConfig(
        model=ModelConfig(latent_dim=2, encoder=MLP(hidden=(4,)), condition=("class",)), training=training
    )
    assert len(Training(config, made).run().history) == 1
    call = slice(kept + 64, kept + 96)  # the third call: 6 of the first class, then 26 of the second
    params = {
        "task": "generate",
        "n": 32,
        "condition": ["0"] * 6 + ["1"] * 26,
        "seed": train["seed"][kept + 70].as_py(),
    }
    expected = model.predict(None, None, params).reshape(32, -1)
    assert np.abs(rows.values[call] / 255 - expected).max() < 0.51 / 255


def test_generate_draws_one_for_each_row_of_its_class(images: Dataset, tmp_path: Path) -> None:
    """As many as the input has, with its labels."""
    model = served(images, condition="class")
    carried_out(planned("generate", model, images.uri, tmp_path / "out", output="sample"), model)
    made = Dataset.open(str(tmp_path / "out"))
    assert made.manifest.num_rows == images.manifest.num_rows
    given = images.read_rows("train", 0, 320)
    assert np.array_equal(made.read_rows("train", 0, 320).labels, given.labels)
    blind = served(images)
    drawn = carried_out(planned("generate", blind, images.uri, tmp_path / "blind", ["test"]), blind)
    assert drawn.classes is None, "nobody knows what a model that is told nothing draws"


def test_output_of_another_run_is_refused(images: Dataset, tmp_path: Path) -> None:
    """Finished or not, with what differs; a folder of something else is refused too; the same run is found done."""
    model, out = served(images), tmp_path / "out"
    assert applying.claim(planned("score", model, images.uri, out)) is None
    with pytest.raises(ConfigError, match=r"another run .* params.num_samples: was 100, is 7"):
        applying.claim(planned("score", model, images.uri, out, num_samples="7"))
    first = carried_out(planned("score", model, images.uri, out), model)
    assert applying.claim(planned("score", model, images.uri, out)) == first
    with pytest.raises(ConfigError, match=r"seed: was 0, is 1"):
        applying.claim(planned("score", model, images.uri, out, seed="1"))
    (out / "test-00000.parquet").write_bytes(b"")
    with pytest.raises(CorruptData, match=r"expected .* bytes, found 0"):
        applying.claim(planned("score", model, images.uri, out))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("")
    with pytest.raises(ConfigError, match=r"did not write, such as thesis\.tex"):
        applying.claim(planned("score", model, images.uri, tmp_path / "other"))


def test_data_that_the_model_does_not_take_is_refused(
    images: Dataset, table: Dataset, tmp_path: Path, publish: Any
) -> None:
    """Each column with what was expected and what was found, before any work."""
    plain, tabular = served(images), served(table, **TABULAR)
    with pytest.raises(DataError, match=r"expected images of shape \(1, 3, 4\), found a table \(5,\)"):
        planned("score", plain, table.uri, tmp_path / "never")
    small = publish(tmp_path, np.zeros((4, 1, 3, 3), np.uint8), None, {"train": 4})
    with pytest.raises(DataError, match=r"expected images of shape \(1, 3, 4\), found images of shape \(1, 3, 3\)"):
        planned("score", plain, small.uri, tmp_path / "never")
    columns = tabular.model.examples.columns or ()
    other = columns[0].__class__("colour", ("blue", "green"))
    known = tabular.model.examples.__class__(
        (5,), None, (*columns[:2], other, columns[3], columns[0].__class__("size"))
    )
    tabular.model.examples = known
    with pytest.raises(DataError) as refused:
        planned("score", tabular, table.uri, tmp_path / "never")
    assert (
        "column 'colour': expected one of blue, green, found one of blue, red; column 'size': expected numbers, found no "
        "such column; column 'row': expected no such column, found numbers"
    ) in str(refused.value)
    with pytest.raises(DataError, match="has no rows in split test; it has train, validation"):
        planned("score", served(table, **TABULAR), table.uri, tmp_path / "never", ["test"])
    unlabelled = publish(tmp_path, np.zeros((4, 1, 3, 4), np.uint8), None, {"train": 4})
    with pytest.raises(DataError, match=r"'class': expected one of 0, 1, 2, found none\. Give one condition"):
        planned("score", served(images, condition="class"), unlabelled.uri, tmp_path / "never")
    with pytest.raises(ConfigError, match="told the class and nothing else, this one is told nothing"):
        planned("augment", plain, images.uri, tmp_path / "never")


def test_what_the_model_refuses_is_refused_before_any_work(images: Dataset, tmp_path: Path) -> None:
    """The probe asks for one row, and passes the model's own words on."""
    model = served(images)
    plan = planned("score", model, images.uri, tmp_path / "out", num_samples="0")
    with pytest.raises(ConfigError, match="toy version 7: task score: num_samples must be at least 1, got 0"):
        Worker(plan, model).probe()
    assert not (tmp_path / "out").exists()
