"""Requests made from the command line. Heavy imports wait until they are needed."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.stages.yaml_files import read_mapping, read_yaml
from vae.errors import ConfigError

if TYPE_CHECKING:
    from pipelines.stages.apply import ApplyResult
    from vae.training.verdict import Finding

Values = dict[str, Any]


@dataclass(frozen=True)
class Given:
    """The options --preset, --config and --set of one command."""

    preset: str | None = None
    file: Path | None = None
    settings: list[str] | None = None

    def training(self, extra: Mapping[str, Any], base: Values | None = None) -> Values:
        """Returns the configuration of a training, as fields of its request.

        Without a file and a base these are a preset's name and changes, which the job fits to the dataset.

        Args:
            extra: Fields that options of their own set.
            base: Configuration to start from if no preset is given.
        """
        from vae.config import RunConfig, presets

        if self.file is None and base is None:
            return {"preset": self.preset, "changes": {**assignments(self.settings), **extra}}
        values = presets.preset(self.preset).model_dump() if self.preset else base or {}
        return {"config": self.configured(RunConfig, values, extra)}

    def searching(self, extra: Mapping[str, Any]) -> Values:
        """Returns the configuration of a search, as fields of its request.

        If the file names no base, these are a preset's name and changes, which the job fits to the dataset.

        Args:
            extra: Fields that options of their own set.
        """
        from tuning.space import SearchConfig
        from vae.config import presets

        content = read_mapping(self.file) if self.file else {}
        if "base" not in content:
            return {"preset": self.preset, "changes": {**content, **assignments(self.settings), **extra}}
        base = {"base": presets.preset(self.preset).model_dump()} if self.preset else {}
        return {"search": self.configured(SearchConfig, base, extra)}

    def configured(self, kind: Any, values: Values, extra: Mapping[str, Any]) -> Any:
        """Returns a configuration: the values, then the file, then `--set`, then options of their own."""
        from vae.config import merged, override, parse

        content = read_mapping(self.file) if self.file else {}
        config = parse(kind, merged(values, content), str(self.file or "preset"))
        return override(config, {**assignments(self.settings), **extra}, "--set")

    def typed(self, dataset: str) -> str:
        """Returns the arguments of `betaline train` as they are typed in a shell."""
        named = {"--preset": [self.preset], "--config": [self.file], "--set": self.settings or []}
        flags = [(flag, str(value)) for flag, values in named.items() for value in values if value]
        return shlex.join([dataset, *(part for flag in flags for part in flag)])


def configuration_of(home: str, run: str) -> Values:
    """Returns the configuration of a training that has ended, or has diverged.

    Raises:
        ConfigError: If no such run has left a model.
    """
    from pipelines.cluster.runs import LEFT, RESULT, RunFolder

    folder = RunFolder(home, run)
    left = folder.read(RESULT) or folder.read(LEFT) or {}
    if "model" not in left:
        raise ConfigError(f"--from {run}: no training of that name has left a model in {home}/runs")
    return left["config"]


def mending(findings: Sequence[Finding]) -> str:
    """Returns the flags that mend a run whose model takes no alias; the empty string for any other run."""
    from vae.training.verdict import BLOCKING

    return next((finding.advice for finding in findings if finding.name in BLOCKING), "")


def typed_without(*flags: str) -> str:
    """Returns the command as it was typed, without some of its flags."""
    return shlex.join(["betaline", *(argument for argument in sys.argv[1:] if argument not in flags)])


def resuming(run: str) -> str:
    """Returns the command as it was typed, with the name of its run, by which it resumes that run."""
    typed = typed_without()
    return typed if f"--run {run}" in typed else f"{typed} --run {run}"


def assignments(settings: Iterable[str] | None) -> Values:
    """Returns the values of `--set FIELD=VALUE` by field, read as YAML."""
    pairs = [_assignment("--set", setting, "FIELD=VALUE, such as objective.beta=4") for setting in settings or ()]
    return {field: read_yaml(text, f"--set {field}") for field, text in pairs}


def task_params(texts: Iterable[str] | None) -> dict[str, str]:
    """Returns the values of `--param NAME=VALUE` by name; the job reads them by the types of the model's signature."""
    params: dict[str, str] = {}
    for text in texts or ():
        name, value = _assignment("--param", text, "NAME=VALUE, such as num_samples=100")
        if name in params:
            raise ConfigError(f"--param {text}: {name} is given twice")
        params[name] = value
    return params


def _assignment(option: str, text: str, expected: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"{option} {text}: expected {expected}")
    return name, value


def split_fractions(text: str) -> dict[str, float]:
    """Returns the value of `--split`: fractions of the examples, by split."""
    return _parts("--split", text, ",", {"validation": float, "test": float})


def image_size(text: str | None) -> dict[str, tuple[int, ...]]:
    """Returns the value of `--resize` in pixels, as a field of an ingest; no field without the option."""
    return {"resize": tuple(_parts("--resize", text, "x", {"height": int, "width": int}).values())} if text else {}


def worker_counts(text: str | None) -> Values:
    """Returns the fields of `--workers`: a number, or the fewest and the most."""
    if text is None:
        return {}
    counts = text.split(":")
    if len(counts) > 2 or not all(count.isdecimal() and int(count) for count in counts):
        raise ConfigError(
            f"--workers: expected a number such as 4, or the fewest and the most such as 1:8, got {text!r}"
        )
    fewest, most = int(counts[0]), int(counts[-1])
    if fewest > most:
        raise ConfigError(f"--workers: the fewest come first, got {text}; use {most}:{fewest}")
    return {"scaling.num_workers": most, "scaling.min_workers": fewest if len(counts) > 1 else None}


def _parts(option: str, text: str, separator: str, kinds: Mapping[str, Callable[[str], Any]]) -> Values:
    try:
        parts = zip(kinds.items(), text.split(separator), strict=True)
        return {name: convert(part) for (name, convert), part in parts}
    except ValueError:
        raise ConfigError(f"{option} {text}: expected {separator.join(map(str.upper, kinds))}") from None


def scheduled_request(flow: str, subject: str, name: str, given: Given, **asked: Any) -> Any:
    """Returns the request of each run of a scheduled flow.

    Args:
        flow: One of `pipelines.operating.deployments.SCHEDULED`.
        subject: A source to watch; for the other flows a dataset.
        name: Name of the dataset to make, or of the model.
        given: Configuration of a training or a search.
        asked: Further fields of the request of a training or a search; those that are None or False are left out.

    Raises:
        ConfigError: If an option is given that the flow does not take, or a value is refused.
    """
    from pipelines.data.sources import IngestConfig
    from pipelines.stages.drift import DriftRequest
    from pipelines.stages.train import TrainRequest
    from pipelines.stages.tune import TuneRequest
    from vae.config import override, parse

    asked = {field: value for field, value in asked.items() if value}
    if flow in ("watch", "drift"):
        _refuse(flow, preset=given.preset, config=given.file, **asked)
    if flow == "tune" and "start_from" in asked:
        raise ConfigError("schedule tune: leave out --from: the trials of a search begin with new weights")
    if "approve" in asked and "alias" not in asked:
        raise ConfigError("schedule: --approve: there is no alias to decide on; add --register champion")
    if flow == "watch":
        values = {"source": subject, "name": name, **assignments(given.settings)}
        return parse(IngestConfig, values, "schedule").absolute()
    values = {"dataset": absolute(subject), "name": name}
    if flow == "drift":
        return override(parse(DriftRequest, values, "schedule"), assignments(given.settings), "--set")
    kind, config = (TuneRequest, given.searching({})) if flow == "tune" else (TrainRequest, given.training({}))
    return parse(kind, {**values, **config, **asked}, "schedule")


FLAGS = {"alias": "register", "start_from": "from"}
"""Options that have another name than the field that they set."""


def _refuse(flow: str, **options: Any) -> None:
    if given := [f"--{FLAGS.get(option, option)}" for option, value in options.items() if value]:
        raise ConfigError(
            f"schedule {flow}: leave out {', '.join(given)}: {flow} trains no model; `betaline schedule train` and "
            "`betaline schedule tune` do"
        )


def check_subject(home: str, request: Any, occasion: str | None) -> None:
    """Refuses to schedule a flow whose source or dataset does not exist, unless an event will bring the dataset.

    Raises:
        DataError: If the source or the dataset does not exist; names the existing ones.
    """
    from pipelines.data.ingest.watching import fingerprint
    from pipelines.data.sources import IngestConfig
    from vae.data.catalog import resolve

    if isinstance(request, IngestConfig):
        fingerprint(request.source)
    elif occasion is None or "/" in request.dataset:
        resolve(home, request.dataset)


def after_apply(result: ApplyResult) -> str:
    """Returns the command that uses what an apply has written: codes are decoded, and a training split is trained on."""
    provenance, uri = result.provenance, result.uri
    if not result.examples and provenance.task == "encode":
        return shlex.join(["betaline", "apply", "decode", f"{provenance.model}/{provenance.version}", uri])
    if result.examples and {"train", "validation"} <= result.rows.keys():
        return shlex.join(["betaline", "train", uri, "--name", result.name])
    return "betaline models"


def absolute(dataset: str) -> str:
    """Returns the full address of a dataset's folder, because jobs run elsewhere; a name stays a name."""
    from vae.storage import locate

    return locate(dataset).uri if "/" in dataset else dataset


def name_of(dataset: str) -> str:
    """Returns the name of a dataset given by name, or by its folder, whose second last part is the name."""
    parts = dataset.rstrip("/").split("/")
    return parts[-2] if len(parts) > 1 else dataset.partition("@")[0]
