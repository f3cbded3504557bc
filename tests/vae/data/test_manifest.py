"""The manifest's own rules."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from vae.data.manifest import Manifest, Shard, derive_dataset_id, derive_schema_fingerprint
from vae.data.schema import Column, ExampleSpec


def test_dataset_id_follows_content_not_order() -> None:
    """The order of the sources does not matter; any source and any setting does."""
    first = derive_dataset_id(["a", "b"], {"seed": 0, "resize": None})
    assert first == derive_dataset_id(["b", "a"], {"resize": None, "seed": 0})
    assert len({first, derive_dataset_id(["a"], {"seed": 0, "resize": None}), derive_dataset_id(["a", "b"], {})}) == 3


def test_dataset_id_is_pinned() -> None:
    """The identity of a known content stays what it is: a change is a new format version."""
    assert (
        derive_dataset_id(["0" * 64], {"seed": 0}) == "6e1854e7525904f22a6422386e3e99479acaef7c43faff5a35903624845a4e35"
    )


@pytest.mark.parametrize("path", ["../up.parquet", "a/b.parquet", "/etc/passwd", ".hidden", ""])
def test_shard_path_stays_in_its_folder(path) -> None:
    """A manifest cannot name a file outside its own folder."""
    with pytest.raises(ValidationError, match="a shard's path must be a plain file name"):
        Shard(path=path, rows=1, bytes=1, sha256="0" * 64, row_groups=(1,))


def test_shard_rows_are_its_groups() -> None:
    """Row groups that do not add up are refused."""
    with pytest.raises(ValidationError, match=r"a\.parquet: row groups hold 3 rows, expected 4"):
        Shard(path="a.parquet", rows=4, bytes=1, sha256="0" * 64, row_groups=(1, 2))


def test_manifest_names_each_shard_once(digits) -> None:
    """A shard of the training split that is named as the test split too is refused."""
    facts = json.loads(digits.manifest.model_dump_json())
    facts["splits"]["test"] = facts["splits"]["train"]
    with pytest.raises(ValidationError, match="a shard is named twice"):
        Manifest.model_validate_json(json.dumps(facts))


def test_manifest_survives_json(digits) -> None:
    """A manifest written and read is the same, and it refuses a key it does not know."""
    text = digits.manifest.model_dump_json()
    assert Manifest.model_validate_json(text) == digits.manifest
    with pytest.raises(ValidationError, match="extra_forbidden"):
        Manifest.model_validate_json(json.dumps({**json.loads(text), "surprise": 1}))


def test_manifest_fingerprint_fits_its_schema(digits) -> None:
    """Classes exchanged after the fact are noticed."""
    changed = {**json.loads(digits.manifest.model_dump_json()), "classes": ["x", "y"]}
    with pytest.raises(ValidationError, match="schema_fingerprint does not fit"):
        Manifest.model_validate_json(json.dumps(changed))


def test_schema_fingerprint_is_pinned() -> None:
    """The fingerprint of what has no attributes stays what it is: models tell their data by it."""
    expected = "8b378264b39b687d0f00438d066471eac0d12ddda0b8cc55de1b5de207d6c193"
    assert derive_schema_fingerprint(ExampleSpec((1, 2, 2), ("a",))) == expected


TYPED = (
    Column("age", dtype="double", type="count"),
    Column("level", ("low", "high"), dtype="string", type="ordered"),
    Column("day", dtype="date32[day]"),
)


def _facts(columns: tuple[Column, ...]) -> dict:
    example = ExampleSpec.of_table(columns)
    made = Manifest.made_now(example=example, dataset_id="0" * 64, name="people", splits={})
    return json.loads(made.model_dump_json())


def test_types_of_columns_are_stored_beside_the_fingerprint() -> None:
    """A type that the Arrow type does not imply is in the JSON; the fingerprint is that of the columns without it."""
    facts = _facts(TYPED)
    assert [column.get("type") for column in facts["example"]["columns"]] == ["count", "ordered", None]
    assert Manifest.model_validate(facts).example.columns == TYPED
    plain = ExampleSpec.of_table(Column(c.name, c.categories, dtype=c.dtype) for c in TYPED)
    assert facts["schema_fingerprint"] == derive_schema_fingerprint(plain)


def test_columns_without_a_type_get_that_of_their_values() -> None:
    """Manifests written before there were types are read: the type follows from the Arrow type and the categories."""
    columns = [
        Column("a"),
        Column("b", dtype="int32"),
        Column("c", dtype="bool"),
        Column("d", ("x", "y"), dtype="string"),
    ]
    facts = _facts((*columns, Column("e", dtype="timestamp[us]")))
    assert all("type" not in column for column in facts["example"]["columns"])
    read = Manifest.model_validate(facts).example.columns or ()
    assert [column.type for column in read] == ["real", "integer", "boolean", "category", "time"]


@pytest.mark.parametrize(("number", "wrong"), [(0, "category"), (0, "time"), (1, "real"), (2, "money")])
def test_types_that_do_not_fit_their_values_are_refused(number: int, wrong: str) -> None:
    """A type of names needs categories, a type of numbers none, and times need a type of times in the shards."""
    facts = _facts(TYPED)
    facts["example"]["columns"][number]["type"] = wrong
    with pytest.raises(ValidationError, match=f"the type '{wrong}' does not fit"):
        Manifest.model_validate(facts)
