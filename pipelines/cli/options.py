"""From what is written on the command line to configurations. Heavy imports wait until they are needed."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipelines.cli.yaml_files import read_mapping, read_yaml
from vae.config import parse
from vae.errors import ConfigError
from vae.storage import locate


def configured(
    kind: Any, preset: dict[str, Any], file: Path | None, settings: list[str] | None, options: dict[str, Any]
) -> Any:
    """A configuration from a preset, then a file, then `--set`, then options of their own."""
    from vae.config import merged, override

    config = parse(kind, merged(preset, read_mapping(file) if file else {}), str(file or "preset"))
    return override(config, {**assignments(settings), **options}, "--set")


def configuration_of(home: str, run: str) -> dict[str, Any]:
    """Returns the configuration of a training that has ended, or has diverged.

    Raises:
        ConfigError: If there is no such run.
    """
    from pipelines.cluster.runs import LEFT, RESULT, RunFolder

    folder = RunFolder(home, run)
    left = folder.read(RESULT) or folder.read(LEFT) or {}
    if "model" not in left:
        raise ConfigError(f"--start-from {run}: no training of that name has left a model in {home}/runs")
    return left["config"]


def mending(findings: list[dict[str, Any]]) -> str:
    """Returns the flags that mend a run whose model takes no alias; nothing for any other run."""
    from vae.training.verdict import BLOCKING

    return next((finding["advice"] for finding in findings if finding["name"] in BLOCKING), "")


def spelled(dataset: str, preset: str | None, config: Path | None, settings: list[str] | None) -> str:
    """Returns arguments of `betaline train` as they are typed."""
    flags = [*(("--preset", preset) if preset else ()), *(("--config", str(config)) if config else ())]
    flags += [part for setting in settings or () for part in ("--set", setting)]
    return shlex.join([dataset, *flags])


def typed_without(*flags: str) -> str:
    """Returns the command as it was typed, but for some flags."""
    return shlex.join(["betaline", *(argument for argument in sys.argv[1:] if argument not in flags)])


def assignments(settings: list[str] | None) -> dict[str, Any]:
    """What `--set FIELD=VALUE` says, with values as YAML."""
    pairs: dict[str, Any] = {}
    for setting in settings or []:
        field, equals, text = setting.partition("=")
        if not equals:
            raise ConfigError(f"--set {setting}: expected FIELD=VALUE, such as objective.beta=4")
        pairs[field] = read_yaml(text, f"--set {field}")
    return pairs


def task_params(texts: list[str] | None) -> dict[str, str]:
    """What `--param NAME=VALUE` says; the job reads values by the types of the model's signature."""
    found: dict[str, str] = {}
    for text in texts or []:
        name, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"--param {text}: expected NAME=VALUE, such as num_samples=100")
        if name in found:
            raise ConfigError(f"--param {text}: {name} is there twice")
        found[name] = value
    return found


def ingest_config(
    source: str,
    name: str,
    split: str,
    seed: int,
    resize: str | None,
    color: str,
    on_bad: str,
    label: str | None,
    settings: list[str] | None,
) -> Any:
    """What `betaline ingest` asks for."""
    from pipelines.flows.requests import IngestConfig

    values: dict[str, Any] = {
        "source": source,
        "name": name,
        "seed": seed,
        "color": color,
        "on_bad": on_bad,
        "label": label,
        "split": _parts(split, ("validation", "test"), ",", float, "--split"),
        **assignments(settings),
    }
    if resize:
        values["resize"] = tuple(_parts(resize, ("height", "width"), "x", int, "--resize").values())
    return parse(IngestConfig, values, "ingest")


def _parts(
    text: str, names: tuple[str, ...], separator: str, convert: Callable[[str], Any], option: str
) -> dict[str, Any]:
    try:
        return dict(zip(names, map(convert, text.split(separator)), strict=True))
    except ValueError:
        raise ConfigError(f"{option} {text}: expected {separator.join(name.upper() for name in names)}") from None


def training(
    preset: str | None,
    file: Path | None,
    settings: list[str] | None,
    options: dict[str, Any],
    base: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Returns the configuration of a training as its request states it.

    Without a file and a base these are a preset's name and changes, which the job fits to the dataset.
    """
    from vae.config import RunConfig, presets

    if file is None and base is None:
        return {"preset": preset, "changes": {**assignments(settings), **options}}
    values = presets.preset(preset).model_dump() if preset else base or {}
    return {"config": configured(RunConfig, values, file, settings, options)}


def searching(
    preset: str | None, file: Path | None, settings: list[str] | None, options: dict[str, Any]
) -> dict[str, Any]:
    """Returns a search as its request states it.

    Where the file names no base, these are a preset's name and changes, which the job fits to the dataset.
    """
    from tuning.space import SearchConfig
    from vae.config import presets

    content = read_mapping(file) if file else {}
    if "base" not in content:
        return {"preset": preset, "changes": {**content, **assignments(settings), **options}}
    base = {"base": presets.preset(preset).model_dump()} if preset else {}
    return {"search": configured(SearchConfig, base, file, settings, options)}


def scheduled_request(
    flow: str,
    subject: str,
    name: str,
    preset: str | None,
    config: Path | None,
    settings: list[str] | None,
    alias: str | None,
    approve: bool,
) -> Any:
    """What a flow that runs by itself is asked each time.

    Args:
        flow: One of `pipelines.flows.deployments.SCHEDULED`.
        subject: A source to watch; for the others a dataset.
        name: Of the dataset to make, or of the model.
        preset: What to start from.
        config: What changes.
        settings: What changes further.
        alias: That the trained model may take.
        approve: Whether a person decides.

    Raises:
        ConfigError: If an option is given that the flow does not take, or a value is refused.
    """
    from pipelines.flows.requests import DriftRequest, IngestConfig, TrainRequest, TuneRequest
    from vae.config import override

    if flow in ("watch", "drift"):
        _refuse_options_of_training(flow, preset=preset, config=config, register=alias, approve=approve)
    if approve and alias is None:
        raise ConfigError("schedule: --approve: there is no alias to decide on; add --register champion")
    if flow == "watch":
        return parse(IngestConfig, {"source": subject, "name": name, **assignments(settings)}, "schedule").absolute()
    asked = {"dataset": absolute(subject), "name": name}
    if flow == "drift":
        return override(parse(DriftRequest, asked, "schedule"), assignments(settings), "--set")
    if flow == "tune":
        asked |= {**searching(preset, config, settings, {}), "alias": alias, "approve": approve}
        return parse(TuneRequest, asked, "schedule")
    asked |= {**training(preset, config, settings, {}), "alias": alias, "approve": approve}
    return parse(TrainRequest, asked, "schedule")


def _refuse_options_of_training(flow: str, **options: Any) -> None:
    if given := [f"--{option}" for option, value in options.items() if value]:
        raise ConfigError(
            f"schedule {flow}: {', '.join(given)}: {flow} trains no model, so leave it out; `betaline schedule train` and "
            "`betaline schedule tune` take it"
        )


def check_subject(home: str, request: Any, occasion: str | None) -> None:
    """Refuses to schedule what is not there to begin with; a dataset that an event will bring need not be.

    Raises:
        DataError: If there is no such source, or no such dataset; says what there is.
    """
    from pipelines.data.ingest.watching import fingerprint
    from pipelines.flows.requests import IngestConfig
    from vae.data.catalog import resolve

    if isinstance(request, IngestConfig):
        fingerprint(request.source)
    elif occasion is None or "/" in request.dataset:
        resolve(home, request.dataset)


def overlap(text: str | None) -> Any:
    """What becomes of a run that is due while another one runs."""
    if text not in (None, "queue", "refuse"):
        raise ConfigError(f"--overlap {text}: expected queue or refuse")
    return text


def occasion(text: str | None) -> Any:
    """What starts a flow instead of the clock."""
    if text not in (None, "data", "drift"):
        raise ConfigError(f"--on {text}: expected data or drift")
    return text


def after_apply(result: dict[str, Any]) -> str:
    """The command that goes on with what an apply has written: codes are decoded, a training split is trained on."""
    provenance, uri = result["provenance"], result["uri"]
    if not result["examples"] and provenance["task"] == "encode":
        return f"betaline apply decode {provenance['model']}/{provenance['version']} {uri}"
    if result["examples"] and {"train", "validation"} <= result["rows"].keys():
        return f"betaline train {uri} --name {result['name']}"
    return "betaline models"


def absolute(dataset: str) -> str:
    """A dataset's folder as the job sees it, which runs elsewhere; a name stays a name."""
    return locate(dataset).uri if "/" in dataset else dataset


def name_of(dataset: str) -> str:
    """The dataset's name, which is the second last part of its folder."""
    parts = dataset.rstrip("/").split("/")
    return parts[-2] if len(parts) > 1 else dataset.partition("@")[0]
