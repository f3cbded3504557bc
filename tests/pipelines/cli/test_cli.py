"""The command as a process: what it refuses, without a traceback and before any service starts."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from pipelines.cli import GROUPS, app, models, operating
from pipelines.cli.options import check_subject, configured, ingest_config, scheduled_request, searching, training
from pipelines.flows.requests import TrainRequest, TuneRequest
from pipelines.models import registry
from tests.processes import betaline
from tests.servers import ROOT
from vae.config import Conv, RunConfig, presets
from vae.errors import ConfigError, DataError, RegistryError


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "digits", "--set", "objective.betta=4"], "objective.betta: unknown key; did you mean `beta`?"),
        (
            ["train", "digits", "--set", "objective.beta=-1"],
            "objective.beta: input should be greater than or equal to 0",
        ),
        (
            ["train", "digits", "--set", "objective.beta=.nan"],
            "objective.beta: input should be a finite number, got nan",
        ),
        (["train", "digits", "--set", "beta"], "--set beta: expected FIELD=VALUE, such as objective.beta=4"),
        (["train", "digits", "--config", "absent.yaml"], "cannot read the configuration absent.yaml"),
        (["ingest", "x", "digits", "--split", "0.1"], "--split 0.1: expected VALIDATION,TEST"),
        (["ingest", "x", "digits", "--resize", "8"], "--resize 8: expected HEIGHTxWIDTH"),
        (["ingest", "x", "../digits"], "name"),
        (["ingest", "/no/such/folder", "digits", "--dry-run"], "/no/such/folder"),
    ],
    ids=lambda value: "-".join(value)[-30:] if isinstance(value, list) else None,
)
def test_bad_arguments_are_refused_in_one_message(arguments: list[str], message: str, tmp_path: Path) -> None:
    """Exit status 1, the message on stderr, no traceback, and nothing left on the disk."""
    done = betaline(*arguments, home=tmp_path / "home")
    said = " ".join(done.stderr.split())
    assert done.returncode == 1, said
    assert message in said
    assert "Traceback" not in said
    assert not (tmp_path / "home" / "services.json").exists()


def test_dry_run_says_what_it_would_do(tmp_path: Path) -> None:
    """The last line on stdout is one JSON object; rows per split and the folder are in it, and nothing is written."""
    done = betaline("ingest", "sklearn:digits", "digits", "--dry-run", "--json", home=tmp_path / "home")
    plan = json.loads(done.stdout.splitlines()[-1])
    assert plan["rows"] == {"train": 1437, "validation": 180, "test": 180}
    assert plan["uri"].startswith(str(tmp_path / "home" / "datasets" / "digits"))
    assert not plan["exists"]
    assert not (tmp_path / "home").exists()


def test_dry_run_leads_to_the_same_command(tmp_path: Path) -> None:
    """What comes next is what was typed, with every flag of it but those of the dry run."""
    (tmp_path / "a table.csv").write_text("1,2\n" * 30)
    typed = ["ingest", str(tmp_path / "a table.csv"), "table", "--set", "header=false", "--split", "0.2,0.2"]
    done = betaline(*typed, "--dry-run", home=tmp_path / "home")
    again = shlex.split(done.stdout.splitlines()[-1].removeprefix("Next: "))
    assert again[: 1 + len(typed)] == ["betaline", *typed]
    assert "--dry-run" not in again


def test_unregistered_model_is_named_with_those_that_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`betaline models NAME` of no such model says which there are, and not that there are none."""
    there = [registry.Version("digits", "1", "models:/digits/1", "", None, ())]
    monkeypatch.setattr(registry, "versions", lambda name=None: [one for one in there if name in (None, one.name)])
    monkeypatch.setattr(models, "connected", lambda *_: contextlib.nullcontext())
    with pytest.raises(RegistryError, match="no model 'digts': there are digits; did you mean 'digits'"):
        app(["models", "digts"], standalone_mode=False)


def test_listed_models_lead_to_their_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What comes next serves whether or not the servers are up: it sets a shell up to pull from them."""
    there = [registry.Version("digits", "1", "models:/digits/1", "", None, ())]
    monkeypatch.setattr(registry, "versions", lambda name=None: there)
    monkeypatch.setattr(models, "connected", lambda *_: contextlib.nullcontext())
    app(["models", "--home", "my home"], standalone_mode=False)
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == """Next: eval "$(betaline up --env --home 'my home')\""""


def test_help_and_errors_name_pages_that_exist() -> None:
    """Every page that a command's help or the source code names is in the checkout, and no help sends to the README."""
    commands = typer.main.get_command(app).commands  # pyright: ignore
    helps = [
        text for one in commands.values() for text in (one.help, *(p.help for p in one.params if hasattr(p, "help")))
    ]
    code = [file.read_text() for package in ("pipelines", "tuning", "vae") for file in (ROOT / package).rglob("*.py")]
    pages = {page for text in [*helps, *code] for page in re.findall(r"\b[a-z]+/[\w/]+\.md\b", text or "")}
    assert "docs/configuration.md" in pages
    assert [page for page in pages if not (ROOT / page).exists()] == []
    assert not any("README" in (text or "") for text in helps)


@pytest.mark.parametrize(
    ("command", "example"),
    [("ingest", "header=false"), ("tune", "base.training.epochs=20"), ("train", "objective.beta=4")],
)
def test_example_of_set_is_of_its_command(command: str, example: str) -> None:
    """The field that the help of `--set` shows is one that the command knows."""
    asked = typer.main.get_command(app).commands[command]  # pyright: ignore
    assert f"--set {example}" in next(param.help for param in asked.params if "--set" in param.opts)
    match command:
        case "ingest":
            assert ingest_config("a", "a", "0.1,0.1", 0, None, "keep", "reject", None, [example]).header is False
        case "tune":
            TuneRequest.model_validate({"dataset": "a", "name": "a", **searching(None, None, [example], {})})
        case _:
            TrainRequest.model_validate({"dataset": "a", "name": "a", **training(None, None, [example], {})})


def test_what_the_command_line_names_is_not_replaced_by_a_default(tmp_path: Path) -> None:
    """A file is the configuration; a preset's name and `--set` are laid over what suits the data. A search file without a
    base leaves the base open.
    """
    changed = {"changes": {"objective.beta": 2}}
    assert training(None, None, ["objective.beta=2"], {}) == {"preset": None, **changed}
    assert training("beta_vae", None, ["objective.beta=2"], {}) == {"preset": "beta_vae", **changed}
    file = tmp_path / "train.yaml"
    file.write_text("training: {epochs: 3}\n")
    config = training("beta_vae", file, ["objective.beta=2"], {})["config"]
    assert (config.objective.beta, config.training.epochs) == (2, 3)
    file = tmp_path / "search.yaml"
    file.write_text("grace_epochs: 3\n")
    asked = {"changes": {"grace_epochs": 3, "num_trials": 2}}
    assert searching(None, file, None, {"num_trials": 2}) == {"preset": None, **asked}
    assert searching("beta_vae", file, None, {"num_trials": 2}) == {"preset": "beta_vae", **asked}
    file.write_text("base: {training: {epochs: 3}}\n")
    assert searching(None, file, None, {})["search"].base.training.epochs == 3


@pytest.mark.parametrize("flow", ["train", "tune"])
def test_scheduled_flow_without_a_configuration_leaves_it_to_the_data(flow: str) -> None:
    """Each run looks at the dataset of its own time."""
    request = scheduled_request(flow, "digits", "digits", None, None, None, None, approve=False)
    assert (request.config if flow == "train" else request.search) is None


def test_scheduled_search_registers_its_best() -> None:
    """The alias and the question to a person reach the search as they reach a training."""
    for flow in ("train", "tune"):
        request = scheduled_request(flow, "digits", "digits", None, None, None, "champion", approve=True)
        assert (request.alias, request.approve) == ("champion", True)


@pytest.mark.parametrize("flow", ["watch", "drift"])
@pytest.mark.parametrize(
    ("option", "value"), [("preset", "vae"), ("config", Path("a.yaml")), ("alias", "champion"), ("approve", True)]
)
def test_scheduled_flow_refuses_options_of_others(flow: str, option: str, value: Any) -> None:
    """What watches or looks for drift trains no model, and says so of an option that is about one."""
    options: dict[str, Any] = {"preset": None, "config": None, "settings": None, "alias": None, "approve": False}
    with pytest.raises(ConfigError, match=f"schedule {flow}: --.*: {flow} trains no model, so leave it out"):
        scheduled_request(flow, "digits", "digits", **{**options, option: value})


def test_scheduled_decision_needs_an_alias() -> None:
    """A person cannot decide on an alias that nobody names."""
    with pytest.raises(ConfigError, match="--approve: there is no alias to decide on; add --register champion"):
        scheduled_request("train", "digits", "digits", None, None, None, None, approve=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "digts", "--every", "60"], "no dataset 'digts'"),
        (["tune", "/no/such/folder", "--on", "drift"], "/no/such/folder"),
        (["drift", "digts", "--every", "60"], "no dataset 'digts'"),
        (["watch", "/no/such/folder", "--every", "60"], "/no/such/folder is not there"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_schedule_refuses_what_is_not_there(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dataset or a source that is missing is refused before any service starts, not by each run."""
    monkeypatch.setattr(operating, "connected", lambda *_: pytest.fail("a service was needed"))
    with pytest.raises(DataError, match=message):
        app(["schedule", *arguments, "--name", "a", "--home", str(tmp_path)], standalone_mode=False)


def test_schedule_on_data_does_without_a_dataset(tmp_path: Path) -> None:
    """The event that starts the run brings the dataset."""
    check_subject(str(tmp_path), TrainRequest(dataset="landing", name="landing"), "data")


def test_every_command_is_in_a_group() -> None:
    """The help lists the commands under titles, and each title has a few."""
    commands = typer.main.get_command(app).commands.values()  # pyright: ignore
    sizes = Counter(command.rich_help_panel for command in commands)
    assert sizes.keys() == GROUPS.keys()
    assert all(2 < size < 9 for size in sizes.values()), sizes


def test_version_is_printed() -> None:
    """`betaline --version` says which version is installed."""
    said = CliRunner().invoke(app, ["--version"])
    assert (said.exit_code, said.output) == (0, f"betaline {version('betaline')}\n")


def test_presets_are_listed_with_their_references(capsys: pytest.CaptureFixture[str]) -> None:
    """The last line of `betaline presets --json` is the list, each with what it changes."""
    app(["presets", "--json"], standalone_mode=False)
    listed = json.loads(capsys.readouterr().out.splitlines()[-1])["presets"]
    assert {"vae", "vamp_vae", "miwae"} <= {preset["name"] for preset in listed}
    assert all(preset["reference"] and preset["summary"] for preset in listed)
    assert next(p for p in listed if p["name"] == "beta_vae")["changes"] == {"objective.beta": 4.0}


def test_file_lies_over_a_preset(tmp_path: Path) -> None:
    """A preset, then the file, then `--set`: each changes what came before it, and an unknown preset is refused."""
    file = tmp_path / "train.yaml"
    file.write_text("model: {encoder: {kind: conv, channels: [4]}}\ntraining: {epochs: 3}\n")
    preset = presets.preset("vamp_vae").model_dump()
    config = configured(RunConfig, preset, file, ["model.prior.components=7"], {})
    assert (config.model.prior.kind, config.model.prior.components) == ("vamp", 7)
    assert config.model.encoder == Conv(channels=(4,))
    assert (config.training.epochs, config.training.learning_rate) == (3, 5e-4)
