"""The plan of an apply, row group by row group; everything that can be refused is refused here, before any work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipelines.data.apply.inputs import Codes, Examples
from pipelines.data.apply.manifests import Provenance
from pipelines.data.apply.params import AUGMENT
from pipelines.models.registry import Version
from vae.data import manifest as stored
from vae.data.fitting import check_fits, condition_mismatches, listed
from vae.data.manifest import SPLITS, SourceFile, SplitName
from vae.data.parquet import Dataset, rows_per_group
from vae.data.schema import ExampleSpec
from vae.errors import ConfigError, DataError
from vae.model import VAE
from vae.storage import Location, locate

ROWS_PER_CALL = 1024
# These tasks change rows, so that the input's classes and attributes need not hold for the results.
_CHANGING = ("edit", "interpolate", "transfer", "traverse")
DECODE, GENERATE = "decode", "generate"


@dataclass(frozen=True)
class Unit:
    """Rows that become one file."""

    index: int
    split: SplitName
    shard: str
    first: int
    """Number of the first row: in the input's split, or among all drawn rows."""
    rows: int
    group: int | None
    """Row group of the input; None for rows drawn from the prior."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A task, its input and its output, as they are asked for."""

    task: str
    """One of `vae.inference.answering.TASKS`, or `augment`."""
    params: dict[str, Any]
    """Parameters that `read_params` returned."""
    source: str
    """Folder of the input."""
    splits: Sequence[SplitName] | None = None
    """Splits of the input; None for all."""
    output: str = ""
    """Folder to write; empty until the plan is `placed`."""
    device: str = "cpu"
    """Device of the workers' models, `cpu` or `cuda`."""


@dataclass(frozen=True)
class ApplyPlan:
    """Everything that an apply does. Picklable: it travels to every worker."""

    provenance: Provenance
    source: str
    """Folder of the input."""
    model_uri: str
    output: str
    units: tuple[Unit, ...]
    example: ExampleSpec
    """Schema of the results, where they are examples: without the classes and attributes that a result loses."""
    sources: tuple[SourceFile, ...]

    @property
    def name(self) -> str:
        """Name of the output."""
        return f"{self.provenance.dataset}-{self.provenance.task}"

    @property
    def identity(self) -> str:
        """Identity of the output, derived from everything that it depends on."""
        return stored.derive_dataset_id([file.sha256 for file in self.sources], self.provenance.model_dump(mode="json"))

    def placed(self, folder: Location) -> ApplyPlan:
        """Returns the plan with an output folder named after the task and the identity."""
        return replace(self, output=(folder / f"{self.provenance.task}-{self.identity[:12]}").uri)

    @property
    def num_rows(self) -> int:
        """Rows of the output."""
        return sum(unit.rows for unit in self.units)


def open_input(task: str, uri: str, model: VAE) -> Examples | Codes:
    """Opens the input of a task.

    Raises:
        DataError: If the input does not exist.
        CorruptData: If its manifest cannot be read.
    """
    if task == DECODE:
        return Codes.open(uri, model)
    return Examples(Dataset.open(uri), model)


def plan(asked: Asked, version: Version, weights_sha256: str, model: VAE) -> ApplyPlan:
    """Cuts the work into units.

    Args:
        asked: The task, its input and its output.
        version: The registered model.
        weights_sha256: SHA-256 of its weights.
        model: The loaded model.

    Raises:
        DataError: If the input does not fit the model; names each column, what was expected and what was found.
        ConfigError: If a parameter does not fit the model and the input.
    """
    task, params, source = asked.task, asked.params, asked.source
    given = open_input(task, source, model)
    manifest = given.manifest
    if isinstance(given, Examples):
        check_fits(model.examples, given.manifest.example, source)
        if not params.get("condition"):
            _check_conditions(model, given.manifest.example, source)
    chosen = _splits(manifest.splits, asked.splits, source)
    if task == AUGMENT and asked.splits is not None:
        raise ConfigError("--split: augment draws for the training split and keeps the others; leave it out")
    shards = [shard for split in chosen for shard in manifest.splits.get(split, ())]
    return ApplyPlan(
        provenance=_provenance(asked, version, weights_sha256, given, chosen),
        source=source,
        model_uri=version.uri,
        output=locate(asked.output).uri,
        units=_augmented(given, model, params, chosen) if task == AUGMENT else _row_groups(given, chosen),
        example=_result_schema(task, model, given, told=not params.get("condition")),
        sources=tuple(SourceFile(path=shard.path, bytes=shard.bytes, sha256=shard.sha256) for shard in shards),
    )


def _provenance(
    asked: Asked, version: Version, weights_sha256: str, given: Examples | Codes, splits: tuple[SplitName, ...]
) -> Provenance:
    return Provenance(
        task=asked.task,
        model=version.name,
        version=version.version,
        weights_sha256=weights_sha256,
        dataset=given.manifest.name,
        dataset_id=given.manifest.dataset_id,
        splits=splits,
        params={name: value for name, value in asked.params.items() if name != "seed"},
        seed=asked.params["seed"],
        device=asked.device,
        rows_per_call=ROWS_PER_CALL,
    )


def _result_schema(task: str, model: VAE, given: Examples | Codes, told: bool) -> ExampleSpec:
    """Returns the input's schema with the classes and attributes that hold for the results too."""
    if isinstance(given, Codes):
        return model.examples.untyped()
    example = given.manifest.example
    if task in _CHANGING:
        return replace(example, classes=None, attributes=())
    if task != GENERATE:
        return example
    names = [column.name for column in model.conditions] if told else []
    attributes = tuple(column for column in example.attributes if column.name in names)
    return replace(example, classes=example.classes if "class" in names else None, attributes=attributes)


def _row_groups(given: Examples | Codes, splits: Sequence[SplitName]) -> tuple[Unit, ...]:
    units: list[Unit] = []
    for split in splits:
        for group, (start, stop) in enumerate(given.row_groups(split)):
            units.append(Unit(len(units), split, f"{split}-{group:05d}.parquet", start, stop - start, group))
    return tuple(units)


def _augmented(
    given: Examples | Codes, model: VAE, params: dict[str, Any], splits: Sequence[SplitName]
) -> tuple[Unit, ...]:
    """Returns units for the kept rows of the input, and behind those of `train` for the drawn rows of each class."""
    assert isinstance(given, Examples)
    if [column.name for column in model.conditions] != ["class"]:
        told = ", ".join(column.name for column in model.conditions) or "nothing"
        raise ConfigError(
            f"task augment: expected a model that is told the class and nothing else, this one is told {told}; train one "
            "with --set model.condition=class"
        )
    if params["per_class"] < 1:
        raise ConfigError(f"--param per_class={params['per_class']}: expected at least 1")
    kept = [unit for unit in _row_groups(given, splits) if unit.split != "train" or params["keep"]]
    in_front = sum(unit.split == "train" for unit in kept)
    total, rows = params["per_class"] * model.num_classes, rows_per_group(given.manifest.example)
    drawn = [
        Unit(0, "train", f"train-{in_front + number:05d}.parquet", first, min(rows, total - first), None)
        for number, first in enumerate(range(0, total, rows))
    ]
    ordered = [*kept[:in_front], *drawn, *kept[in_front:]]
    return tuple(Unit(i, u.split, u.shard, u.first, u.rows, u.group) for i, u in enumerate(ordered))


def _splits(found: Any, wanted: Sequence[SplitName] | None, where: str) -> tuple[SplitName, ...]:
    there: list[SplitName] = [split for split in SPLITS if any(shard.rows for shard in found.get(split, ()))]
    if wanted is None:
        return tuple(there)
    if absent := [split for split in wanted if split not in there]:
        raise DataError(f"{where} has no rows in split {', '.join(absent)}; it has {', '.join(there)}")
    chosen: list[SplitName] = [split for split in there if split in wanted]
    return tuple(chosen)


def _check_conditions(model: VAE, data: ExampleSpec, where: str) -> None:
    if faults := condition_mismatches(model.conditions, data):
        raise DataError(
            f"{where} does not say what the model is told of each row: {listed(faults, '; ')}. Give one condition for all "
            "rows with --param condition=…"
        )
