"""Checkpoints and saved models: hashed, and loaded only if every file has its hash.

A checkpoint is a folder `step-00000042/` of safetensors and JSON files, and a `manifest.json` with the size and SHA-256 of
each. The manifest is written last: a folder without one is unfinished. This works on every pyarrow filesystem, also without
an atomic rename.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from vae.config import ModelConfig, differences, parse
from vae.data.schema import ExampleSpec, Experience
from vae.errors import CheckpointError
from vae.model import VAE
from vae.parts.aggregate import AggregateMixture
from vae.parts.directions import Directions
from vae.parts.sources import CODE, addresses, adopt, bundle, check_same, missing
from vae.storage import Location, locate, write_whole

log = logging.getLogger(__name__)

MANIFEST = "manifest.json"
WEIGHTS = "weights.safetensors"
MODEL = "model.json"
FORMAT, CHECKPOINT_FORMAT = 3, 4

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Checkpoint:
    """State from which a run continues as if it had never stopped."""

    step: int
    """Optimiser steps done."""
    tensors: Mapping[str, Tensors]
    """Named tensors by group, such as `model` and `optimizer`; each group is one safetensors file."""
    values: Mapping[str, Any]
    """Values that JSON can hold, such as the history."""


class CheckpointStore:
    """The checkpoints of one run under one folder.

    Args:
        uri: Folder of the run's checkpoints, a path or a pyarrow filesystem URI.
        identity: Configuration and dataset of the run; a checkpoint of another identity is an error.
        keep: Number of newest checkpoints to keep.
    """

    def __init__(self, uri: str, identity: Mapping[str, Any], keep: int = 3) -> None:
        self.root = locate(uri)
        self.identity = json.loads(json.dumps(identity))  # as a manifest returns it
        self.keep = keep

    def save(self, checkpoint: Checkpoint) -> str:
        """Writes and commits a checkpoint, removes all but the newest `keep`, and returns its folder."""
        for unfinished in self._folders(committed=False):
            # A killed writer left it, while it wrote or removed it: a run has one writer at a time.
            unfinished.filesystem.delete_dir(unfinished.path)
        folder = self.root / f"step-{checkpoint.step:08d}"
        files = {f"{name}.safetensors": save(dict(tensors)) for name, tensors in checkpoint.tensors.items()}
        files["values.json"] = json.dumps(checkpoint.values).encode()
        for name, content in files.items():
            write_whole(folder / name, content)
        manifest = {
            "format": CHECKPOINT_FORMAT,
            "step": checkpoint.step,
            "identity": self.identity,
            "files": {
                name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
                for name, content in files.items()
            },
        }
        manifest["sha256"] = _digest(manifest)
        write_whole(folder / MANIFEST, json.dumps(manifest, indent=1).encode())
        committed = self._folders()
        # Later steps come from a damaged attempt: the run repeats them, and they must not displace this one.
        position = [other.path for other in committed].index(folder.path) + 1
        for old in [*committed[: max(0, position - self.keep)], *committed[position:]]:
            # The manifest goes first: an interrupted removal leaves an unfinished folder.
            old.filesystem.delete_file((old / MANIFEST).path)
            old.filesystem.delete_dir(old.path)
        return folder.uri

    def load_newest(self) -> Checkpoint | None:
        """Returns the newest intact checkpoint; logs each damaged one that is newer.

        Raises:
            CheckpointError: If checkpoints exist and none is intact, or they belong to another run.
        """
        damaged = []
        for folder in reversed(self._folders()):
            try:
                return self._load(folder)
            except _DamagedError as error:
                log.warning("%s; falling back to the checkpoint before it", error)
                damaged.append(str(error))
        if damaged:
            raise CheckpointError(
                f"{self.root.uri}: none of the {len(damaged)} checkpoints is intact: {'; '.join(damaged)}; "
                "remove the folder to start the run again"
            )
        return None

    def load(self, step: int) -> Checkpoint:
        """Returns the checkpoint of a step.

        Raises:
            CheckpointError: If it is missing or damaged, or belongs to another run.
        """
        try:
            return self._load(self.root / f"step-{step:08d}")
        except (_DamagedError, FileNotFoundError) as error:
            raise CheckpointError(f"cannot load step {step} of {self.root.uri}: {error}") from None

    def _load(self, folder: Location) -> Checkpoint:
        manifest = _read_manifest(folder / MANIFEST)
        if manifest["format"] != CHECKPOINT_FORMAT:
            raise CheckpointError(
                f"{folder.uri} has format {manifest['format']}, this version reads {CHECKPOINT_FORMAT}"
            )
        if manifest["identity"] != self.identity:
            changes = ", ".join(differences(manifest["identity"], self.identity))
            raise CheckpointError(
                f"{folder.uri} belongs to another run ({changes}); "
                "choose another run name, or remove the folder to start again"
            )
        if foreign := [name for name in manifest["files"] if "/" in name or name in ("", ".", "..")]:
            raise _DamagedError(f"{folder.uri}/{MANIFEST} names {foreign[0]!r}, which is not in its folder")
        contents = {name: _read_checked(folder / name, facts) for name, facts in manifest["files"].items()}
        try:
            tensors = {
                name.removesuffix(".safetensors"): load(content)
                for name, content in contents.items()
                if name.endswith(".safetensors")
            }
        except SafetensorError as error:
            raise _DamagedError(f"{folder.uri} is not safetensors ({error})") from None
        return Checkpoint(manifest["step"], tensors, json.loads(contents["values.json"]))

    def _folders(self, *, committed: bool = True) -> list[Location]:
        """Returns the folders of committed or of unfinished checkpoints, oldest first."""
        names = sorted(info.base_name for info in self.root.list() if info.base_name.startswith("step-"))
        return [self.root / name for name in names if (self.root / name / MANIFEST).exists() == committed]


def _read_manifest(file: Location) -> dict[str, Any]:
    try:
        manifest = json.loads(file.read())
    except ValueError as error:
        raise _DamagedError(f"{file.uri} is damaged: it is not JSON ({error})") from None
    if not isinstance(manifest, dict) or manifest.pop("sha256", None) != _digest(manifest):
        raise _DamagedError(f"{file.uri} is damaged: its SHA-256 is not the one it names")
    return manifest


def _digest(manifest: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _read_checked(file: Location, facts: Mapping[str, Any]) -> bytes:
    try:
        content = file.read()
    except FileNotFoundError:
        raise _DamagedError(f"{file.uri} is missing") from None
    digest = hashlib.sha256(content).hexdigest()
    if digest != facts["sha256"]:
        raise _DamagedError(
            f"{file.uri} is damaged: expected {facts['bytes']} bytes with SHA-256 {facts['sha256'][:12]}…, "
            f"found {len(content)} bytes with {digest[:12]}…"
        )
    return content


class _DamagedError(Exception):
    """Damage of one checkpoint; the checkpoint before it may be intact."""


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> Tensors:
    """Returns an optimiser's state as tensors named `PARAMETER.FIELD`, which need no pickle."""
    return {
        f"{index}.{field}": value
        for index, fields in optimizer.state_dict()["state"].items()
        for field, value in fields.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Tensors) -> None:
    """Restores what `optimizer_tensors` returned; hyperparameters stay as they are."""
    state: dict[int, Tensors] = {}
    for name, value in tensors.items():
        index, field = name.split(".", 1)
        state.setdefault(int(index), {})[field] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def weights_of(model: VAE) -> bytes:
    """Returns a model's weights as a safetensors file."""
    return save({name: value.cpu() for name, value in model.state_dict().items()})


def save_model(model: VAE, uri: str) -> None:
    """Writes a model's weights and configuration to a folder, for `load_model`."""
    folder = locate(uri)
    weights = weights_of(model)
    facts = {
        "format": FORMAT,
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
        "config": model.config.model_dump(mode="json"),
        "examples": asdict(model.examples),
        "experience": asdict(model.experience),
        "aggregate_components": None if model.aggregate is None else len(model.aggregate.log_weights),
        "directions": None if model.directions is None else model.directions.names,
        "direction_effects": None if model.directions is None else model.directions.effects,
    }
    if (code := bundle(addresses(facts["config"]))) is not None:
        facts["code_sha256"] = hashlib.sha256(code).hexdigest()
        write_whole(folder / CODE, code)
    write_whole(folder / WEIGHTS, weights)
    write_whole(folder / MODEL, json.dumps(facts, indent=1).encode())


def load_model(uri: str, *, trust_code: bool = False) -> VAE:
    """Reads a model that `save_model` wrote, in evaluation mode on the CPU.

    Args:
        uri: The folder.
        trust_code: Whether parts of its maker's own, which are not installed here, may run from the source that came with
            it.

    Raises:
        CheckpointError: If the folder does not hold a model of this version.
    """
    folder = locate(uri)
    try:
        facts = json.loads((folder / MODEL).read())
        content = (folder / WEIGHTS).read()
        weights = load(content)
    except (FileNotFoundError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"{uri} does not hold a model: {error}") from None
    version = facts.get("format") if isinstance(facts, dict) else None
    if version != FORMAT:
        raise CheckpointError(f"{uri} holds a model of format {version}, this version reads {FORMAT}")
    if hashlib.sha256(content).hexdigest() != facts.get("weights_sha256"):
        raise CheckpointError(f"{uri}/{WEIGHTS} is damaged: its SHA-256 is not the one in {MODEL}")
    if facts.get("code_sha256"):
        _find_code(folder, facts, trust_code=trust_code)
    model = VAE(parse(ModelConfig, facts["config"], uri), ExampleSpec.from_json(facts["examples"]))
    if facts["aggregate_components"]:
        model.aggregate = AggregateMixture(facts["aggregate_components"], model.config.latent_dim)
    if facts["directions"]:
        model.directions = Directions(facts["directions"], model.config.latent_dim)
        model.directions.effects = facts.get("direction_effects")  # absent from models of earlier versions
    model.experience = Experience(**facts["experience"])
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(
            f"{uri}: the weights are not those of the model that its configuration describes, as where another version "
            f"wrote it. Open it with that version, or train it again. {error}"
        ) from None
    return model.eval()


def _find_code(folder: Location, facts: Mapping[str, Any], *, trust_code: bool) -> None:
    """Makes a model's own parts importable."""
    targets, content = addresses(facts["config"]), (folder / CODE).read()
    if hashlib.sha256(content).hexdigest() != facts["code_sha256"]:
        raise CheckpointError(f"{folder.uri}/{CODE} is damaged: its SHA-256 is not the one in {MODEL}")
    if not (absent := missing(targets)):
        check_same(targets, content, folder.uri)
    elif trust_code:
        adopt(content)
    else:
        raise CheckpointError(
            f"{folder.uri} has parts of its maker's own, {', '.join(sorted(absent))}, which are not installed here; "
            "install them, or load it with trust_code=True, which runs the source that came with it"
        )
