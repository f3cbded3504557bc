"""Checkpoints and saved models: whole, or refused with the file's name."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from vae.config import ModelConfig
from vae.data.schema import Experience
from vae.errors import CheckpointError
from vae.model import VAE, ExampleSpec
from vae.parts.aggregate import AggregateMixture
from vae.parts.bodies.mlp import MLP
from vae.parts.directions import Directions
from vae.training.state import (
    CHECKPOINT_FORMAT,
    FORMAT,
    Checkpoint,
    CheckpointStore,
    _digest,
    load_model,
    optimizer_tensors,
    restore_optimizer,
    save_model,
)

IDENTITY: dict[str, Any] = {"config": {"objective": {"beta": 1.0}, "hidden": (8, 4)}, "dataset_id": "abc"}


def checkpoint(step: int) -> Checkpoint:
    generator = torch.Generator().manual_seed(step)
    tensors = {
        "model": {"weight": torch.randn(3, 2, generator=generator), "count": torch.tensor(step)},
        "optimizer": {"0.exp_avg": torch.randn(3, 2, generator=generator)},
    }
    return Checkpoint(step, tensors, {"history": [{"epoch": 1, "loss": 1 / 3}], "best_epoch": None})


def open_store(folder: Path, keep: int = 3, **changes: Any) -> CheckpointStore:
    return CheckpointStore(str(folder), {**IDENTITY, **changes}, keep)


def filled(folder: Path, *steps: int) -> CheckpointStore:
    store = open_store(folder)
    for step in steps:
        store.save(checkpoint(step))
    return store


def steps_in(folder: Path) -> list[int]:
    return sorted(int(path.parent.name.removeprefix("step-")) for path in folder.glob("step-*/manifest.json"))


def assert_same(found: Checkpoint | None, expected: Checkpoint) -> None:
    assert found is not None
    assert found.step == expected.step
    assert found.values == expected.values
    assert found.tensors.keys() == expected.tensors.keys()
    for group, tensors in expected.tensors.items():
        assert found.tensors[group].keys() == tensors.keys()
        for name, value in tensors.items():
            assert torch.equal(found.tensors[group][name], value)


def flip(file: Path, position: int) -> None:
    content = bytearray(file.read_bytes())
    content[position] ^= 0x01
    file.write_bytes(content)


def test_checkpoint_reads_back_bit_equal(tmp_path: Path) -> None:
    """Tensors, values and step come back as they were, and the newest one is taken."""
    store = filled(tmp_path, 5, 12)
    assert_same(open_store(tmp_path).load_newest(), checkpoint(12))
    assert_same(store.load(5), checkpoint(5))


def test_empty_folder_has_no_checkpoint(tmp_path: Path) -> None:
    """A folder that does not exist yet is a run that has not begun."""
    assert open_store(tmp_path / "new").load_newest() is None
    assert not (tmp_path / "new").exists()


def test_store_keeps_the_newest(tmp_path: Path) -> None:
    """Older checkpoints are removed, whole; steps sort by number beyond eight digits of zeros."""
    store = open_store(tmp_path, keep=2)
    for step in (1, 9, 10, 100):
        store.save(checkpoint(step))
    assert steps_in(tmp_path) == [10, 100]
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.safetensors", "values.json", "manifest.json"])
@pytest.mark.parametrize("damage", ["flipped", "truncated", "empty", "missing"])
def test_damaged_checkpoint_falls_back_to_the_one_before(
    tmp_path: Path, file: str, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever happened to whichever file of the newest checkpoint, its predecessor is taken, and the log says why."""
    store = filled(tmp_path, 5, 12)
    path = tmp_path / "step-00000012" / file
    match damage:
        case "flipped":
            flip(path, path.stat().st_size // 2)
        case "truncated":
            path.write_bytes(path.read_bytes()[:-7])
        case "empty":
            path.write_bytes(b"")
        case "missing":
            path.unlink()
    with caplog.at_level(logging.WARNING):
        assert_same(store.load_newest(), checkpoint(5))
    if (file, damage) != ("manifest.json", "missing"):  # a folder without a manifest was never committed
        assert str(path) in caplog.text
        assert "falling back to the checkpoint before it" in caplog.text


def test_every_flipped_bit_of_a_manifest_is_noticed(tmp_path: Path) -> None:
    """A flip anywhere in the manifest never gives another checkpoint: it is loaded as it was, or its predecessor is."""
    store = filled(tmp_path, 5, 12)
    path = tmp_path / "step-00000012" / "manifest.json"
    for position in range(path.stat().st_size):
        flip(path, position)
        found = store.load_newest()
        flip(path, position)
        assert found is not None
        assert_same(found, checkpoint(found.step))
        assert found.step in (5, 12)


def test_unfinished_checkpoint_is_ignored(tmp_path: Path) -> None:
    """A writer killed before the manifest leaves nothing that could be taken for a checkpoint."""
    store = filled(tmp_path, 5)
    store.save(checkpoint(12))
    (tmp_path / "step-00000012" / "manifest.json").unlink()
    (tmp_path / "step-00000012" / ".values.json.abc.partial").write_bytes(b"{")
    assert_same(store.load_newest(), checkpoint(5))
    store.save(checkpoint(12))
    assert_same(store.load_newest(), checkpoint(12))


def test_all_damaged_is_an_error_that_names_the_files(tmp_path: Path) -> None:
    """With no intact checkpoint left the run is not silently begun again: the error names each damaged file."""
    store = filled(tmp_path, 5, 12)
    paths = [tmp_path / f"step-{step:08d}" / "model.safetensors" for step in (12, 5)]
    for path in paths:
        flip(path, 60)
    with pytest.raises(CheckpointError) as error:
        store.load_newest()
    message = str(error.value)
    assert message.startswith(f"{tmp_path}: none of the 2 checkpoints is intact: {paths[0]} is damaged: expected ")
    assert f"; {paths[1]} is damaged: expected " in message
    assert message.endswith("; remove the folder to start the run again")


def test_new_checkpoints_after_a_fallback_outlive_the_damaged_ones(tmp_path: Path) -> None:
    """Damaged checkpoints of later steps are not counted among the newest that are kept."""
    store = filled(tmp_path, 10, 29, 30)
    for step in (29, 30):
        flip(tmp_path / f"step-{step:08d}" / "model.safetensors", 60)
    assert_same(store.load_newest(), checkpoint(10))
    store.save(checkpoint(15))
    store.save(checkpoint(20))
    assert steps_in(tmp_path) == [10, 15, 20]


def test_another_run_is_refused_with_the_differences(tmp_path: Path) -> None:
    """A checkpoint of another configuration is not resumed; the error names each field, what it was and is."""
    filled(tmp_path, 5)
    other = open_store(tmp_path, config={"objective": {"beta": 4.0}, "hidden": (8, 4)}, dataset_id="xyz")
    facts = r"step-00000005 .*\(config.objective.beta: was 1.0, is 4.0, dataset_id: was 'abc', is 'xyz'\)"
    with pytest.raises(CheckpointError, match=facts):
        other.load_newest()


def test_another_format_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint of another version's format is refused as such, not read as one of this version."""
    store = filled(tmp_path, 5)
    monkeypatch.setattr("vae.training.state.CHECKPOINT_FORMAT", 9)
    with pytest.raises(CheckpointError, match=f"step-00000005 has format {CHECKPOINT_FORMAT}, this version reads 9"):
        store.load_newest()


@pytest.mark.parametrize("step", [7, 5])
def test_missing_or_damaged_step_is_an_error(tmp_path: Path, step: int) -> None:
    """A step asked for by number is that step or an error that names the folder."""
    store = filled(tmp_path, 5)
    flip(tmp_path / "step-00000005" / "values.json", 3)
    with pytest.raises(CheckpointError, match=rf"^cannot load step {step} of {tmp_path}: "):
        store.load(step)


def test_checkpoint_names_no_file_outside_its_folder(tmp_path: Path) -> None:
    """A manifest that is whole but names a file elsewhere is passed over, and the file is not read."""
    store = filled(tmp_path, 5, 12)
    (tmp_path / "elsewhere.json").write_text("{}")
    path = tmp_path / "step-00000012" / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["sha256"]
    facts = {"bytes": 2, "sha256": hashlib.sha256(b"{}").hexdigest()}
    manifest["files"] = {**manifest["files"], "../elsewhere.json": facts}
    path.write_text(json.dumps({**manifest, "sha256": _digest(manifest)}))
    assert_same(store.load_newest(), checkpoint(5))
    with pytest.raises(CheckpointError, match=r"names '../elsewhere.json', which is not in its folder"):
        store.load(12)


@pytest.mark.parametrize("fused", [False, True])
def test_optimizer_goes_on_as_if_it_had_not_stopped(fused: bool) -> None:
    """A fresh optimiser with restored state takes the same steps, bit for bit."""

    def build() -> tuple[torch.nn.Linear, torch.optim.Optimizer]:
        torch.manual_seed(0)
        layer = torch.nn.Linear(5, 3)
        return layer, torch.optim.AdamW(layer.parameters(), lr=0.1, weight_decay=0.01, fused=fused)

    def advance(layer: torch.nn.Linear, optimizer: torch.optim.Optimizer, steps: range) -> None:
        for step in steps:
            layer(torch.full((2, 5), float(step))).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()

    unbroken, first = build()
    advance(unbroken, first, range(6))
    layer, optimizer = build()
    advance(layer, optimizer, range(3))
    tensors = {name: value.clone() for name, value in optimizer_tensors(optimizer).items()}
    resumed, again = build()
    resumed.load_state_dict(layer.state_dict())
    restore_optimizer(again, tensors)
    advance(resumed, again, range(3, 6))
    assert all(torch.equal(a, b) for a, b in zip(resumed.parameters(), unbroken.parameters(), strict=True))


def model(condition: str = "none") -> VAE:
    config = ModelConfig.model_validate({"latent_dim": 3, "encoder": MLP(hidden=(8,)), "condition": condition})
    return VAE(config, ExampleSpec((1, 4, 4), ("a", "b")), seed=4)


@pytest.mark.parametrize("condition", ["none", "class"])
def test_saved_model_reads_back_bit_equal(tmp_path: Path, condition: str) -> None:
    """Weights, configuration, shape and classes come back as they were, in evaluation mode."""
    saved = model(condition)
    save_model(saved, str(tmp_path / "model"))
    loaded = load_model(str(tmp_path / "model"))
    assert (loaded.config, loaded.examples, loaded.training) == (saved.config, saved.examples, False)
    assert loaded.state_dict().keys() == saved.state_dict().keys()
    assert all(torch.equal(value, saved.state_dict()[name]) for name, value in loaded.state_dict().items())


def test_saved_model_keeps_what_it_learned_beside_its_weights(tmp_path: Path) -> None:
    """What its encoder met in training, the mixture of its latents and their directions come back as they were."""
    saved = model()
    saved.experience = Experience(missing=True, corruption="blur")
    saved.aggregate = AggregateMixture(2, 3)
    saved.directions = Directions(["size", "class=a"], 3)
    for value in (*saved.aggregate.buffers(), *saved.directions.buffers()):
        value.normal_(generator=torch.Generator().manual_seed(0))
    save_model(saved, str(tmp_path))
    loaded = load_model(str(tmp_path))
    assert loaded.experience == saved.experience
    assert loaded.directions is not None
    assert loaded.directions.names == ("size", "class=a")
    assert loaded.state_dict().keys() == saved.state_dict().keys()
    assert all(torch.equal(value, saved.state_dict()[name]) for name, value in loaded.state_dict().items())


def test_saved_model_holds_no_pickle(tmp_path: Path) -> None:
    """The folder holds safetensors and JSON alone."""
    save_model(model(), str(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.json", "weights.safetensors"]
    assert json.loads((tmp_path / "model.json").read_text())["examples"]["shape"] == [1, 4, 4]
    assert b"pickle" not in (tmp_path / "weights.safetensors").read_bytes()


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def set_fact(file: Path, change: dict[str, Any]) -> None:
    facts = json.loads(file.read_text())
    facts.update(change)
    file.write_text(json.dumps(facts))


def widen(file: Path) -> None:
    set_fact(file, {"config": {**json.loads(file.read_text())["config"], "latent_dim": 5}})


@pytest.mark.parametrize(
    ("file", "damage", "facts"),
    [
        ("model.json", truncate, " does not hold a model: "),
        ("model.json", Path.unlink, " does not hold a model: "),
        ("model.json", widen, ": the weights are not those of the model"),  # weights of another model
        ("model.json", lambda file: set_fact(file, {"format": FORMAT + 1}), f" holds a model of format {FORMAT + 1},"),
        ("weights.safetensors", truncate, " does not hold a model: "),
        ("weights.safetensors", Path.unlink, " does not hold a model: "),
        ("weights.safetensors", lambda file: flip(file, -1), "/weights.safetensors is damaged: .* in model.json$"),
    ],
)
def test_damaged_model_is_refused(tmp_path: Path, file: str, damage: Callable[[Path], None], facts: str) -> None:
    """A folder that is no whole model of this version is refused with its name, also where one bit is flipped."""
    save_model(model(), str(tmp_path))
    damage(tmp_path / file)
    with pytest.raises(CheckpointError, match=f"^{tmp_path}{facts}"):
        load_model(str(tmp_path))
