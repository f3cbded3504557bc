"""Attributes of images from source to dataset, and datasets that are part of a source."""

from __future__ import annotations

import numpy as np

from pipelines.data.ingest import IngestConfig
from vae.data.manifest import derive_dataset_id
from vae.data.parquet import Dataset
from vae.data.sprites import Sprites
from vae.data.statistics import example_spec


def test_attributes_survive_ingest(tmp_path, make) -> None:
    """Shuffled, split and cut into shards, every image keeps its own attributes, and the manifest says what they are."""
    images = np.zeros((300, 4, 5), np.uint8)
    images[:, 0, 0], images[:, 0, 1] = np.arange(300) % 256, np.arange(300) // 256
    size, mood = np.arange(300) / 2, np.array(["bad", "fair", "good"])[np.arange(300) % 3]
    size[7] = np.nan
    np.savez(tmp_path / "m.npz", images=images, size=size, mood=mood)
    dataset = Dataset.open(make(tmp_path / "m.npz", attributes=["mood", "size"]).uri)
    assert [(column.name, column.categories) for column in dataset.manifest.attributes] == [
        ("mood", ("bad", "fair", "good")),
        ("size", None),
    ]
    seen = 0
    for split in ("train", "validation", "test"):
        rows = dataset.read_rows(split, 0, dataset.num_rows(split))
        number = rows.values[:, 0] + 256 * rows.values[:, 1].astype(int)
        assert rows.attributes is not None
        np.testing.assert_array_equal(rows.attributes, np.stack([number % 3, size[number]], 1).astype(np.float32))
        seen += len(number)
    assert seen == 300
    assert example_spec(dataset).attributes[0].categories == ("bad", "fair", "good")


def test_sprites_become_a_dataset(make) -> None:
    """A seeded part of the grid: binary images that are what their attributes say, the same for the same seed."""
    result = make("sprites:colour", max_rows=500, split={"validation": 0.1, "test": 0.2})
    dataset, sprites = Dataset.open(result.uri), Sprites(colour=True)
    assert result.rows == {"train": 350, "validation": 50, "test": 100}
    rows = dataset.read_rows("train", 0, 350)
    assert rows.attributes is not None
    codes = rows.attributes.astype(np.int64)
    np.testing.assert_array_equal(rows.values, sprites.render(sprites.index(codes)).reshape(350, -1))
    np.testing.assert_array_equal(rows.labels, codes[:, 1])
    assert len(np.unique(sprites.index(codes))) == 350
    assert make("sprites:colour", max_rows=500, split={"validation": 0.1, "test": 0.2}).reused
    assert make("sprites:colour", max_rows=500, seed=1).dataset_id != result.dataset_id


def test_identity_is_what_it_was_before_attributes() -> None:
    """What asks for no attributes and all rows is called as before there were such settings; what does is not."""

    def identity(**options: object) -> str:
        return derive_dataset_id(
            ["0" * 64], IngestConfig.model_validate({"source": "x", "name": "d", **options}).identity()
        )

    assert identity() == "357609ffed564da467ccc8e5f909a5987f283b18ce393eb1ba021ae09d68e21b"
    assert len({identity(), identity(max_rows=5), identity(max_rows=6), identity(attributes=["a"])}) == 4
